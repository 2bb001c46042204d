"""A listener that must not be reached: it never answers, and counts connections.

with Canary() as canary:
    ...
    assert canary.met == 0
"""

from __future__ import annotations

import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Canary"]


class Canary:
    """Listens at every address of the machine, IPv4 and IPv6, or at one.

    The kernel accepts connections without our code.
    """

    def __init__(self, host: str | None = None) -> None:
        first = socket.create_server((host or "0.0.0.0", 0))
        self.port: int = first.getsockname()[1]
        self._listeners = [first]
        if host is None:
            with suppress(OSError):  # a machine without IPv6
                self._listeners.append(
                    socket.create_server(("::", self.port), family=socket.AF_INET6)
                )
        for listener in self._listeners:
            listener.setblocking(False)
        self._met = 0

    @property
    def met(self) -> int:
        """Returns the number of connections so far, closed ones included."""
        for listener in self._listeners:
            with suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    self._met += 1
        return self._met

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.close()
