"""Whether a client has left while its connection is not read, because the destination is slow.

A paused connection reports neither end nor reset to the event loop; the kernel knows both, and how
much is still unread. Linux only.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

try:
    import fcntl
    import termios
except ImportError:  # Windows: a client that left is noticed by the next read or write
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "PROTOCOL",
    "READER",
    "WHY",
    "has_unread",
    "hung_up",
    "input_is_over",
    "peer_disconnected",
    "reset",
]

# In the scope of a request that our own protocol serves: the protocol, which has `client_left()`.
PROTOCOL = "sluiceway.protocol"
# In the scope of a request whose body only says what to do: a client that closes its half has left.
READER = "sluiceway.reader"
# In the message of a cut body: a SluiceError, None where the client simply left.
WHY = "sluiceway.why"

CLOSE, CLOSE_WAIT = 7, 8  # tcpi_state: reset; the client's half is closed (linux/tcp_states.h)
TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)


def peer_disconnected(sock: socket.socket, missing: int | None) -> bool:
    """Whether the client of a request is gone.

    `missing`: bytes of the body that were not read from the socket, None if unknown. A client may
    close its half after the last byte and wait for the response: only one that owes bytes has left.
    """
    if TCP_INFO is None or fcntl is None:
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
    """Whether the client reset the connection or, with `half`, closed its half of it.

    Unread bytes hide both from the event loop.
    """
    if TCP_INFO is None:
        return False
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)[0]
    except (OSError, ValueError):
        return False
    return bool(state == CLOSE or (half and state == CLOSE_WAIT))


def input_is_over(scope: Mapping[str, Any]) -> bool:
    """Whether a request gets only what the kernel and its connection hold: its client has closed
    its half, or is gone. False where another server's protocol serves it."""
    protocol = scope.get(PROTOCOL)
    if protocol is None:
        return False
    cycle, sock = protocol.cycle, protocol.transport.get_extra_info("socket")
    return bool(cycle.disconnected or cycle.input_ended or (sock and hung_up(sock, half=True)))


def has_unread(scope: Mapping[str, Any]) -> bool:
    """Whether the client has sent what was not read yet: it comes faster than it is read.

    The end of what a client sent may stand behind it, also in the client's own kernel.
    """
    protocol = scope.get(PROTOCOL)
    sock = None if protocol is None else protocol.transport.get_extra_info("socket")
    if protocol is None or sock is None or fcntl is None:
        return False
    try:
        (unread,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):
        return False
    return bool(unread or protocol.cycle.queue)


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection at once; after a close the kernel would keep what is not read."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() < 0:
        # It has ended. asyncio's abort() fails on one that was closed while bytes waited and has
        # sent them since.
        return
    if sock is not None:
        with suppress(OSError, ValueError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
