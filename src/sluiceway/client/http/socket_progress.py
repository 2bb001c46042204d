"""How far a request's body is: taken by our socket, acknowledged by the peer's kernel.

On Linux, SIOCOUTQ is the number of bytes that the peer has not acknowledged yet. It is the figure
behind TCP_INFO's bytes_acked (equal in tests). It also holds for TLS, where the connection carries
more bytes than the body has.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Protocol

__all__ = ["SocketLike", "SocketProgress", "unacknowledged"]

SIOCOUTQ = 0x5411  # linux/sockios.h, tcp(7)


class SocketLike(Protocol):
    """A socket, or what TLS or an event loop puts around one."""

    def fileno(self) -> int: ...


def unacknowledged(sock: SocketLike) -> int | None:
    """Return the bytes that the peer has not acknowledged, framing included.

    None where the system does not tell, or the socket is closed.
    """
    if sys.platform != "linux":
        return None
    try:
        import fcntl

        answer = fcntl.ioctl(sock.fileno(), SIOCOUTQ, bytes(4))
    except (ImportError, OSError, ValueError):  # no fcntl, or closed meanwhile
        return None
    (outstanding,) = struct.unpack("i", answer)
    return outstanding if isinstance(outstanding, int) else None


class SocketProgress:
    """The connection of one body. `socket` is set once there is one; `taken` counts its bytes."""

    def __init__(self, taken: Callable[[], int]) -> None:
        self._taken = taken
        self.socket: socket.socket | None = None
        self._least = 0  # bytes that the peer has for certain

    @property
    def taken(self) -> int:
        """Bytes of the body that our kernel took."""
        return self._taken()

    @property
    def acknowledged(self) -> int:
        """Bytes of the body that the peer's kernel has; without SIOCOUTQ, those our kernel took."""
        # Read first: what our kernel gets in between makes the result too small, never too large.
        taken = self.taken
        if (outstanding := self._outstanding()) is None:
            return taken
        self._least = max(self._least, taken - outstanding)
        return self._least

    def _outstanding(self) -> int | None:
        return None if self.socket is None else unacknowledged(self.socket)
