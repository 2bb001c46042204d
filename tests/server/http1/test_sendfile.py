"""Downloads that the kernel sends: the right bytes, without delay for other clients.

The server drops readers that leave or stall.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, head, talk
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
LARGE = pattern(8 * MIB) * 2  # more than a slow reader's connection holds
SENT = "sendfile took"  # what a watched server prints of each call
ENDLESS = 1 << 40  # bytes of a file without any


@pytest.fixture(scope="module")
def shelf(taker: RunningServer) -> RunningServer:
    """A server with a large object, and a larger one that takes no room on the disk."""
    (taker.root / "large.bin").write_bytes(LARGE)
    sparse(taker.root / "endless.bin", ENDLESS)
    return taker


Patched = Callable[..., RunningServer]


@pytest.fixture
def patched(serve: Serve, tmp_path: Path) -> Patched:
    """A real server whose process runs these lines first.

    `sending` is server/http1/sendfile.py.
    """

    def start(*lines: str) -> RunningServer:
        folder = tmp_path / "patched"
        folder.mkdir()
        text = [
            "import os, sys, time",
            "import sluiceway.server.http1.sendfile as sending",
            "sendfile = os.sendfile",
            *lines,
        ]
        (folder / "sitecustomize.py").write_text("\n".join(text))
        server = serve(
            env={
                "PYTHONPATH": os.pathsep.join(
                    [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
                )
            }
        )
        (server.root / "large.bin").write_bytes(LARGE)
        return server

    return start


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def get(port: int, key: str, *fields: str) -> bytes:
    return talk(port, head("GET", f"/files/{key}", *fields)).body


def slow_reader(port: int, key: str) -> socket.socket:
    """A request whose response is not read yet, on a connection with small buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    sock.sendall(head("GET", f"/files/{key}"))
    return sock


def open_files(server: RunningServer) -> list[str]:
    """The server's open files and sockets; its thread pools have none."""
    found = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def sockets_and_objects(server: RunningServer) -> int:
    return sum(name.startswith("socket:") or name.endswith(".bin") for name in open_files(server))


# The right bytes


def test_the_kernel_sends_whole_objects_and_ranges(patched: Patched) -> None:
    """It sends every byte of a large range; we send the heads of parts and small ranges."""
    server = patched(
        "def watched(*arguments):",
        "    sent = sendfile(*arguments)",
        f"    print({SENT!r}, sent, file=sys.stderr, flush=True)",
        "    return sent",
        "os.sendfile = watched",
    )
    whole, one = (
        get(server.port, "large.bin"),
        get(server.port, "large.bin", "Range: bytes=5000001-9000000"),
    )
    several = get(
        server.port, "large.bin", "Range: bytes=1-2000000,3000000-3000009,14000000-15999999"
    )

    assert hashlib.sha256(whole).digest() == hashlib.sha256(LARGE).digest()
    assert one == LARGE[5000001:9000001]
    assert LARGE[1:2000001] in several
    assert LARGE[3000000:3000010] in several
    assert LARGE[14000000:16000000] in several
    sent = len(whole) + len(one) + 4_000_000

    def sent_by_kernel() -> int:
        return sum(
            int(line.rpartition(" ")[2])
            for line in server.log().splitlines()
            if line.startswith(SENT)
        )

    eventually(lambda: sent_by_kernel() == sent, f"{sent} bytes were sent by the kernel")
    for line in (
        f'"GET /files/large.bin" {end} ' for end in (f"200 {len(whole)}", f"206 {len(one)}")
    ):
        eventually(lambda line=line: line in server.log(), line)  # type: ignore[misc]


@pytest.mark.parametrize(
    "size", [0, 1, 4095, 65_537, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB + 1, 5 * MIB + 3]
)
def test_every_size_arrives_whole(shelf: RunningServer, size: int) -> None:
    """Sizes around pages and system calls; a second response follows on the connection."""
    (shelf.root / "sized.bin").write_bytes(LARGE[:size])
    with Wire(shelf.port) as wire:
        for _ in range(2):
            wire.send(head("GET", "/files/sized.bin"))
            assert wire.answer().body == LARGE[:size]


