"""A request's body on its way out, as the transport needs it, and how long the other side may take. No I/O here."""

from __future__ import annotations

from typing import Protocol

from sluiceway.client.http.pulled_body import Write
from sluiceway.client.http.socket_progress import SocketProgress
from sluiceway.errors import SluiceError

__all__ = ["Outgoing"]


class Outgoing(Protocol):
    """A body on its way out, as this room needs it: pulled from a source (`Body`) or pushed by somebody (`Outbound`)."""

    started: bool  # a byte of it may be gone
    handed: int  # bytes given to `write`, the piece under way included
    ended: float | None  # when the last piece was taken
    failure: SluiceError | None  # why it broke off on this side
    line: SocketProgress | None  # the connection it goes over

    @property
    def repeatable(self) -> bool:
        """Whether all of it can be sent once more when it was sent in vain."""
        ...

    @property
    def length(self) -> int | None: ...

    async def send(self, write: Write) -> None: ...

    def halt(self) -> None: ...

    async def left(self) -> None: ...
