"""A copy that is killed: what stays, and how the next run resumes."""

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
from fix_taking import noise
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.local.part_notes import part_paths

DATA = noise(8 << 20)
DEADLINE = 60  # seconds


def copying(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    _, error = process.communicate(timeout=DEADLINE)
    return process.returncode, error


def until(what: str, holds: object) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.01)


def slowly(exchange: Exchange) -> None:
    """2 MiB at once, then nothing more."""
    headers = {"ETag": '"v1"', "Content-Length": str(len(DATA)), "Repr-Digest": sha256_field(DATA)}
    exchange.head(200, headers)
    exchange.send(DATA[: 2 << 20])
    exchange.sock.recv(1)


def test_a_killed_download_resumes(tmp_path: Path) -> None:
    """SIGKILL in the middle: no file; the next run requests the rest, and all bytes are right."""
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


def test_an_interrupted_download_resumes(tmp_path: Path) -> None:
    """Ctrl-C: code 130, and the received bytes are used."""
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


def test_a_killed_download_of_a_changed_file_begins_anew(tmp_path: Path) -> None:
    """The server got another version between the runs: all of it is fetched."""
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


def test_a_damaged_part_file_is_noticed(tmp_path: Path) -> None:
    """A flipped byte in the part: the digest differs, no file is kept, the next run succeeds."""
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
    """With a known length and from a pipe: no object, no draft."""
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
def test_a_copy_ended_by_a_signal_reports_and_leaves_nothing(
    tmp_path: Path, ending: signal.Signals
) -> None:
    """As with Ctrl-C: the report is printed, the journal is right, no part stays."""
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
        [*line, "--limit-rate", "2MiB", "--journal", str(tmp_path / "j")],
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


def test_a_copy_under_nohup_survives_a_hangup(tmp_path: Path) -> None:
    """A signal that was ignored at the start stays ignored."""
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


def test_a_download_ended_by_a_signal_can_be_resumed(tmp_path: Path) -> None:
    """SIGTERM: code 130; the part stays, and the next run resumes with it."""
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


KILLED = """# in a fork
import os, signal, sys
def kill(*given, **named): os.kill(os.getpid(), signal.SIGKILL)
for name in {calls}: setattr(os, name, kill)
link = os.link
def linked(*given, **named):
    link(*given, **named)
    kill()
if "after link" in {calls}: os.link = linked
from sluiceway.__main__ import run
sys.argv = ["sluiceway", "copy", *{words}]
run()
"""


@pytest.mark.parametrize(
    ("size", "calls"),
    [
        (100_000, ["setxattr"]),
        (100_000, ["fsync", "fdatasync"]),
        (100_000, ["link"]),
        (100_000, ["after link"]),
        (5, ["fsync", "fdatasync"]),
        (5, ["link"]),
        (5, ["after link"]),
    ],
)
def test_no_part_of_a_killed_folder_copy_stays(tmp_path: Path, size: int, calls: list[str]) -> None:
    """Wherever it is killed, also twice: the next run takes its own parts up. A small file has
    none."""
    source, target = f"{tmp_path}/from/", f"{tmp_path}/to/"
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(b"h" * size)
    code = KILLED.format(calls=calls, words=["-r", source, target])
    linked = calls == ["after link"]
    for _ in range(1 if linked else 2):  # what is linked is there already at the second time
        killed = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=DEADLINE)
        assert killed.returncode == -signal.SIGKILL, killed
        assert linked or size > 5 or not os.listdir(tmp_path / "to")
    if linked and size > 5:
        assert len(os.listdir(tmp_path / "to")) == 2
    status, error = finish(copying("-r", source, target))
    assert status == 0, error
    assert os.listdir(tmp_path / "to") == ["a"]
    assert (tmp_path / "to" / "a").read_bytes() == b"h" * size


@pytest.mark.parametrize("words", [[], ["--force"]])
def test_no_part_of_a_killed_download_stays(tmp_path: Path, words: list[str]) -> None:
    """Killed when the file had its name and the part's: the next run removes that and the notes."""
    with Peer(ranged(DATA)) as peer:
        command = [f"{peer.url}/f", f"{tmp_path}/f"]
        code = KILLED.format(calls=["after link"], words=command)
        killed = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=DEADLINE)
        assert killed.returncode == -signal.SIGKILL, killed
        assert len(os.listdir(tmp_path)) == 3
        status, error = finish(copying(*command, *words))
    assert status == (0 if words else 4), error
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == DATA
