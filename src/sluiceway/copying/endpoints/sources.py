"""Where many objects come from: a local folder, or any store. A REST API: see `rest`.

Listings stream; each object is opened in exactly the version its listing told of, or SourceChanged says that it became
another one. A version "" asks for whichever is there. Knows nothing of where they go.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice

from sluiceway.client.local.files import LocalFile
from sluiceway.client.local.folders import Folder
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.copying.endpoints.folder_walk import omitted_key, walk
from sluiceway.copying.retry_policy import RetryPolicy
from sluiceway.errors import (
    Forbidden,
    NotFound,
    SluiceError,
    SourceChanged,
    SourceFailed,
    StoreFailed,
)
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Metadata, ObjectReader, Page, SequentialOpen, Store
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.urls import redact_url

__all__ = ["FolderSource", "StoreSource", "nothing_below"]

WALK = 256  # files a thread finds in one hop
PAGE = 1000  # entries of a listing asked for at once: S3's page
STAT_WAIT = 60.0  # seconds for a look at an object whose reading broke off


class FolderSource:
    """A folder of this machine, walked folder by folder in sorted order; see `walk`. Links are left out by rule.

    `journals`: keys below it that are this copy's own journal.
    """

    rereadable = True
    display_name: str

    def __init__(self, folder: str, journals: frozenset[str] = frozenset()) -> None:
        self.folder: str = folder
        self._journals = journals
        self.display_name = os.path.abspath(folder)

    async def items(self) -> AsyncIterator[CopyItem]:
        walking = walk(self.folder, self._journals)
        try:
            while batch := await in_thread(lambda: list(islice(walking, WALK))):
                for item in batch:
                    yield item
        finally:
            await in_thread(walking.close)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        if (bad := omitted_key(item.key)) is not None:
            raise SourceFailed(f"{item.key!r} cannot be read: {bad.detail}")
        path = os.path.join(self.folder, *item.key.split("/"))
        source = await asyncio.to_thread(_opened, self.folder, item.key, path)
        if item.version and source.length is not None and source.version != item.version:
            raise SourceChanged(f"{path} changed since it was listed")
        found = CopyItem(item.key, source.length, source.version, item.modified, mode=item.mode)
        yield Reading(found, source, Metadata(os.path.basename(path), guess_type(path)))

    async def aclose(self) -> None:
        """Nothing is held open between two objects."""


def _opened(root: str, key: str, path: str) -> LocalFile:
    """Blocking. A path that became a link meanwhile is another thing than what was listed."""
    *folders, name = key.split("/")

    def opener() -> int:
        with Folder(root) as top, top.below(folders) as folder:
            return folder.open(
                name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )

    try:
        return LocalFile(path, opener=opener)
    except (FileNotFoundError, Forbidden) as error:
        raise NotFound(f"{path} is gone") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SourceChanged(f"{path} is no plain file any more") from error
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error


class StoreSource:
    """What is below a prefix of a store. Closes the store at the end. `named`: the store is a folder that may be missing."""

    rereadable = True
    display_name: str

    def __init__(
        self,
        store: Store,
        prefix: str,
        display_name: str,
        patience: RetryPolicy,
        named: bool = False,
    ) -> None:
        self._store, self._prefix, self._patience = store, prefix, patience
        self._named = named or bool(prefix)
        self.display_name = display_name

    async def items(self) -> AsyncIterator[CopyItem]:
        after, seen = "", False
        while True:
            page = await self._patience.of(lambda after=after: self._page(after))  # type: ignore[misc]
            seen = seen or bool(page.entries or page.omitted)
            for entry in page.entries:
                key = entry.key[len(self._prefix) :]
                yield CopyItem(
                    key, entry.size, entry.etag, entry.modified, omitted_key(key, entry.size)
                )
            for one in page.omitted:
                yield CopyItem(one.name.removeprefix(self._prefix), None, omitted=one)
            if page.complete:
                if self._named and not seen:
                    raise nothing_below(self.display_name)
                return
            if page.next is None:
                raise StoreFailed(f"The listing of {self.display_name} broke off")
            if page.next <= after:
                raise StoreFailed(f"The listing of {self.display_name} goes round in circles")
            after = page.next

    async def _page(self, after: str) -> Page:
        return await self._store.list(self._prefix, after, PAGE)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        store, key = self._store, self._prefix + item.key
        opened = await (
            store.open_sequential(key) if isinstance(store, SequentialOpen) else store.open(key)
        )
        try:
            entry = opened.entry
            if item.version and entry.etag != item.version:
                raise SourceChanged(
                    f"{item.key} changed in {self.display_name} since it was listed"
                )
            found = CopyItem(item.key, entry.size, entry.etag, entry.modified)
            metadata = (
                entry.metadata
                if entry.metadata.filename
                else replace(entry.metadata, filename=_last(item.key))
            )
            yield Reading(found, _Unsteady(store, key, opened), metadata)
        finally:
            await opened.aclose()

    async def aclose(self) -> None:
        await self._store.aclose()


def nothing_below(display_name: str) -> SourceFailed:
    """A prefix is a claim that objects begin with it. Where none does it is mistyped, most likely: no restore has succeeded."""
    return SourceFailed(
        f"{display_name} holds no file: no key begins with it, or it names one object"
    )


class _Unsteady:
    """An opened object whose reading may break off because it was replaced: then SourceChanged says so."""

    def __init__(self, store: Store, key: str, opened: ObjectReader) -> None:
        self._store, self._key, self._opened = store, key, opened

    @property
    def length(self) -> int | None:
        return self._opened.length

    @property
    def reopenable(self) -> bool:
        return self._opened.reopenable

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks = self._opened.open(start, stop)
        try:
            async for chunk in chunks:
                yield chunk
        except SluiceError as error:
            if not self._store.traits.stable_reads and await self._replaced():
                raise SourceChanged(
                    f"{redact_url(self._key)} was replaced while it was read"
                ) from error
            raise
        finally:
            await close_stream(chunks)

    async def _replaced(self) -> bool:
        try:
            async with asyncio.timeout(STAT_WAIT):
                return (await self._store.stat(self._key)).etag != self._opened.entry.etag
        except NotFound:
            return True
        except (SluiceError, TimeoutError):
            return False  # nobody can tell: what broke it off is the better answer


def _last(key: str) -> str:
    return key.rpartition("/")[2]