@pytest.mark.parametrize("edge", [1 << 31, 1 << 32, (1 << 42) - MIB])
def test_offsets_beyond_32_bits(shelf: RunningServer, edge: int) -> None:
    """Ranges around 2 GiB and 4 GiB, and the very end of a file of 4 TiB."""
    path = shelf.root / "vast.bin"
    sparse(path, 1 << 42)
    with path.open("r+b") as file:
        file.seek(edge - MIB)
        file.write(LARGE[: 2 * MIB])

    assert (
        get(shelf.port, "vast.bin", f"Range: bytes={edge - MIB}-{edge + MIB - 1}")
        == LARGE[: 2 * MIB]
    )
    assert (
        get(shelf.port, "vast.bin", f"Range: bytes={edge - 3}-{edge + 3}")
        == LARGE[MIB - 3 : MIB + 4]
    )


def test_a_connection_serves_on_afterwards(shelf: RunningServer) -> None:
    """Downloads, ranges, HEAD and uploads follow each other on one connection."""
    with Wire(shelf.port) as wire:
        for number in range(3):
            wire.send(head("GET", "/files/large.bin"))
            assert wire.answer().body == LARGE
            wire.send(head("GET", "/files/large.bin", "Range: bytes=7-2000006"))
            assert wire.answer().body == LARGE[7:2000007]
            wire.send(head("HEAD", "/files/large.bin"))
            assert wire.answer(to_head=True).headers["content-length"] == str(len(LARGE))
            wire.send(head("PUT", f"/files/on/{number}", "Content-Length: 3") + b"abc")
            assert wire.answer().status == 201


def test_pipelined_downloads_come_in_order(shelf: RunningServer) -> None:
    """The reader begins late, so that each head waits until the bytes before it are gone."""
    asked = [(start, start + 6 * MIB) for start in range(0, 10 * MIB, 2 * MIB)]
    with Wire(shelf.port) as wire:
        for start, stop in asked:
            wire.send(head("GET", "/files/large.bin", f"Range: bytes={start}-{stop - 1}"))
            wire.send(head("GET", "/healthz"))
        time.sleep(0.3)
        for start, stop in asked:
            assert wire.answer().body == LARGE[start:stop]
            assert wire.answer().body == b"ok\n"


def test_an_http_1_0_client_reads_to_the_end(shelf: RunningServer) -> None:
    """The connection ends directly after the last byte."""
    with Wire(shelf.port) as wire:
        wire.send(b"GET /files/large.bin HTTP/1.0\r\n\r\n")
        assert wire.answer().body == LARGE
        assert wire.closed()


# Other clients are not delayed


def test_a_slow_disk_delays_only_its_own_download(patched: Patched, tmp_path: Path) -> None:
    """While one download waits for its first byte, others are served."""
    goes = tmp_path / "goes"
    server = patched(
        "def cold(*arguments):",
        f"    while not os.path.exists({str(goes)!r}):",
        "        time.sleep(0.01)",
        "    return sendfile(*arguments)",
        "os.sendfile = cold",
    )
    with Wire(server.port) as wire:
        wire.send(head("GET", "/files/large.bin"))
        for _ in range(3):
            assert talk(server.port, head("GET", "/healthz")).status == 200
        assert (
            talk(server.port, head("PUT", "/files/beside", "Content-Length: 3") + b"abc").status
            == 201
        )
        goes.touch()
        assert wire.answer().body == LARGE


def test_readers_that_stall_hold_no_thread(shelf: RunningServer) -> None:
    """Four times as many as there are threads; the server still serves the next client."""
    stalled = [slow_reader(shelf.port, "endless.bin") for _ in range(64)]
    try:
        eventually(
            lambda: sum(name.endswith("endless.bin") for name in open_files(shelf)) == 64,
            "all are served",
        )
        for _ in range(3):
            assert get(shelf.port, "large.bin") == LARGE
    finally:
        for sock in stalled:
            sock.close()


