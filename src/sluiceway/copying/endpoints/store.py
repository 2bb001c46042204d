"""A store as a side of a copy: what is below a prefix, or one object of it.

Listings stream. An object is opened in exactly the version its listing gave; a version "" means
any. The store is closed with its side. Knows no kind of store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from functools import partial

from sluiceway.client.local.bookmarks import SourceIdentity
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import SMALL, CopyItem, Reading
from sluiceway.copying.endpoints.folder_walk import omitted_key
from sluiceway.errors import (
    BadRequest,
    NotFound,
    SluiceError,
    SourceChanged,
    SourceFailed,
    StoreFailed,
)
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import Stages
from sluiceway.stores.contract import (
    Entry,
    ObjectReader,
    SequentialOpen,
    Store,
)
from sluiceway.stores.registry import FSSPEC, Place
from sluiceway.wire.names import stays_inside
from sluiceway.wire.urls import redact_url

__all__ = [
    "StoreObject",
    "StoreSource",
    "empty_or_missing",
    "nothing_below",
]

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
            known = _identity(f"{self.display_name}", entry)
            yield Reading(found, reader, metadata, self.display_name, stages=stages, identity=known)
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
            known = _identity(self.display_name + item.key, entry)
            yield Reading(found, source, metadata, content=content, identity=known)
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


def _identity(place: str, entry: Entry) -> SourceIdentity | None:
    """What names an object's bytes in another process; None where its store has no versions."""
    return SourceIdentity(place, f"{entry.etag} {entry.size}") if entry.etag else None


def _last(key: str) -> str:
    return key.rpartition("/")[2]
