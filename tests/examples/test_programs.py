"""restore.py and uploader.py do what their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from examples.example_files import DATA, EXAMPLES, SHA
from fix_gateway import takes
from fix_server import RunningServer, Serve
from rude_peer import Exchange, Peer, ranged

# restore.py and uploader.py


def program(name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(EXAMPLES / name), *words]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ}, check=False
    )


@pytest.fixture
def api(serve: Serve) -> RunningServer:
    """The REST API a file goes to."""
    return serve()


def test_restore_goes_on_where_the_source_broke_off_and_keeps_the_length(tmp_path: Path) -> None:
    """The storage cuts the first answer in the middle.

    The API sees one upload, of known length, and it is whole.
    """
    cuts = iter([1_000_000])

    def storage(exchange: Exchange) -> None:
        if (after := next(cuts, None)) is None:
            ranged(DATA)(exchange)
            return
        exchange.head(
            200, {"Content-Length": str(len(DATA)), "ETag": '"v1"', "Accept-Ranges": "bytes"}
        )
        exchange.send(DATA[:after])
        exchange.reset()

    with Peer(storage) as source, Peer(takes) as rest:
        done = program(
            "restore.py",
            f"{source.url}/backup.tar?X-Amz-Signature=secret",
            f"{rest.url}/files/backup.tar",
            cwd=tmp_path,
        )

        assert done.returncode == 0, done.stderr
        assert f"restored {len(DATA)} bytes, sha-256 {SHA}" in done.stdout
        question, exchange = rest.seen
        assert question.method == "OPTIONS"  # what the API takes
        assert (exchange.method, exchange.headers["content-length"], exchange.body) == (
            "PUT",
            str(len(DATA)),
            DATA,
        )
        assert f"of {len(DATA)} bytes" in done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert list(tmp_path.iterdir()) == []


def test_restore_fails_loudly_when_the_bytes_are_not_those_that_were_kept(
    api: RunningServer, tmp_path: Path
) -> None:
    """Another digest than the source names.

    Nothing is at the destination, the exit code says so.
    """
    wrong = f"sha-256=:{b64encode(bytes(32)).decode()}:"
    with Peer(lambda exchange: exchange.reply(200, {"Repr-Digest": wrong}, DATA)) as source:
        done = program(
            "restore.py", f"{source.url}/backup.tar", f"{api.url}/files/backup.tar", cwd=tmp_path
        )

    assert done.returncode == 1
    assert "digest-mismatch" in done.stderr
    assert api.stored() == {}


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_uploader_says_what_it_does_and_writes_a_readable_profile(
    api: RunningServer, tmp_path: Path, kind: str
) -> None:
    """File and method at start and end, progress between, a profile named by type and bytes."""
    file = tmp_path / "big.iso"
    file.write_bytes(DATA)
    done = program(
        "uploader.py", str(file), f"{api.url}/files", "-t", kind, "--profile", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    first, last = done.stdout.strip().splitlines()[:: len(done.stdout.strip().splitlines()) - 1]
    assert first == f"uploading {file} by {kind}"
    assert last.startswith(f"uploaded {file} by {kind}: {api.url}/files/")
    assert f"the server has {len(DATA)} of {len(DATA)} bytes" in done.stderr
    assert list(api.stored().values()) == [len(DATA)]
    sent = "application-octet-stream" if kind == "raw" else "multipart-form-data"
    profile = (tmp_path / f"{sent}_{len(DATA)}-bytes.txt").read_text("utf-8")
    assert "cumulative" in profile
    assert "copying/api.py" in profile


def test_uploader_without_profile_writes_nothing_and_tells_a_refusal(
    serve: Serve, tmp_path: Path
) -> None:
    file = tmp_path / "big.iso"
    file.write_bytes(DATA)
    api = serve("--max-size", "1MB")
    done = program("uploader.py", str(file), f"{api.url}/files", cwd=tmp_path)

    assert done.returncode == 1
    assert "too-large" in done.stderr
    assert api.stored() == {}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["big.iso"]
