"""A copy that is killed hard: what stays, and how the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fix_server import Serve
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.local.part_file import part_paths

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


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_copy_that_is_told_to_end_reports_and_leaves_nothing_half_done(
    tmp_path: Path, ending: signal.Signals
) -> None:
    """As with Ctrl-C: the report is printed, the journal is right, and no part stays that nothing will take up."""
    source = tmp_path / "from"
    source.mkdir()
    for number in range(20):
        (source / f"{number:02}").write_bytes(bytes(1 << 20))
    line = [
        sys.executable,
        "-m",
        "sluiceway",
        "copy",
        "-r",
        str(source),
        str(tmp_path / "to"),
        "--json",
    ]
    running = subprocess.Popen(
        [*line, "--limit-rate", "4MiB", "--journal", str(tmp_path / "j")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(ending)
    rest, errors = running.communicate(timeout=60)
    lines = [json.loads(one) for one in [first, *rest.splitlines()]]
    report, ended = lines[-1]["report"], [one for one in lines[:-1] if one["state"] == "copied"]

    assert (running.returncode, json.loads(errors)["code"]) == (130, "interrupted")
    assert (report["complete"], report["ok"], report["copied"]) == (False, False, len(ended))
    assert sorted(os.listdir(tmp_path / "to")) == sorted(one["key"] for one in ended)
    done = subprocess.run(
        [*line, "--journal", str(tmp_path / "j")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1])["report"]["skipped"] == len(ended)


def test_a_copy_under_nohup_goes_on_when_the_terminal_hangs_up(tmp_path: Path) -> None:
    """A signal that was ignored when the command began stays ignored."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x").write_bytes(bytes(2 << 20))
    line = [
        sys.executable,
        "-m",
        "sluiceway",
        "copy",
        "-r",
        str(tmp_path / "from"),
        str(tmp_path / "to"),
        "--limit-rate",
        "1MiB",
    ]
    running = subprocess.Popen(
        ["nohup", *line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    until("the copy began", lambda: (tmp_path / "to").exists() and os.listdir(tmp_path / "to"))
    running.send_signal(signal.SIGHUP)
    running.communicate(timeout=60)

    assert (running.returncode, os.listdir(tmp_path / "to")) == (0, ["x"])


def test_a_download_that_is_told_to_end_can_go_on(tmp_path: Path) -> None:
    """SIGTERM: code 130; what stays is marked as ours, and the next run takes it up."""
    target, part = tmp_path / "f", Path(part_paths(str(tmp_path / "f"))[0])
    with Peer(slowly) as peer:
        first = copying(f"{peer.url}/f", target)
        until("the part grew", lambda: part.exists() and part.stat().st_size > 1 << 20)
        first.send_signal(signal.SIGTERM)
        assert finish(first)[0] == 130
        peer.act = ranged(DATA)
        assert finish(copying(f"{peer.url}/f", target))[0] == 0

    assert target.read_bytes() == DATA
    assert peer.seen[-1].first_byte() > 1 << 20
    assert os.listdir(tmp_path) == ["f"]
