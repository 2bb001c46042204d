"""What an account of bytes must do, wherever it is kept: stored, reserved, and in change.

All servers that store into one place share one account. A reservation or key of a process that
lives no more is found by the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Account", "Amount", "Limits", "NotCounted", "QuotaRefusal"]


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes of a name."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes of all names together, and of the one that asks; None for no limit."""

    total: int | None
    of_name: int | None


class QuotaRefusal(Exception):
    """There is no room. `left` is how many bytes the file could have; never leaves this room."""

    def __init__(self, left: int, is_total: bool) -> None:
        super().__init__(left)
        self.left: int = max(0, left)
        self.is_total: bool = is_total


class NotCounted(Exception):
    """All files have to be counted anew, or this process has to join again; as `QuotaRefusal`."""


class Account(Protocol):
    """The account of one place, as one process uses it. Raises StoreFailed, Unavailable."""

    async def counts(self) -> bool | None:
        """Whether this process has to count now; None when all is counted."""
        ...

    async def counted(
        self, stored: Sequence[Amount], lasting: Sequence[tuple[str, Amount, str]]
    ) -> None:
        """All is counted: bytes of each name, and those of uploads that outlive a request, with the
        ids of those that they are parts of, "" for none."""
        ...

    async def usage(self) -> dict[str, int]:
        """Stored bytes of each name."""
        ...

    async def hold(
        self, id: str, wanted: Amount, limits: Limits, replaced: Amount | None = None
    ) -> None:
        """Reserve so many bytes in all for one file, less those of the one that it replaces.

        Raises QuotaRefusal; then the reservation is as it was. One that does not grow fits.
        Raises NotCounted.
        """
        ...

    async def hold_part(self, id: str, wanted: Amount, whole: str) -> bool:
        """So many of the bytes that are reserved for `whole` are those of this part. It counts by
        itself when that reservation ends. False: the other parts leave it less."""
        ...

    async def keep(self, id: str) -> None:
        """From now on the reservation is that of an upload which outlives this process."""
        ...

    async def join(self, parts: Sequence[str], id: str) -> None:
        """The reservations of the parts of an upload are its own now."""
        ...

    async def release(self, ids: Iterable[str]) -> None:
        """Give reservations back."""
        ...

    async def unsure(self) -> list[str]:
        """Reservations of uploads that may have ended, and of processes that live no more."""
        ...

    async def is_uncertain(self) -> bool:
        """Whether a holder seems to have died, which will be known in a second."""
        ...

    async def claim(self, key: str) -> Amount | bool:
        """Become the only one that changes a key: True, or False while another process has it.

        After a process that died in its change: the bytes that the key had before it.
        """
        ...

    async def abandoned(self) -> list[str]:
        """Keys in whose change a process died, or of which nobody learned the outcome."""
        ...

    async def begin(self, key: str, before: Amount) -> None:
        """Write down what the key has before its change."""
        ...

    async def end(self, key: str, after: Amount, id: str = "") -> None:
        """The key has this now; the reservation `id` has become it."""
        ...

    async def leave(self, key: str) -> None:
        """Nobody knows now what the key has: who changes it next finds out."""
        ...

    async def aclose(self) -> None: ...
