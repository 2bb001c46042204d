"""How far a request's body is on its way: taken by our socket, acknowledged by the peer's kernel. Figures only.

Linux tells how many bytes of a connection the peer has not acknowledged yet (SIOCOUTQ, the figure behind TCP_INFO's
bytes_acked: equal in tests, and it also holds for TLS, where more bytes go over the line than the body has).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable

__all__ = ["SocketProgress"]

SIOCOUTQ = 0x5411  # linux/sockios.h, tcp(7)


class SocketProgress:
    """The connection of one body. `socket` is set once there is one."""

    def __init__(self, taken: Callable[[], int]) -> None:
        self._taken = taken
        self.socket: socket.socket | None = None

    @property
    def taken(self) -> int:
        """Bytes of the body that our kernel took."""
        return self._taken()

    @property
    def tells(self) -> bool:
        """Whether `acknowledged` is the peer's word and not only our kernel's."""
        return self._outstanding() is not None

    @property
    def acknowledged(self) -> int:
        """Bytes of the body that the peer's kernel has; where the system does not tell, those our kernel took."""
        taken = (
            self.taken
        )  # first: what is acknowledged meanwhile makes the answer too small, never too large
        return max(0, taken - (self._outstanding() or 0))

    def _outstanding(self) -> int | None:
        """Bytes on the line, framing included, that the peer has not acknowledged."""
        if self.socket is None or sys.platform != "linux":
            return None
        try:
            import fcntl

            told = fcntl.ioctl(self.socket.fileno(), SIOCOUTQ, bytes(4))
        except (OSError, ValueError):  # closed meanwhile
            return None
        (outstanding,) = struct.unpack("i", told)
        return outstanding if isinstance(outstanding, int) else None