def test_a_reader_without_end_shares_its_thread(patched: Patched) -> None:
    """A fast endless reader has the only thread; a second reader gets its turn."""
    server = patched(
        "from concurrent.futures import ThreadPoolExecutor",
        "sending.THREADS, sending.MOMENT, sending._senders = 1, 30_000, ThreadPoolExecutor(1)",
    )
    sparse(server.root / "endless.bin", ENDLESS)
    script = f"""
import socket
sock = socket.create_connection(("127.0.0.1", {server.port}))
sock.sendall({head("GET", "/files/endless.bin")!r})
block = bytearray(1 << 20)
print(sock.recv_into(block), flush=True)
while sock.recv_into(block):
    pass
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as endless:
        try:
            assert endless.stdout is not None
            assert endless.stdout.readline()
            assert get(server.port, "large.bin") == LARGE
            assert endless.poll() is None
        finally:
            endless.kill()


# The end


@pytest.mark.parametrize("way", ["close", "reset", "half"])
def test_a_reader_that_leaves_leaves_nothing_open(shelf: RunningServer, way: str) -> None:
    """It hangs up, resets, or closes its half and stops reading: sockets and files are closed."""
    before = sockets_and_objects(shelf)
    left = []
    for number in range(24):
        sock = slow_reader(shelf.port, "endless.bin")
        for _ in range(number % 3):
            sock.recv(65536)
        if way == "half":
            sock.shutdown(socket.SHUT_WR)
            left.append(sock)
        else:
            Wire.reset(_wire(sock)) if way == "reset" else sock.close()
    try:
        eventually(lambda: sockets_and_objects(shelf) <= before, "everything is closed")
    finally:
        for sock in left:
            sock.close()
    assert "Traceback" not in shelf.log()


def test_a_stalled_reader_is_dropped_and_a_slow_one_is_served(patched: Patched) -> None:
    """The deadline is for a reader that takes no byte; the whole may take longer."""
    server = patched("sending.READER_TIMEOUT = 3.0")
    sparse(server.root / "endless.bin", ENDLESS)
    began = time.monotonic()
    with slow_reader(server.port, "endless.bin"), slow_reader(server.port, "large.bin") as slow:
        got = b""
        while len(got) < len(LARGE):
            piece = slow.recv(MIB)
            assert piece, "the slow reader was dropped, too"
            got += piece
            time.sleep(0.02)
        eventually(
            lambda: not any(name.endswith("endless.bin") for name in open_files(server)),
            "the stalled reader was dropped",
        )

        assert got[got.index(b"\r\n\r\n") + 4 :] == LARGE[: len(got) - got.index(b"\r\n\r\n") - 4]
        assert time.monotonic() - began > 3


@pytest.mark.parametrize(
    "asked", [(), ("Range: bytes=1000000-",), ("Range: bytes=5-6,2000000-15000000",)]
)
def test_a_file_that_shrinks_never_looks_whole(
    shelf: RunningServer, asked: tuple[str, ...]
) -> None:
    """The file is truncated during the download: the connection breaks, and the log says why."""
    path = shelf.root / "shrinks.bin"
    path.write_bytes(LARGE)
    before = shelf.log().count("became shorter")
    with (
        slow_reader(shelf.port, "shrinks.bin")
        if not asked
        else socket.create_connection(("127.0.0.1", shelf.port)) as sock
    ):
        sock.settimeout(30)
        if asked:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(head("GET", "/files/shrinks.bin", *asked))
        got = sock.recv(1000)
        os.truncate(path, 2 * MIB)
        while data := sock.recv(MIB):
            got += data

    assert len(got) < len(LARGE) - 2 * MIB
    eventually(lambda: shelf.log().count("became shorter") > before, "the log says why")


def test_the_server_stops_without_waiting_for_readers(patched: Patched) -> None:
    """One reads for ever, one reads nothing; the server ends in time."""
    server = patched()
    sparse(server.root / "endless.bin", ENDLESS)
    script = f"import socket; s = socket.create_connection(('127.0.0.1', {server.port}))\n"
    script += f"s.sendall({head('GET', '/files/endless.bin')!r})\nwhile s.recv(1 << 20): pass"
    with (
        slow_reader(server.port, "endless.bin"),
        subprocess.Popen([sys.executable, "-c", script]) as endless,
    ):
        eventually(
            lambda: sum(name.endswith("endless.bin") for name in open_files(server)) == 2,
            "both are served",
        )

        assert server.stop() == 0
        assert endless.wait(30) == 0


# Other systems


def test_a_file_system_without_sendfile_is_read_instead(patched: Patched) -> None:
    """Some network and user-space file systems answer sendfile with EINVAL."""
    server = patched(
        "def cannot(*arguments):", "    raise OSError(22, 'cannot')", "os.sendfile = cannot"
    )

    assert get(server.port, "large.bin") == LARGE
    assert get(server.port, "large.bin", "Range: bytes=5-3000004") == LARGE[5:3000005]


def _wire(sock: socket.socket) -> Wire:
    wire = Wire.__new__(Wire)
    wire.sock = sock
    return wire
