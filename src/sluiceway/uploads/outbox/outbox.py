"""Reports each finished file to somebody else: one event a file, written down before it is sent.

An upload of the ledger gets its event in the step that finishes it. A file of one request is
expected before it can be seen and confirmed afterwards, so no kill comes between the two unnoticed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence

from sluiceway.errors import NotFound, SluiceError
from sluiceway.stores.contract import Entry, Metadata, Store
from sluiceway.uploads.hooks.events import EventWriter
from sluiceway.uploads.ledger.contract import EventQueue, OutboxEvent

__all__ = ["Outbox"]

log: logging.Logger = logging.getLogger("sluiceway")

AT_ONCE = 100  # events of dead processes that are looked at together

FileFacts = tuple[str, Metadata, int]  # key, metadata, bytes


class Outbox:
    """The events of one service's uploads."""

    def __init__(
        self, events: EventQueue, store: Store, writer: EventWriter = EventWriter()
    ) -> None:
        self._events, self._store, self._writer = events, store, writer
        self._doubtful: dict[str, OutboxEvent] = {}  # expected here; the end of it is not known
        self.on_event: Callable[[], None] = lambda: None  # called when an event may be due

    async def expect(self, upload: str, files: Sequence[FileFacts]) -> list[OutboxEvent]:
        """Write down what is about to be published. Raises what the ledger raises."""
        now = time.time()
        found = [
            self._event(upload, f"{upload}:{now}:{at}", *facts) for at, facts in enumerate(files)
        ]
        await self._events.expect(found)
        return found

    async def settle(
        self, events: Sequence[OutboxEvent], published: Sequence[int], *, is_sure: bool = True
    ) -> None:
        """The files of these numbers are there; without `is_sure`, the others perhaps.

        A file that is kept is not refused for its event: what the ledger does not take now is
        looked at again later.
        """
        there = [event for number, event in enumerate(events) if number in published]
        others = [event for number, event in enumerate(events) if number not in published]
        try:
            if there:
                await self._events.confirm(there)
            if others and is_sure:
                await self._events.drop(others)
        except SluiceError as error:
            log.warning("An event could not be written down, and will be: %s", error.for_log)
            self._doubtful.update((event.id, event) for event in events)
        if not is_sure:
            self._doubtful.update((event.id, event) for event in others)
        self.on_event()

    def of(self, upload: str, created: float, entry: Entry) -> OutboxEvent:
        """The event of an upload of the ledger, the same for each attempt to finish it."""
        seed = f"{upload}:{created}"
        return self._event(upload, seed, entry.key, entry.metadata, entry.size)

    def _event(
        self, upload: str, seed: str, key: str, metadata: Metadata, size: int
    ) -> OutboxEvent:
        call = self._writer.finished(upload, seed, key, metadata, size)
        return OutboxEvent(call.id, upload, call.body, created=time.time())

    async def settle_abandoned(self) -> None:
        """Look for the files that dead processes were publishing. Raises what the ledger raises."""
        while found := await self._events.abandoned(AT_ONCE):
            self._doubtful.update((event.id, event) for event in found)
        for event in list(self._doubtful.values()):
            try:
                is_there = await self._is_there(event)
            except SluiceError as error:  # the destination cannot be asked now
                log.warning("A file of an event cannot be looked up: %s", error.for_log)
                continue
            await (self._events.confirm if is_there else self._events.drop)([event])
            del self._doubtful[event.id]

    async def _is_there(self, event: OutboxEvent) -> bool:
        """Whether the key has the file of the event."""
        data = json.loads(event.body)["data"]
        if not self._store.traits.readable:
            log.warning(
                "A server ended while it passed upload %s on; whether it arrived is not known, and "
                "event %s is not sent",
                event.upload,
                event.id,
            )
            return False
        try:
            entry = await self._store.stat(data["key"])
        except NotFound:
            return False
        there = dict(entry.metadata.digests)
        return entry.size == data["size"] and all(
            there.get(name, value) == value for name, value in data["digests"].items()
        )
