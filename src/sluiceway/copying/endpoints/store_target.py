"""A store as the target of a copy: below a prefix, or under one key.

An object is visible only when it is whole and checked. A large one goes on in a later run, where
store and source allow it. Knows no kind of store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import CopyItem, Reading, name_is_taken
from sluiceway.copying.endpoints.verified_put import (
    ProgressTap,
    check_announced,
    digest_of_source,
    receipt_for,
)
from sluiceway.copying.resuming.begun_note import noted_beginning
from sluiceway.copying.resuming.lasting_put import LASTING_FROM, LastingJob, LastingPut, take_for
from sluiceway.errors import BadName, BodyCut, Exists, Forbidden, NotFound, SourceFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.pump import pump
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.stages import ANSWER, SOURCE
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import Entry, Metadata, Pairs, Replace, Store, UploadRequest
from sluiceway.stores.unpublished import ParallelParts, ResumableStore
from sluiceway.uploads.keys import new_id
from sluiceway.wire.names import clean_name, stays_inside

__all__ = ["StoreResuming", "StoreTarget"]


@dataclass(frozen=True, slots=True)
class StoreResuming:
    """How large objects go on after a cut.

    Args:
        destination: Names the store in every process, without credentials.
        retry_policy: Of one object within this process.
    """

    destination: str
    retry_policy: RetryPolicy


class StoreTarget:
    """Below a prefix of a store, or under one key of it."""

    repeats = True
    display_name: str

    def __init__(
        self,
        store: Store,
        prefix: str,
        display_name: str,
        budget: Budget,
        key_for: Callable[[str], str] | None = None,
        resuming: StoreResuming | None = None,
    ) -> None:
        """`key_for`: the whole key of an object; by default its key behind the prefix.

        `resuming` is None where each object begins anew in each run."""
        self._store, self._prefix, self._budget = store, prefix, budget
        self._resuming = resuming
        self._key_for = key_for or (lambda key: prefix + key)
        self.display_name = display_name

    def send_at_once(self, parts: int) -> bool:
        """Whether so many parts of one object travel at once from now on."""
        return isinstance(self._store, ParallelParts) and self._store.send_at_once(parts)

    async def empty(self) -> bool:
        if not self._store.traits.readable:
            return False
        page = await self._store.list(self._prefix, "", 1)
        return page.complete and not page.entries and not page.omitted

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        try:
            entry = await self._store.stat(self._prefix + key)
        except NotFound:
            return None
        return CopyItem(key, entry.size, entry.etag, entry.modified), entry.metadata.digests

    async def digest(self, key: str, algorithm: str) -> str | None:
        try:
            reader = await self._store.open(self._prefix + key)
        except (NotFound, Forbidden):
            return None
        try:
            return await digest_of_source(reader, algorithm)
        finally:
            await reader.aclose()

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        """Raises Exists, DigestMismatch, SourceFailed for a source that ends too early."""
        whole = self._key_for(key)
        if not stays_inside(whole) or len(whole.encode()) > self._store.traits.max_key_bytes:
            raise BadName(
                f"{key!r} is not a key for {self.display_name}: too long, or with an empty "
                "segment, . or .."
            )
        metadata = reading.metadata
        name = clean_name(metadata.filename) if metadata.filename else ""
        request = UploadRequest(
            whole,
            name,
            metadata.type,
            {one.algorithm: one.value for one in reading.announced},
            headers=metadata.headers,
            user=metadata.user,
            method="PUT",
        )
        progress = ProgressTap(reading, "sending")
        try:
            resumed = await self._put_resumably(request, reading, replace)
        except Exists as error:
            raise name_is_taken(error) from None
        except BodyCut as error:
            raise _cut(reading) from error
        if resumed is not None:
            entry, found = resumed
            location = f"{self.display_name}{entry.key[len(self._prefix) :]}"
            receipt = receipt_for(reading, entry.size, digest_pairs(found), location)
            progress.report("done", receipt)
            return receipt
        if self._resuming is None or self._store.traits.resumable:
            return await self._put_at_once(request, reading, replace, progress)

        def say(note: str) -> None:
            progress.report("resuming", note=note)
            if reading.on_note is not None:
                reading.on_note(note)

        async with noted_beginning(reading, self._resuming.destination, request, say):
            return await self._put_at_once(request, reading, replace, progress)

    async def _put_at_once(
        self, request: UploadRequest, reading: Reading, replace: bool, progress: ProgressTap
    ) -> Receipt:
        whole, stages = request.key, reading.stages
        digests = Digests(self._to_count(reading), self._budget)
        draft = await self._store.draft(new_id(), reading.source.length, request)
        try:
            progress.report("connecting")
            source = TimedSource(reading.source, stages)
            size = await pump(
                source,
                draft,
                taps=progress.beside(digests),
                stages=stages,
                budget=self._budget,
                sender=SOURCE,
            )
            found = await digests.finish()
            check_announced(found, reading)
            progress.report("waiting")
            stages.enter(ANSWER)
            counted = digest_pairs(found)
            kept = Metadata(request.filename, request.type, counted, request.headers, request.user)
            entry = await draft.publish(whole, kept, Replace(allowed=replace))
        except Exists as error:
            raise name_is_taken(error) from None
        except BodyCut as error:
            raise _cut(reading) from error
        finally:
            await digests.aclose()
            await draft.discard()
        location = f"{self.display_name}{entry.key[len(self._prefix) :]}"
        receipt = receipt_for(reading, size, counted, location)
        progress.report("done", receipt)
        return receipt

    async def _put_resumably(
        self, request: UploadRequest, reading: Reading, replace: bool
    ) -> tuple[Entry, dict[str, bytes]] | None:
        """The object and its digests; None where it goes at once, or not at all."""
        if self._resuming is None or (reading.source.length or 0) < LASTING_FROM:
            return None
        store, size, identity = self._store, reading.source.length, reading.identity
        if not isinstance(store, ResumableStore):
            return None
        bookmark = await take_for(store, reading, self._resuming.destination, request)
        if bookmark is None or size is None or identity is None:
            return None
        job = LastingJob(store, reading, identity, size, request, replace)
        return await LastingPut(
            job, bookmark, self._to_count(reading), self._budget, self._resuming.retry_policy
        ).run()

    def _to_count(self, reading: Reading) -> tuple[str, ...]:
        return reading.to_count(*self._store.traits.counts)

    async def aclose(self) -> None:
        await self._store.aclose()


def _cut(reading: Reading) -> SourceFailed:
    return SourceFailed(
        f"{reading.label} ended before its {reading.source.length} bytes; nothing was stored"
    )
