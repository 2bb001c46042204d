"""What a ledger does: it writes down the uploads that may outlive a request, and who holds each.

At most one process holds an upload: it alone writes to its draft and moves its offset. Another one
asks it to let go. Knows nothing of HTTP, stores or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluiceway.uploads.ledger.record import UploadRecord

__all__ = ["Ledger", "OutboxEvent"]


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """Something to report elsewhere, at least once.

    Args:
        id: Stable, so that its receiver can drop a repetition.
        upload: The upload's id.
        body: What is sent, as JSON.
        tries: How often it was sent in vain.
    """

    id: str
    upload: str
    body: str
    tries: int = 0


class Ledger(Protocol):
    """Where uploads are written down. Every method raises StoreFailed, NoSpace or Unavailable when
    the ledger's own place fails."""

    @property
    def process(self) -> str:
        """The name of this process among the holders; locked as long as it lives."""
        ...

    async def create(self, record: UploadRecord) -> None:
        """Write a new upload down, durably; nobody holds it. Raises Exists when its id is taken."""
        ...

    async def find(self, upload: str) -> UploadRecord | None:
        """Read an upload; its holder may change it meanwhile."""
        ...

    async def claim(self, upload: str) -> UploadRecord | None:
        """Become the holder, unless a living process is it. None for an unknown upload.

        Returns the record as it is now: `holder` is this process or the other one.
        """
        ...

    async def ask(self, record: UploadRecord) -> None:
        """Ask the holder of this epoch to let go. Nothing happens when it is not the holder any
        more."""
        ...

    def on_asked(self, let_go: Callable[[str, int], None]) -> None:
        """`let_go` gets the id and epoch of each upload of this process that another one asks for.

        It is called in the event loop, within a tenth of a second.
        """
        ...

    async def release(self, upload: str, epoch: int) -> None:
        """Let go of an upload without changing it, in case this process is its holder."""
        ...

    async def save(
        self,
        record: UploadRecord,
        parts: Sequence[str] = (),
        events: Sequence[OutboxEvent] = (),
    ) -> None:
        """Replace the row, durably; add parts of its draft, and events, in the same step.

        Raises Superseded when the row has another epoch; then nothing changes.
        """
        ...

    async def parts(self, upload: str) -> list[str]:
        """The parts of a draft, in the order in which they were added."""
        ...

    async def drop_parts(self, record: UploadRecord, count: int) -> None:
        """Forget the parts behind the first `count`. Raises Superseded."""
        ...

    async def expired(self, now: float, most: int) -> list[UploadRecord]:
        """Some uploads whose time is over, the oldest first."""
        ...

    async def remove(self, upload: str) -> None:
        """Forget an upload, its parts, and nothing else. Its events stay."""
        ...

    async def ids(self, after: str, most: int) -> list[str]:
        """Some ids of uploads above `after`, in order."""
        ...

    async def begin_sweep(self, every: float) -> bool:
        """Whether no process began a sweep within so many seconds; then this one does."""
        ...

    async def due_events(self, now: float, most: int) -> list[OutboxEvent]:
        """Some events that wait to be sent, the oldest first."""
        ...

    async def postpone(self, event: OutboxEvent, until: float) -> None:
        """An event could not be sent; try again then."""
        ...

    async def delivered(self, event: OutboxEvent) -> None:
        """Forget an event."""
        ...

    async def aclose(self) -> None:
        """Let go of everything. The name of this process is free afterwards."""
        ...
