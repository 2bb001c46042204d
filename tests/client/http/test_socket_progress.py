"""How far a body is on its way: only the peer's kernel is believed."""

from __future__ import annotations

import socket
import struct
import sys
import time
from contextlib import suppress

import pytest

from fix_taking import eventually
from sluiceway.client.http.socket_progress import SocketProgress, unacknowledged

LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells what a peer has acknowledged"
)
BYTES_ACKED = 120  # offset of tcpi_bytes_acked in struct tcp_info (linux/tcp.h)


def acked(sock: socket.socket) -> int:
    reports = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("<Q", reports, BYTES_ACKED)[0])


@LINUX
def test_acknowledged_is_what_tcp_info_says() -> None:
    """A peer that stops reading acknowledges what its buffers take; the same count by two ways."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as out,
    ):
        before = acked(out)
        peer, _ = listener.accept()
        with peer:
            out.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += out.send(b"x" * 65536)
                except BlockingIOError:
                    break
            time.sleep(0.2)
            progress = SocketProgress(lambda: sent)
            progress.socket = out
            assert progress.acknowledged == acked(out) - before < sent
            left = sent
            while left:
                left -= len(peer.recv(min(left, 1 << 20)))
                try:
                    added = out.send(b"")
                except BlockingIOError:
                    added = 0
                sent += added
            deadline = time.monotonic() + 10
            while progress.acknowledged < sent and time.monotonic() < deadline:
                time.sleep(0.01)
            assert progress.acknowledged == sent == acked(out) - before


@LINUX
def test_bytes_that_our_side_has_not_counted_yet_take_nothing_back() -> None:
    """A thread counts what it sent when its call returns; our kernel has the bytes before that."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as out,
    ):
        progress = SocketProgress(lambda: 1000)
        progress.socket = out
        out.sendall(b"x" * 1000)
        eventually(lambda: progress.acknowledged == 1000, "the peer's kernel has them")
        out.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                out.send(b"x" * 65536)
        assert unacknowledged(out)
        assert progress.acknowledged == 1000


def test_without_a_connection_only_our_own_bytes_count() -> None:
    """Before it is there and after it is closed, what our side took is all that is known."""
    progress = SocketProgress(lambda: 7)
    assert (progress.taken, progress.acknowledged) == (7, 7)
    sock = socket.socket()
    sock.close()
    progress.socket = sock
    assert progress.acknowledged == 7
