"""A store as a side of a copy: what is below a prefix, or one object of it.

Listings stream. An object is opened in exactly the version its listing gave; a version "" means
any. The store is closed with its side. Knows no kind of store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from functools import partial

from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import SMALL, CopyItem, Reading, name_is_taken
from sluiceway.copying.endpoints.folder_walk import omitted_key
from sluiceway.copying.endpoints.verified_put import (
    ProgressTap,
    check_announced,
    digest_of_source,
    receipt_for,
)
from sluiceway.errors import (
    BadName,
    BadRequest,
    BodyCut,
    Exists,
    Forbidden,
    NotFound,
    SluiceError,
    SourceChanged,
    SourceFailed,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.pump import close_stream, pump
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import ANSWER, SOURCE, Stages
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import (
    Metadata,
    ObjectReader,
    Pairs,
    Replace,
    SequentialOpen,
    Store,
    UploadRequest,
)
from sluiceway.stores.registry import FSSPEC, Place
from sluiceway.uploads.keys import new_id
from sluiceway.wire.names import clean_name, stays_inside
from sluiceway.wire.urls import redact_url

__all__ = ["StoreObject", "StoreSource", "StoreTarget", "empty_or_missing", "nothing_below"]

PAGE = 1000  # entries of a listing asked for at once: S3's page
STAT_TIMEOUT = 60.0  # seconds for a look at an object whose reading broke off


class StoreObject:
    """The one object that a place names."""

    rereadable = True

    def __init__(self, place: Place, name: str | None, type: str | None) -> None:
        """`name`, `type`: instead of the store's. Raises BadRequest for a place without a key."""
        if not stays_inside(place.key):
            raise BadRequest(
                f"{place.display_name} names no object; put its key behind the database or bucket: "
                "postgresql://HOST/DATABASE/KEY, sqlite:///FILE.db/KEY, s3://BUCKET/KEY"
            )
        self._place, self._name, self._type = place, name, type
        self.display_name: str = place.display_name

    async def items(self) -> AsyncIterator[CopyItem]:
        yield CopyItem(self._place.key, None)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        stages = Stages()
        reader = await self._place.store.open(self._place.key)
        try:
            entry = reader.entry
            name = self._name or entry.metadata.filename or _last(entry.key)
            metadata = replaced(
                entry.metadata, filename=name, type=self._type or entry.metadata.type
            )
            found = CopyItem(name, entry.size, entry.etag, entry.modified)
            yield Reading(found, reader, metadata, self.display_name, stages=stages)
        finally:
            await reader.aclose()

    async def aclose(self) -> None:
        await self._place.store.aclose()


class StoreSource:
    """What is below a prefix of a store."""

    rereadable = True
    display_name: str

    def __init__(
        self,
        store: Store,
        prefix: str,
        display_name: str,
        retry_policy: RetryPolicy,
        must_exist: bool = False,
    ) -> None:
        """`must_exist`: an empty listing is an error also without a prefix."""
        self._store, self._prefix, self._retry_policy = store, prefix, retry_policy
        self._must_exist = must_exist or bool(prefix)
        self.display_name = display_name

    async def items(self) -> AsyncIterator[CopyItem]:
        after, seen = "", False
        while True:
            page = await self._retry_policy.run(
                partial(self._store.list, self._prefix, after, PAGE), met=bool(after)
            )
            seen = seen or bool(page.entries or page.omitted)
            for entry in page.entries:
                key = entry.key[len(self._prefix) :]
                omitted = omitted_key(key, entry.size)
                yield CopyItem(key, entry.size, entry.etag, entry.modified, omitted)
            for one in page.omitted:
                yield CopyItem(one.name.removeprefix(self._prefix), None, omitted=one)
            if page.complete:
                if self._must_exist and not seen:
                    raise nothing_below(self.display_name)
                return
            if page.next is None:
                raise StoreFailed(f"The listing of {self.display_name} broke off")
            if page.next <= after:
                raise StoreFailed(f"The listing of {self.display_name} goes round in circles")
            after = page.next

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        store, key = self._store, self._prefix + item.key
        reader = await (
            store.open_sequential(key, SMALL)
            if isinstance(store, SequentialOpen)
            else store.open(key)
        )
        try:
            entry, metadata = reader.entry, reader.entry.metadata
            if item.version and entry.etag != item.version:
                raise SourceChanged(
                    f"{item.key} changed in {self.display_name} since it was listed"
                )
            found = CopyItem(item.key, entry.size, entry.etag, entry.modified)
            if not metadata.filename:
                metadata = replaced(metadata, filename=_last(item.key))
            content: Buffer | None = getattr(reader, "content", None)
            source = _ReplaceableObject(store, key, reader)
            yield Reading(found, source, metadata, content=content)
        finally:
            await reader.aclose()

    async def aclose(self) -> None:
        await self._store.aclose()


def empty_or_missing(place: str) -> bool:
    """Whether an empty listing of this place may mean that it does not exist.

    A missing bucket or table is an error of its own; a missing folder or file lists nothing.
    """
    return place.lower().startswith((FSSPEC, "sqlite:"))


def nothing_below(display_name: str) -> SourceFailed:
    """A prefix below which nothing is listed is probably mistyped: no restore has succeeded."""
    return SourceFailed(
        f"{display_name} holds no file: no key begins with it, or it names one object"
    )


class _ReplaceableObject:
    """An open object. If its reading breaks off because it was replaced: SourceChanged."""

    def __init__(self, store: Store, key: str, reader: ObjectReader) -> None:
        self._store, self._key, self._reader = store, key, reader

    @property
    def length(self) -> int | None:
        return self._reader.length

    @property
    def reopenable(self) -> bool:
        return self._reader.reopenable

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks = self._reader.open(start, stop)
        try:
            async for chunk in chunks:
                yield chunk
        except SluiceError as error:
            if not self._store.traits.stable_reads and await self._was_replaced():
                raise SourceChanged(
                    f"{redact_url(self._key)} was replaced while it was read"
                ) from error
            raise
        finally:
            await close_stream(chunks)

    async def _was_replaced(self) -> bool:
        try:
            async with asyncio.timeout(STAT_TIMEOUT):
                return (await self._store.stat(self._key)).etag != self._reader.entry.etag
        except NotFound:
            return True
        except (SluiceError, TimeoutError):
            return False  # unknown: the error that broke the reading off is the better answer


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
    ) -> None:
        """`key_for`: the whole key of an object; by default its key behind the prefix."""
        self._store, self._prefix, self._budget = store, prefix, budget
        self._key_for = key_for or (lambda key: prefix + key)
        self.display_name = display_name

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
                f"{key!r} is no key for {self.display_name}: too long, or with an empty segment, "
                ". or .."
            )
        metadata, stages = reading.metadata, reading.stages
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
        digests = Digests(reading.to_count(*self._store.traits.counts), self._budget)
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
            kept = Metadata(name, metadata.type, counted, metadata.headers, metadata.user)
            entry = await draft.publish(whole, kept, Replace(allowed=replace))
        except Exists as error:
            raise name_is_taken(error) from None
        except BodyCut as error:
            raise SourceFailed(
                f"{reading.label} ended before its {reading.source.length} bytes; "
                "nothing was stored"
            ) from error
        finally:
            await digests.aclose()
            await draft.discard()
        location = f"{self.display_name}{entry.key[len(self._prefix) :]}"
        receipt = receipt_for(reading, size, counted, location)
        progress.report("done", receipt)
        return receipt

    async def aclose(self) -> None:
        await self._store.aclose()


def _last(key: str) -> str:
    return key.rpartition("/")[2]
