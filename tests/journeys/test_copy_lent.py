"""`copy` of large files goes round the event loop: the same bytes, receipts and errors.

Each journey runs with files and connections that are never lent to threads, always lent, and handed
back at random bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import noise
from lent_ways import OFF, ON, RANDOM, WAYS, lent_env

MIB = 1 << 20
SIZE = 9 * MIB + 4097
LIMIT = 60  # seconds for one command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("served") / "root")
    yield running
    running.stop()


class Copies:
    """`sluiceway copy` as a process of its own, which says how much it lent."""

    def __init__(self, folder: Path, way: str) -> None:
        self.way = way
        self._env = {**os.environ, **lent_env(folder, way), "no_proxy": "*"}

    def start(self, *words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sluiceway", "copy", *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self._env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: object) -> tuple[int, dict[str, object], list[int], str]:
        """Exit code, receipt, the bytes of each lending, and what was said."""
        return self.end(self.start(*words, "--json"))

    @staticmethod
    def end(process: subprocess.Popen[str]) -> tuple[int, dict[str, object], list[int], str]:
        out, said = process.communicate(timeout=LIMIT)
        lent = [int(size) for size in re.findall(r"^lent (\d+)$", out, re.MULTILINE)]
        rest = [row for row in out.splitlines() if not row.startswith("lent ")]
        receipt = json.loads("\n".join(rest)) if process.returncode == 0 and rest else {}
        return process.returncode, receipt, lent, said


@pytest.fixture(params=WAYS)
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> Copies:
    return Copies(tmp_path, request.param)


@pytest.fixture
def often(tmp_path: Path) -> Copies:
    return Copies(tmp_path, RANDOM)


@pytest.fixture
def always(tmp_path: Path) -> Copies:
    return Copies(tmp_path, ON)


def test_all_bytes_go_up_and_down(copies: Copies, server: RunningServer, tmp_path: Path) -> None:
    body = noise(SIZE - 3 * MIB) + bytes(2 * MIB) + noise(MIB)
    sha256, key = hashlib.sha256(body).hexdigest(), f"both-{copies.way}"
    (tmp_path / "source").write_bytes(body)
    code, receipt, up, said = copies.run(tmp_path / "source", f"{server.url}/files/{key}")
    assert (code, receipt.get("sha-256"), receipt.get("size")) == (0, sha256, SIZE), said
    assert (server.root / key).read_bytes() == body
    code, receipt, down, said = copies.run(f"{server.url}/files/{key}", tmp_path / "target")
    assert (code, receipt.get("sha-256"), receipt.get("size")) == (0, sha256, SIZE), said
    assert (tmp_path / "target").read_bytes() == body
    assert (copies.way == OFF) is (not up) is (not down)
    stages = receipt["stages"]
    assert isinstance(stages, dict)
    assert "wait-for-client" not in stages
    assert sum(stages.values()) == pytest.approx(receipt["seconds"], rel=0.02, abs=0.001)


class Peer:
    """A server for one test: each connection is handled by one of `turns`, in order."""

    def __init__(self, *turns: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/file"
        self._thread = threading.Thread(target=self._serve, args=(turns,), daemon=True)
        self._thread.start()

    def _serve(self, turns: tuple[Callable[[socket.socket], None], ...]) -> None:
        for turn in turns:
            with self._accept() as connection:
                turn(connection)

    def _accept(self) -> socket.socket:
        """A connection for a file, after the question what is taken here: plain requests."""
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(LIMIT)
            if connection.recv(7, socket.MSG_PEEK | socket.MSG_WAITALL) != b"OPTIONS":
                return connection
            with connection:
                head_of(connection)
                connection.sendall(
                    b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )

    def close(self) -> None:
        self._listener.close()
        self._thread.join(LIMIT)


def drain(connection: socket.socket) -> int:
    """Reads until the client leaves, by an end or a reset; returns the number of bytes."""
    count = 0
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            count += len(piece)
    return count


def head_of(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    return head


def test_a_download_that_breaks_off_in_a_burst_goes_on_where_it_was(
    often: Copies, tmp_path: Path
) -> None:
    body, cut = noise(SIZE), 6 * MIB + 1
    asked: list[bytes] = []

    def breaks(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(
            f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: {SIZE}\r\n\r\n'.encode() + body[:cut]
        )

    def rest(connection: socket.socket) -> None:
        asked.append(head_of(connection))
        start = int(re.findall(rb"[Rr]ange: bytes=(\d+)-", asked[0])[0])
        connection.sendall(
            f'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\nContent-Length: {SIZE - start}\r\n'
            f"Content-Range: bytes {start}-{SIZE - 1}/{SIZE}\r\n\r\n".encode()
            + body[start:]
        )

    peer = Peer(breaks, rest)
    try:
        code, receipt, _, said = often.run(peer.url, tmp_path / "target")
    finally:
        peer.close()
    assert (code, receipt.get("size")) == (0, SIZE), said
    assert b"bytes=%d-" % cut in asked[0]  # every byte that came was kept
    assert (tmp_path / "target").read_bytes() == body


@pytest.mark.torture
def test_a_fast_server_that_becomes_slow_is_read_to_its_end(often: Copies, tmp_path: Path) -> None:
    body = noise(SIZE)

    def slows(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        connection.sendall(body[:-4])
        for at in range(SIZE - 4, SIZE):
            time.sleep(0.2)
            connection.sendall(body[at : at + 1])

    peer = Peer(slows)
    try:
        code, receipt, _, said = often.run(peer.url, tmp_path / "target")
    finally:
        peer.close()
    assert (code, receipt.get("size")) == (0, SIZE), said
    assert (tmp_path / "target").read_bytes() == body


@pytest.mark.torture
def test_a_server_that_falls_silent_in_a_burst_is_given_up(always: Copies, tmp_path: Path) -> None:
    def silent(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        connection.sendall(noise(6 * MIB))
        drain(connection)

    peer = Peer(silent)
    try:
        words = (peer.url, tmp_path / "target", "--timeout", 1, "--retries", 0)
        code, _, lent, said = always.run(*words)
    finally:
        peer.close()
    assert code != 0
    assert lent
    assert "did not answer for 1 seconds" in said
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("leaves", [False, True])
def test_a_server_refuses_within_a_burst(always: Copies, tmp_path: Path, leaves: bool) -> None:
    """It answers while the body is still coming, and reads nothing more, or goes."""
    (tmp_path / "source").write_bytes(noise(SIZE))
    problem = b'{"title":"Full","status":507,"detail":"no room","code":"no-space"}'

    def refuses(connection: socket.socket) -> None:
        head = head_of(connection)
        if b"100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        taken = 0
        while taken < 3 * MIB and (piece := connection.recv(1 << 16)):
            taken += len(piece)
        connection.sendall(
            b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/problem+json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(problem), problem)
        )
        if leaves:
            time.sleep(0.3)
        else:
            drain(connection)

    peer = Peer(refuses)
    try:
        code, _, _, said = always.run(tmp_path / "source", peer.url, "--retries", 0)
    finally:
        peer.close()
    assert code != 0
    assert "507" in said or "no room" in said


@pytest.mark.torture
def test_a_server_that_takes_nothing_is_given_up(always: Copies, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(noise(24 * MIB))
    done = threading.Event()

    def stalls(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.recv(1 << 16)
        done.wait(LIMIT)

    peer = Peer(stalls)
    try:
        words = (tmp_path / "source", peer.url, "--timeout", 1, "--retries", 0)
        code, _, _, said = always.run(*words)
    finally:
        done.set()
        peer.close()
    assert code != 0
    assert "took nothing for 1 seconds" in said


def test_a_file_that_changes_within_a_burst_is_not_sent_whole(
    often: Copies, tmp_path: Path
) -> None:
    source, body = tmp_path / "source", noise(SIZE)
    source.write_bytes(body)
    taken: list[int] = []

    def changes(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        count = len(connection.recv(1 << 16))
        with source.open("r+b") as file:
            file.write(b"other")
        taken.append(count + drain(connection))

    peer = Peer(changes)
    try:
        code, _, _, said = often.run(source, peer.url, "--retries", 0)
    finally:
        peer.close()
    assert code != 0
    assert "changed while it was read" in said
    assert taken[0] < SIZE


def test_a_rate_keeps_files_and_connections_from_being_lent(
    always: Copies, server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(noise(5 * MIB))
    to = f"{server.url}/files/limited"
    code, _, lent, said = always.run(tmp_path / "source", to, "--limit-rate", "20MiB")
    assert (code, lent) == (0, []), said


def test_a_command_that_is_interrupted_in_a_burst_ends_at_once(
    always: Copies, tmp_path: Path
) -> None:
    begun = threading.Event()

    def endless(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        block, sent = noise(MIB), 0
        try:
            while True:
                connection.sendall(block)
                sent += 1
                if sent == 20:
                    begun.set()
        except OSError:
            pass

    peer = Peer(endless)
    process = always.start(peer.url, tmp_path / "target", "-q")
    try:
        assert begun.wait(LIMIT)
        process.terminate()
        code, _, _, _ = always.end(process)
    finally:
        peer.close()
    assert code != 0
    assert not (tmp_path / "target").exists()
