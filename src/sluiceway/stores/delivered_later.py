"""What a store and its drafts may offer where the destination may take a file later than it came.

The bytes wait in a spool; an upload of the ledger brings them to the destination. Protocols only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from sluiceway.stores.contract import UploadRequest

__all__ = ["DeliveredLater", "DeliversLater"]


@runtime_checkable
class DeliveredLater(Protocol):
    """A Draft whose `publish` raises AwaitsBackend while its destination does not answer."""

    @property
    def name(self) -> str:
        """Under which it is sent, the same in each try."""
        ...

    @property
    def request(self) -> UploadRequest:
        """What its client asked for, with all fields that came."""
        ...

    def watch(self, on_waiting: Callable[[bool], None]) -> None:
        """`on_waiting` learns when the draft begins to wait for its destination, and ceases to."""
        ...


@runtime_checkable
class DeliversLater(Protocol):
    """An AdoptingStore whose drafts are `DeliveredLater`."""

    @property
    def root(self) -> str:
        """The folder of the spool."""
        ...

    def identity(self) -> str:
        """A text of this folder alone, for all processes that see it. Blocking. Raises OSError."""
        ...

    async def expect(self, upload: str, name: str) -> None:
        """Write down that this upload waits for its destination. It is due at once.

        Args:
            upload: The id of the upload, for the ledger.
            name: Under which its draft was sent before.

        Raises:
            StoreFailed: The spool cannot be written.
        """
        ...

    async def due(self, most: int, *, all_of_them: bool = False) -> list[str]:
        """The ids of uploads whose next try is due, or of all, the longest first."""
        ...

    async def postpone(self, upload: str, seconds: float) -> None:
        """Nobody could try; the next try is due then. Does nothing for one that does not wait."""
        ...

    async def forget(self, upload: str) -> None:
        """The upload has ended, or is not known."""
        ...

    def unattended(self, upload: str) -> AbstractContextManager[None]:
        """No client waits for what is published in this block: one try is made."""
        ...

    async def count_waiting(self) -> int:
        """How many uploads wait for their destination."""
        ...
