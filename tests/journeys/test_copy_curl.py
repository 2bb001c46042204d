"""`copy --curl`: the printed line, run by a real shell and curl, stores what the copy would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve
from fix_taking import noise

TOKEN = "a-long-enough-token"
DATA = noise(3_000_000)
DEADLINE = 60  # seconds

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


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


def shell(
    line: str | bytes, folder: Path, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", line],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        cwd=folder,
        env={**os.environ, **env},
    )


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    return serve("--token", TOKEN)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / 'it\'s a ü "file" [1] {2} $HOME.txt'
    path.write_bytes(DATA)
    return path


def contents(server: RunningServer) -> dict[str, bytes]:
    return {key: (server.root / key).read_bytes() for key in server.stored()}


@pytest.mark.parametrize(
    "way", ["put", "put below", "form", "form with fields", "pipe", "pipe with size", "query"]
)
def test_the_line_of_an_upload_stores_the_same(
    server: RunningServer, tmp_path: Path, source: Path, way: str
) -> None:
    """Bytes, name, type and fields; the token comes from the environment."""
    ways: dict[str, tuple[list[str | Path], bytes]] = {
        "put": ([source, f"{server.url}/files/a.bin", "--type", "image/webp"], b""),
        "put below": ([source, f"{server.url}/files/d/"], b""),
        "form": ([source, f"{server.url}/files"], b""),
        "form with fields": (
            [
                source,
                f"{server.url}/files",
                "--form",
                "id=42",
                "--form",
                "x=@no;'file",
                "--form",
                "y=<b\n",
                "--name",
                'n"1\\.txt',
            ],
            b"",
        ),
        "pipe": (["-", f"{server.url}/files/p/q.txt"], DATA),
        "pipe with size": (["-", f"{server.url}/files/p/q.txt", "--size", str(len(DATA))], DATA),
        "query": ([source, f"{server.url}/files?name=q.bin", "-H", "X-Note: it's"], b""),
    }
    arguments, stdin = ways[way]
    arguments.append("--force")  # it is sent twice, and two ways share a key
    printed = copy(*arguments, "--curl", stdin=stdin, SLUICEWAY_TOKEN=TOKEN)
    assert printed.returncode == 0, printed.stderr
    before = contents(server)
    done = shell(printed.stdout, tmp_path, stdin, SLUICEWAY_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    by_curl = json.loads(done.stdout)
    entry = by_curl["files"][0]
    stored = contents(server)
    ours = copy("--json", *arguments, stdin=stdin, SLUICEWAY_TOKEN=TOKEN)
    assert ours.returncode == 0, ours.stderr
    response = json.loads(ours.stdout)["answer"]

    assert before == {}
    assert list(stored.values()) == [DATA]
    assert TOKEN not in printed.stdout.decode()
    assert b"SLUICEWAY_TOKEN" in printed.stderr
    assert {name: entry[name] for name in ("filename", "size", "sha-256", "type")} == {
        name: response["files"][0][name] for name in ("filename", "size", "sha-256", "type")
    }
    assert by_curl["fields"] == response["fields"]


def test_a_refusal_fails_curl_and_shows_the_text(
    server: RunningServer, tmp_path: Path, source: Path
) -> None:
    """A wrong token: the exit code and the server's own text."""
    printed = copy(source, f"{server.url}/files/a", "--token", TOKEN, "--curl")
    done = shell(printed.stdout, tmp_path, SLUICEWAY_TOKEN="another-one")

    assert done.returncode == 22
    assert json.loads(done.stdout)["code"] == "unauthorized"
    assert server.stored() == {}


def test_the_lines_of_a_folder_store_the_same_tree(server: RunningServer, tmp_path: Path) -> None:
    """One line per file; together a script."""
    names = ["a b.txt", "x/y/z", "ü/[1].txt"]
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    printed = copy(tmp_path / "d", f"{server.url}/files/in/", "--curl", SLUICEWAY_TOKEN=TOKEN)
    done = shell(printed.stdout, tmp_path, SLUICEWAY_TOKEN=TOKEN)

    assert done.returncode == 0, done.stderr
    assert contents(server) == {f"in/{name}": name.encode() for name in names}


@pytest.mark.parametrize("way", ["path", "folder", "standard output", "the rest"])
def test_the_line_of_a_download_fetches_the_same(
    server: RunningServer, tmp_path: Path, source: Path, way: str
) -> None:
    """To a path, into a folder, to standard output; an existing part is continued."""
    assert copy(source, f"{server.url}/files/a%20b.txt", SLUICEWAY_TOKEN=TOKEN).returncode == 0
    (tmp_path / "into").mkdir()
    got = {
        "path": tmp_path / "got [1]",
        "folder": tmp_path / "into" / "a b.txt",
        "the rest": tmp_path / "rest",
    }
    if way == "the rest":
        got[way].write_bytes(DATA[:1_000_000])
    targets = {"folder": str(tmp_path / "into"), "standard output": "-"}
    printed = copy(
        f"{server.url}/files/a%20b.txt",
        targets.get(way) or got[way],
        "--curl",
        SLUICEWAY_TOKEN=TOKEN,
    )
    done = shell(printed.stdout, tmp_path, SLUICEWAY_TOKEN=TOKEN)

    assert done.returncode == 0, done.stderr
    assert (done.stdout if way == "standard output" else got[way].read_bytes()) == DATA


def test_the_line_between_servers_copies_the_same(
    serve: Serve, server: RunningServer, tmp_path: Path, source: Path
) -> None:
    """Two curls and a pipe, each with its own token; passwords in URLs become variables."""
    other = serve("--token", "the-other-token")
    assert copy(source, f"{server.url}/files/a.txt", SLUICEWAY_TOKEN=TOKEN).returncode == 0
    reading, writing = server.url.replace("//", f"//:{TOKEN}@"), other.url
    printed = copy(
        f"{reading}/files/a.txt", f"{writing}/files/b/", "--token", "the-other-token", "--curl"
    )
    done = shell(
        printed.stdout, tmp_path, SLUICEWAY_FROM_PASSWORD=TOKEN, SLUICEWAY_TOKEN="the-other-token"
    )

    assert done.returncode == 0, done.stderr
    assert TOKEN not in printed.stdout.decode()
    assert contents(other) == {"b/a.txt": DATA}
    assert b"breaks off" in printed.stderr


def test_printing_a_line_sends_nothing(server: RunningServer, tmp_path: Path, source: Path) -> None:
    """Only the line on standard output; JSON with its variables; --quiet prints no notes."""
    arguments: list[str | Path] = [source, f"{server.url}/files/a", "--token", TOKEN, "--curl"]
    plain, as_json, quiet = copy(*arguments), copy(*arguments, "--json"), copy(*arguments, "-q")
    line = json.loads(as_json.stdout)

    assert plain.stdout == quiet.stdout
    assert plain.stdout.count(b"\n") == 1
    assert quiet.stderr == as_json.stderr == b""
    assert line == {
        "curl": plain.stdout.decode().rstrip("\n"),
        "variables": ["SLUICEWAY_TOKEN"],
        "notes": [],
    }
    assert server.stored() == {}
    assert "PUT" not in server.log()
