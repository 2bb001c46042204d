"""What a ledger does: it writes down the uploads that may outlive a request, and who holds each.

At most one process holds an upload: it alone writes to its draft and moves its offset. Another one
asks it to let go. Knows nothing of HTTP, stores or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluiceway.uploads.ledger.record import UploadRecord

__all__ = ["EventQueue", "Ledger", "OutboxEvent"]


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """Something to report elsewhere, at least once.

    Args:
        id: Stable, so that its receiver can drop a repetition.
        upload: The upload's id.
        body: What is sent, as JSON.
        tries: How often it was sent in vain.
        created: Seconds since the epoch when it was written down.
    """

    id: str
    upload: str
    body: str
    tries: int = 0
    created: float = 0.0


class EventQueue(Protocol):
    """The events of a ledger. Each method raises as those of the ledger do.

    An event is *expected* while its file is being published, and waits from then on until it was
    delivered.
    """

    async def expect(self, events: Sequence[OutboxEvent]) -> None:
        """Write events down, durably, of files that this process is about to publish."""
        ...

    async def confirm(self, events: Sequence[OutboxEvent]) -> None:
        """Their files are published: they wait to be sent from now on."""
        ...

    async def drop(self, events: Sequence[OutboxEvent]) -> None:
        """Forget events that this process expected, or those that were delivered."""
        ...

    async def abandoned(self, most: int) -> list[OutboxEvent]:
        """Take over some events that a process expected which lives no more."""
        ...

    async def take(self, most: int, lease: float) -> list[OutboxEvent]:
        """Some events to be sent now, the oldest first.

        No other process gets them for `lease` seconds.
        """
        ...

    async def postpone(self, event: OutboxEvent, wait: float, tries: int) -> None:
        """Send an event in `wait` seconds, after that many tries in vain."""
        ...


class Ledger(Protocol):
    """Where uploads are written down. Every method raises StoreFailed, NoSpace or Unavailable when
    the ledger's own place fails."""

    @property
    def process(self) -> str:
        """The name of this process among the holders; locked as long as it lives."""
        ...

    def now(self) -> float:
        """Seconds since the epoch, by the clock that all processes of this ledger share: who was
        first must not depend on how well those of the servers are set."""
        ...

    async def may_be_shared(self) -> bool:
        """Whether another process may use this ledger just now."""
        ...

    async def check(self) -> None:
        """Raises StoreFailed or Unavailable where uploads could not be written down now."""
        ...

    async def create(self, record: UploadRecord) -> None:
        """Write a new upload down, durably; nobody holds it. Raises Exists when its id is taken."""
        ...

    async def find(self, upload: str) -> UploadRecord | None:
        """Read an upload; its holder may change it meanwhile."""
        ...

    async def claim(self, upload: str) -> UploadRecord | None:
        """Become the holder, unless a living process is it. None for an unknown upload.

        Returns the record as it is now: `holder` is this process or the other one. A caller that is
        cancelled holds nothing.
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

    async def finishing(self, after: str, most: int) -> list[str]:
        """Some ids above `after`, in order, of uploads that are being published, or were when their
        process died."""
        ...

    @property
    def events(self) -> EventQueue:
        """What waits to be reported elsewhere."""
        ...

    async def aclose(self) -> None:
        """Let go of everything. The name of this process is free afterwards."""
        ...
