"""Whether a client has left for good while nobody reads from it, because the destination takes nothing. Linux only.

A paused connection reports neither end nor reset to the event loop; the kernel knows both, and how much is still unread.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

__all__ = ["PROTOCOL", "READER", "WHY", "hung_up", "peer_disconnected", "reset"]

PROTOCOL = "sluiceway.protocol"  # in a request's scope, where our own protocol serves it: it can be asked `client_left()`
READER = "sluiceway.reader"  # in a request's scope: its whole body was a wish, and whoever closes a half no longer waits for it
WHY = "sluiceway.why"  # in the message that tells the app of a cut: a SluiceError, None where the client simply left

CLOSE, CLOSE_WAIT = 7, 8  # tcpi_state: reset; the client's half is closed (linux/tcp_states.h)
TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)


def peer_disconnected(sock: socket.socket, missing: int | None) -> bool:
    """`missing`: bytes of the body that were not read from the socket, None while nobody knows.

    A client may close its half after the last byte and wait for the answer: only one that owes bytes has left.
    """
    if TCP_INFO is None:
        return False
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)[0]
        if state == CLOSE_WAIT and missing is not None:
            (unread,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
            return bool(unread < missing)
    except (OSError, ValueError):  # a Unix socket, or closed already: the event loop knows then
        return False
    return bool(state == CLOSE)


def hung_up(sock: socket.socket, *, half: bool) -> bool:
    """Whether the client reset the connection or, where `half` says so, closed its half of it: unread bytes hide that."""
    if TCP_INFO is None:
        return False
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)[0]
    except (OSError, ValueError):
        return False
    return bool(state == CLOSE or (half and state == CLOSE_WAIT))


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection at once. The kernel would keep what its client does not read, and go on offering it."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() < 0:
        return  # it has ended; asyncio's abort() fails on one that was closed while bytes waited and has sent them since
    if sock is not None:
        with suppress(OSError, ValueError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
