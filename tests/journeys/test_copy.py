"""`sluiceway copy` and `sluiceway serve`: the same bytes by every way in and out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sluiceway
from fix_server import Serve
from fix_taking import noise
from sluiceway.errors import Unauthorized

DATA = noise(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
DEADLINE = 60  # seconds


def copy(
    *arguments: str | Path, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        env={**os.environ, **env},
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "ü big [1].bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("way", ["put", "put below", "form", "form with fields", "pipe"])
def test_an_upload_comes_back_unchanged(
    serve: Serve, tmp_path: Path, source: Path, way: str
) -> None:
    """Path or pipe, raw or form: the receipt's location has the same bytes and the right name."""
    server = serve()
    ways: dict[str, tuple[list[str | Path], bytes]] = {
        "put": ([source, f"{server.url}/files/a.bin"], b""),
        "put below": ([source, f"{server.url}/files/d/"], b""),
        "form": ([source, f"{server.url}/files"], b""),
        "form with fields": (
            [source, f"{server.url}/files", "--form", "id=42", "--form", "x=ü"],
            b"",
        ),
        "pipe": (["-", f"{server.url}/files/p/q.bin"], DATA),
    }
    arguments, stdin = ways[way]
    sent = copy("--json", *arguments, stdin=stdin)
    assert sent.returncode == 0, sent.stderr
    receipt = json.loads(sent.stdout)
    (tmp_path / "back").mkdir()
    got = copy("--json", receipt["location"], tmp_path / "back")
    assert got.returncode == 0, got.stderr

    assert (receipt["size"], receipt["sha-256"], receipt["status"]) == (len(DATA), DIGEST, 201)
    assert Path(json.loads(got.stdout)["location"]).read_bytes() == DATA
    if way in ("put below", "form"):
        assert os.listdir(tmp_path / "back") == [source.name]
    assert server.drafts() == []


def test_a_folder_is_uploaded_with_its_names(serve: Serve, tmp_path: Path) -> None:
    """Every file under its relative path."""
    server = serve()
    names = ["a b.txt", "x/y/z", "ü/1.txt"]
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    receipt = sluiceway.copy(tmp_path / "d", f"{server.url}/files/in/")

    assert [part.size for part in receipt.parts] == [len(name.encode()) for name in names]
    assert sorted(server.stored()) == [f"in/{name}" for name in names]


def test_an_empty_file_is_copied_both_ways(serve: Serve, tmp_path: Path) -> None:
    """Raw, as a form and from an empty pipe."""
    server = serve()
    (tmp_path / "empty").touch()
    receipts = [
        sluiceway.copy(tmp_path / "empty", f"{server.url}/files/raw"),
        sluiceway.copy(tmp_path / "empty", f"{server.url}/files", form={"id": "1"}),
    ]
    assert copy("-", f"{server.url}/files/pipe").returncode == 0

    assert [receipt.size for receipt in receipts] == [0, 0]
    assert list(server.stored().values()) == [0, 0, 0]


def test_the_token_is_required_and_sufficient(serve: Serve, source: Path) -> None:
    """Without it, the refusal says what to do before a large body is sent."""
    server = serve("--token", "a-long-enough-token")
    with pytest.raises(Unauthorized, match="--token"):
        sluiceway.copy(source, f"{server.url}/files/a")
    done = copy(source, f"{server.url}/files/a", SLUICEWAY_TOKEN="a-long-enough-token")

    assert done.returncode == 0, done.stderr
    assert "a-long-enough-token" not in server.log()


def test_a_refusal_shows_the_servers_text(serve: Serve, source: Path) -> None:
    """For a known length and for a pipe; nothing stays at the server."""
    server = serve("--max-size", "1MiB")
    known, piped = (
        copy(source, f"{server.url}/files/a"),
        copy("-", f"{server.url}/files/b", stdin=DATA),
    )

    for done in (known, piped):
        assert done.returncode == 4
        assert b"answered 413" in done.stderr
    assert server.stored() == {}
    assert server.drafts() == []


async def test_many_copies_at_once_in_one_loop(serve: Serve, tmp_path: Path, source: Path) -> None:
    """`acopy` is an ordinary coroutine."""
    import asyncio

    server = serve()
    await asyncio.gather(*(sluiceway.acopy(source, f"{server.url}/files/{n}") for n in range(8)))
    await asyncio.gather(
        *(sluiceway.acopy(f"{server.url}/files/{n}", tmp_path / str(n)) for n in range(8))
    )

    assert {(tmp_path / str(n)).read_bytes() == DATA for n in range(8)} == {True}
