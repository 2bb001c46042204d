"""The reference store: objects in a dictionary. Read it to see what the contract means.

The same test suite measures every other store. This one holds whole objects in memory and forgets
them when the process ends, so it is for tests and small objects only.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace as replaced

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
    )

    def __init__(self) -> None:
        self.objects: dict[str, tuple[Entry, bytes]] = {}
        self.drafts: dict[str, MemoryDraft] = {}

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        return self.drafts.setdefault(upload, MemoryDraft(self, upload))

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
        self.check(key, replace)
        del self.objects[key]

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        entry, data = self._find(key)
        self.check(key, Replace(allowed=True, etag=etag))
        self.check(new_key, Replace())
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

    def check(self, key: str, replace: Replace) -> None:
        """Raises PreconditionFailed or Exists if the object at `key` must not be touched."""
        there = self.objects.get(key)
        if replace.etag is not None and (there is None or there[0].etag != replace.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        if there is not None and not replace.allowed:
            raise Exists(f"There is already an object {key!r}; it was not touched")


class MemoryDraft:
    """Bytes on their way into memory."""

    def __init__(self, store: MemoryStore, upload: str) -> None:
        self._store = store
        self._upload = upload
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
        self._store.check(key, replace)
        data = bytes(self._data)
        now = time.time()
        etag = hashlib.sha256(f"{now} {key}".encode() + data).hexdigest()[:32]
        entry = Entry(key=key, size=len(data), etag=etag, modified=now, metadata=metadata)
        self.replaced = key in self._store.objects
        self._store.objects[key] = (entry, data)
        self._store.drafts.pop(self._upload, None)
        self._ended = True
        return entry

    async def discard(self) -> None:
        self._ended = True
        if self._store.drafts.get(self._upload) is self:
            del self._store.drafts[self._upload]

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
