"""The reference store: objects in a dictionary. Read it to see what the contract means.

The same test suite measures every other store. This one holds whole objects in memory and forgets
them when the process ends, so it is for tests and small objects only.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace as replaced
from typing import cast

from sluiceway.errors import Exists, NotFound, PreconditionFailed, StoreFailed
from sluiceway.pipe.source import Buffer, BytesSource
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.unpublished import ResumableDraft, SavedDraft

__all__ = ["MemoryDraft", "MemoryReader", "MemoryStore"]


class MemoryStore:
    """Objects in memory."""

    traits: Traits = Traits(
        name="memory",
        durable=False,
        atomic_publish=True,
        create_only=True,
        resumable=True,
        renames=True,
        readable_drafts=True,
        tells_replaced=True,
        compares_owner=True,
    )

    def __init__(self) -> None:
        self.objects: dict[str, tuple[Entry, bytes]] = {}
        self.drafts: dict[str, MemoryDraft] = {}  # those that may be taken up again, by upload
        self.published: dict[str, str] = {}  # the upload that an object was, by key

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        return MemoryDraft(self, upload)

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        draft = self.drafts[upload] = MemoryDraft(self, upload)
        return draft

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        if upload not in self.drafts:
            raise NotFound("This upload is gone; send the file again")
        draft = self.drafts[upload] = self.drafts[upload].taken_up(offset)
        return draft

    async def adopt(self, draft: Draft, upload: str) -> ResumableDraft:
        ours = cast("MemoryDraft", draft)
        self.drafts.pop(ours.name, None)
        ours.name, self.drafts[upload] = upload, ours
        return ours

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        there = self.objects.get(key)
        return there[0] if there is not None and self.published.get(key) == upload else None

    async def stat(self, key: str) -> Entry:
        return self._find(key)[0]

    async def open(self, key: str) -> ObjectReader:
        return MemoryReader(*self._find(key))

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        more = len(keys) > limit
        return Page(
            [self.objects[key][0] for key in keys[:limit]],
            keys[limit - 1] if more else None,
            complete=not more,
        )

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        self._find(key)
        self.check_replace(key, replace)
        del self.objects[key]

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        entry, data = self._find(key)
        self.check_replace(key, Replace(allowed=True, etag=etag))
        self.check_replace(new_key, Replace())
        filename = new_key.rpartition("/")[2]
        renamed = replaced(entry, key=new_key, metadata=replaced(entry.metadata, filename=filename))
        self.objects[new_key] = renamed, data
        del self.objects[key]
        return renamed

    async def aclose(self) -> None:
        self.drafts.clear()

    def _find(self, key: str) -> tuple[Entry, bytes]:
        if key not in self.objects:
            raise NotFound(f"There is no object {key!r}")
        return self.objects[key]

    def check_replace(self, key: str, replace: Replace) -> None:
        """Raises PreconditionFailed or Exists if the object at `key` must not be touched."""
        there = self.objects.get(key)
        if replace.etag is not None and (there is None or there[0].etag != replace.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        is_others = there is not None and replace.owner not in (None, there[0].metadata.owner)
        if is_others or (there is not None and not replace.allowed):
            raise Exists(f"There is already an object {key!r}; it was not touched")


class MemoryDraft:
    """Bytes on their way into memory."""

    def __init__(self, store: MemoryStore, upload: str) -> None:
        self._store = store
        self.name = upload
        self._data = bytearray()
        self._ended = False
        self.replaced: bool = False

    @property
    def written(self) -> int:
        return len(self._data)

    @property
    def kept(self) -> int:
        return len(self._data)

    async def write(self, data: Buffer) -> None:
        self._check()
        self._data += data

    async def sync(self) -> int:
        return len(self._data)

    async def read(self, start: int, size: int) -> bytes:
        self._check()
        return bytes(self._data[start : start + size])

    async def truncate(self, offset: int) -> None:
        del self._data[offset:]

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        self._store.check_replace(key, replace)
        data = bytes(self._data)
        now = time.time()
        etag = hashlib.sha256(f"{now} {key}".encode() + data).hexdigest()[:32]
        entry = Entry(key=key, size=len(data), etag=etag, modified=now, metadata=metadata)
        self.replaced = key in self._store.objects
        self._store.objects[key] = (entry, data)
        self._store.published[key] = self.name
        await self.discard()
        return entry

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._store.drafts.get(self.name) is self:
            del self._store.drafts[self.name]

    def save(self) -> SavedDraft:
        return SavedDraft()

    def saved(self) -> None: ...

    async def suspend(self) -> None:
        self._ended = True

    def taken_up(self, offset: int) -> MemoryDraft:
        """Another draft with the bytes before `offset`; this one takes no more."""
        self._ended = True
        draft = MemoryDraft(self._store, self.name)
        draft._data = self._data[:offset]
        return draft

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")


class MemoryReader:
    """An object held open."""

    reopenable = True

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self.length: int | None = entry.size
        self._source = BytesSource(data)

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        return self._source.open(start, stop)

    async def aclose(self) -> None:
        pass
