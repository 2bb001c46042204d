"""Where many objects come from: a local folder, or any store. A REST API: see `rest`.

Listings stream; each object is opened in exactly the version its listing told of, or SourceChanged says that it became
another one. A version "" asks for whichever is there. Knows nothing of where they go.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice

from sluiceway.client.address import shown
from sluiceway.client.lengths import doubtful
from sluiceway.client.local import LocalFile
from sluiceway.client.part import settled
from sluiceway.errors import NotFound, SluiceError, SourceChanged, SourceFailed, StoreFailed
from sluiceway.many.patience import Patience
from sluiceway.many.sides import Item, Reading
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import About, Opened, Page, Store, Whole
from sluiceway.wire.names import stays_inside
from sluiceway.wire.types import guess_type

__all__ = ["FolderOrigin", "StoreOrigin", "left_out"]

WALK = 256  # files a thread finds in one hop
PAGE = 1000  # entries of a listing asked for at once: S3's page
STAT_WAIT = 60.0  # seconds for a look at an object whose reading broke off


def left_out(key: str) -> str | None:
    """Why an object with this key cannot go anywhere; None when it can."""
    if not stays_inside(key):
        return "its key has an empty segment, . or .., is no UTF-8, or begins with .sluiceway"
    return None


class FolderOrigin:
    """A folder of this machine, walked folder by folder in sorted order: the names of those on the way are held, no more.

    Links are left out, to files and to folders: what they show may stand outside, and would come twice.
    """

    rereadable = True
    called: str

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.called = os.path.abspath(folder)

    async def items(self) -> AsyncIterator[Item]:
        walk = _walk(self._folder, "")
        while batch := await settled(lambda: list(islice(walk, WALK))):
            for item in batch:
                yield item

    @asynccontextmanager
    async def open(self, item: Item) -> AsyncIterator[Reading]:
        if (why := left_out(item.key)) is not None:
            raise SourceFailed(f"{item.key!r} cannot be read: {why}")
        path = os.path.join(self._folder, *item.key.split("/"))
        source = await asyncio.to_thread(_opened, path)
        if item.version and source.version != item.version:
            raise SourceChanged(f"{path} changed since it was listed")
        found = Item(item.key, source.length, source.version, item.modified)
        yield Reading(found, source, About(os.path.basename(path), guess_type(path)))

    async def aclose(self) -> None:
        """Nothing is held open between two objects."""


def _opened(path: str) -> LocalFile:
    """Blocking. A path that became a link meanwhile is another thing than what was listed."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise SourceChanged(f"{path} is no plain file any more")
        return LocalFile(path)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is gone") from error
    except OSError as error:
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error


def _walk(folder: str, before: str) -> Iterator[Item]:
    """Blocking. Every file below, depth first; what is no plain file with the reason why it is left out."""
    try:
        with os.scandir(folder) as found:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError as error:
        if not before:
            raise SourceFailed(f"{folder} cannot be read: {error.strerror or error}") from error
        yield Item(before.rstrip("/"), None, left_out=f"the folder cannot be read: {error.strerror or error}")
        return
    for name, is_folder in names:
        key, path = before + name, os.path.join(folder, name)
        if (why := left_out(key)) is not None:
            yield Item(key, None, left_out=why)
        elif is_folder:
            yield from _walk(path, f"{key}/")
        else:
            yield _item(key, path)


def _item(key: str, path: str) -> Item:
    try:
        found = os.lstat(path)
    except OSError as error:
        return Item(key, None, left_out=f"it cannot be looked at: {error.strerror or error}")
    if stat.S_ISLNK(found.st_mode):
        return Item(key, None, left_out="a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        return Item(key, None, left_out="no file, but a pipe, a socket or a device")
    if doubtful(found):
        try:
            file = LocalFile(path)
        except OSError:
            pass  # told when it is opened to be copied
        else:
            return Item(key, file.length, file.version, found.st_mtime)
    return Item(key, found.st_size, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)


class StoreOrigin:
    """What is below a prefix of a store. Closes the store at the end."""

    rereadable = True
    called: str

    def __init__(self, store: Store, prefix: str, called: str, patience: Patience) -> None:
        self._store, self._prefix, self._patience = store, prefix, patience
        self.called = called

    async def items(self) -> AsyncIterator[Item]:
        after = ""
        while True:
            page = await self._patience.of(lambda after=after: self._page(after))  # type: ignore[misc]
            for entry in page.entries:
                key = entry.key[len(self._prefix) :]
                yield Item(key, entry.size, entry.etag, entry.modified, left_out(key))
            for one in page.omitted:
                yield Item(one.name, None, left_out=one.detail)
            if page.complete or page.next is None:
                return
            if page.next <= after:
                raise StoreFailed(f"The listing of {self.called} goes round in circles")
            after = page.next

    async def _page(self, after: str) -> Page:
        return await self._store.list(self._prefix, after, PAGE)

    @asynccontextmanager
    async def open(self, item: Item) -> AsyncIterator[Reading]:
        store, key = self._store, self._prefix + item.key
        opened = await (store.open_whole(key) if isinstance(store, Whole) else store.open(key))
        try:
            entry = opened.entry
            if item.version and entry.etag != item.version:
                raise SourceChanged(f"{item.key} changed in {self.called} since it was listed")
            found = Item(item.key, entry.size, entry.etag, entry.modified)
            about = entry.about if entry.about.filename else replace(entry.about, filename=_last(item.key))
            yield Reading(found, _Unsteady(store, key, opened), about)
        finally:
            await opened.aclose()

    async def aclose(self) -> None:
        await self._store.aclose()


class _Unsteady:
    """An opened object whose reading may break off because it was replaced: then SourceChanged says so."""

    def __init__(self, store: Store, key: str, opened: Opened) -> None:
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
            if not self._store.traits.steady and await self._replaced():
                raise SourceChanged(f"{shown(self._key)} was replaced while it was read") from error
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
