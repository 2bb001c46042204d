"""A copy that is killed hard: what stays, and how the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fix_server import Serve
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.part import part_paths

DATA = os.urandom(8 << 20)
PATIENCE = 60  # seconds


def copying(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    _, error = process.communicate(timeout=PATIENCE)
    return process.returncode, error


def until(what: str, holds: object) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.01)


def slowly(exchange: Exchange) -> None:
    """2 MiB at once, then nothing more."""
    headers = {"ETag": '"v1"', "Content-Length": str(len(DATA)), "Repr-Digest": sha256_field(DATA)}
    exchange.head(200, headers)
    exchange.send(DATA[: 2 << 20])
    exchange.sock.recv(1)


def test_a_killed_download_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL in the middle: no file under its name; the next run asks for the rest and the whole is right."""
    target, part = tmp_path / "f", Path(part_paths(str(tmp_path / "f"))[0])
    with Peer(slowly) as peer:
        first = copying(f"{peer.url}/f", target)
        until("the part grew", lambda: part.exists() and part.stat().st_size > 1 << 20)
        first.kill()
        finish(first)
        have = part.stat().st_size
        assert not target.exists()
        peer.act = ranged(DATA)
        assert finish(copying(f"{peer.url}/f", target)) == (0, b"")

    assert target.read_bytes() == DATA
    assert peer.seen[-1].headers["range"] == f"bytes={have}-"
    assert peer.seen[-1].headers["if-range"] == '"v1"'
    assert os.listdir(tmp_path) == ["f"]


def test_an_interrupted_download_goes_on_too(tmp_path: Path) -> None:
    """Ctrl-C: code 130, and the bytes that came are used."""
    target, part = tmp_path / "f", Path(part_paths(str(tmp_path / "f"))[0])
    with Peer(slowly) as peer:
        first = copying(f"{peer.url}/f", target)
        until("the part grew", lambda: part.exists() and part.stat().st_size > 1 << 20)
        first.send_signal(signal.SIGINT)
        assert finish(first)[0] == 130
        peer.act = ranged(DATA)
        assert finish(copying(f"{peer.url}/f", target))[0] == 0

    assert target.read_bytes() == DATA
    assert peer.seen[-1].first_byte() > 1 << 20


def test_a_killed_download_of_a_file_that_changed_is_right(tmp_path: Path) -> None:
    """Between the runs the server got another version: all of it is fetched, none of the old."""
    target, part = tmp_path / "f", Path(part_paths(str(tmp_path / "f"))[0])
    other = os.urandom(len(DATA))
    with Peer(slowly) as peer:
        first = copying(f"{peer.url}/f", target)
        until("the part grew", lambda: part.exists() and part.stat().st_size > 1 << 20)
        first.kill()
        finish(first)
        peer.act = ranged(other, '"v2"')
        assert finish(copying(f"{peer.url}/f", target))[0] == 0

    assert target.read_bytes() == other


def test_a_part_that_was_damaged_is_noticed(tmp_path: Path) -> None:
    """A flipped byte in what was left behind: the digest says so, nothing keeps the name, the next run is clean."""
    target, part = tmp_path / "f", Path(part_paths(str(tmp_path / "f"))[0])
    with Peer(slowly) as peer:
        first = copying(f"{peer.url}/f", target)
        until("the part grew", lambda: part.exists() and part.stat().st_size > 1 << 20)
        first.kill()
        finish(first)
        with part.open("r+b") as file:
            file.write(bytes([DATA[0] ^ 1]))
        peer.act = ranged(DATA)
        assert finish(copying(f"{peer.url}/f", target))[0] == 5
        assert os.listdir(tmp_path) == []
        assert finish(copying(f"{peer.url}/f", target))[0] == 0

    assert target.read_bytes() == DATA


def test_a_killed_upload_leaves_nothing_at_the_server(serve: Serve, tmp_path: Path) -> None:
    """Known length and pipe: no object, and the draft goes too."""
    server = serve()
    source = tmp_path / "endless"
    os.mkfifo(source)
    for name in ("-", "fifo"):
        reader, writer = os.pipe()
        arguments = [sys.executable, "-m", "sluiceway", "copy", "-", f"{server.url}/files/{name}"]
        process = subprocess.Popen(arguments, stdin=reader, stderr=subprocess.PIPE)
        os.close(reader)
        for _ in range(64):
            os.write(writer, bytes(65536))
        until("the upload began", server.drafts)
        process.kill()
        finish(process)
        os.close(writer)
        until("the draft went", lambda: not server.drafts())

    assert server.stored() == {}
