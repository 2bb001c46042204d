"""Objects at any place fsspec reaches: `fsspec+sftp://USER@HOST/FOLDER`, SMB, WebDAV, HDFS, memory.

A draft is a file below `.sluiceway/` that is moved to its key when it is whole. fsspec has no lock
and no compare-and-swap, so of two writers one wins within this process only; the traits say so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace as replaced
from typing import Any

from sluiceway.errors import (
    Exists,
    Forbidden,
    NotFound,
    PeerTimeout,
    PreconditionFailed,
    SluiceError,
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.background_sweep import BackgroundSweep
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Omitted,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.fsspec.config import parse_url
from sluiceway.stores.fsspec.draft import FsspecDraft
from sluiceway.stores.fsspec.place import FsspecPlace, entry_of
from sluiceway.stores.fsspec.reader import FsspecReader
from sluiceway.stores.fsspec.versions import Version
from sluiceway.wire.names import is_text, readable_name

__all__ = ["FsspecStore"]

# Seconds; a draft not written to for so long is an orphan: a silent client is dropped after a
# minute.
LEASE = 3600.0
# Files under way or waiting for the rest of their forms. Each has a handle there, and perhaps a
# buffer of the implementation's own here.
MOST_DRAFTS = 256
COPIES_AT_ONCE = {"memory"}  # protocols that cannot move, but whose copies appear whole


class FsspecStore:
    """A folder behind a protocol. Several processes may share it, within what the traits say.

    `options` are those of `--store-option`. Nothing is connected by the constructor. Raises
    BadRequest.
    """

    def __init__(self, url: str, budget: Budget, options: Mapping[str, str] = {}) -> None:
        parsed = parse_url(url, options)
        self._place = FsspecPlace(parsed, budget)
        self.traits: Traits = Traits(
            name=f"fsspec+{parsed.protocol}",
            durable=False,
            atomic_publish=parsed.can_move or parsed.protocol in COPIES_AT_ONCE,
            create_only=False,
            resumable=False,
            keeps="whole",
            stable_reads=False,
            compare_and_swap=False,
            lists_metadata=False,
            renames=parsed.can_move or parsed.protocol in COPIES_AT_ONCE,
        )
        self._sweep = BackgroundSweep(self.sweep)

    async def init(self) -> None:
        """Make our folders that are missing."""
        await self._place.connections.call(self._place.tree.prepare, repeatable=True)

    async def check(self) -> None:
        """Connect, and make our folders that are missing. Raises the error of either."""
        try:
            await self.init()
        finally:
            self._place.connections.close()

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        if len(self._place.drafts) >= MOST_DRAFTS:
            raise Unavailable(
                "Too many uploads to this destination are under way; "
                "send fewer at once, or try again later"
            )
        draft = await self._begin_draft()
        self._sweep.start_if_due()
        return draft

    async def _begin_draft(self, fresh: bool = False) -> Draft:
        """On a new connection when the first one broke while it was idle."""
        connection = self._place.connections.pick(fresh)
        draft = FsspecDraft(self._place, connection)
        try:
            await draft.begin()
            return draft
        except BaseException as error:
            stale = (
                connection.went_stale
                and isinstance(error, SluiceError)
                and not isinstance(error, PeerTimeout)
            )
            await draft.discard()
            if fresh or not stale:
                raise
        return await self._begin_draft(fresh=True)

    async def stat(self, key: str) -> Entry:
        tree = self._place.tree
        path = tree.path(key)

        def look(fs: Any) -> Entry | None:
            tree.refuse_links(fs, key)
            version = tree.version_at(fs, path)
            if version is None:
                return None
            return entry_of(key, version, tree.metadata(fs, key, version))

        try:
            entry = await self._place.connections.call(look, repeatable=True)
        except Exists:  # a folder
            entry = None
        if entry is None:
            raise NotFound(f"There is no object {key!r}")
        return entry

    async def open(self, key: str) -> ObjectReader:
        return FsspecReader(self._place, await self.stat(key))

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        entries, omitted, last = list[Entry](), list[Omitted](), ""
        async for key, found in self._walk(prefix, after):
            if last and len(entries) + len(omitted) >= limit:
                return Page(entries, last, complete=False, omitted=tuple(omitted))
            if isinstance(found, Omitted):
                omitted.append(found)
            else:
                entries.append(entry_of(key, found))
            last = key if is_text(key) else ""  # no page can begin after a key that is not text
        return Page(entries, complete=True, omitted=tuple(omitted))

    async def _walk(self, prefix: str, after: str) -> AsyncIterator[tuple[str, Version | Omitted]]:
        """Files in the order of their keys, beginning after `after`.

        Folders without any of them are not listed. Holds the names of each folder on the way, so
        that a tree of any depth can be walked.
        """
        top = prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
        tree = self._place.tree
        if top and not tree.is_key(top[:-1]):
            return  # no key has such a prefix
        if top:
            await self._place.connections.call(
                lambda fs: tree.refuse_links(fs, top), repeatable=True
            )
        folders = [await self._list_folder(top)]
        while folders:
            key, found = next(folders[-1], (None, None))
            if key is None:
                folders.pop()
            elif found is not None:
                if key > after and key.startswith(prefix):
                    yield key, found
            elif (key.startswith(prefix) or prefix.startswith(key)) and (
                key > after or after.startswith(key)
            ):
                folders.append(await self._list_folder(key))

    async def _list_folder(self, folder: str) -> Iterator[tuple[str, Version | Omitted | None]]:
        """What is in a folder, by key. An unreadable folder is one thing that is omitted."""
        try:
            names = await self._place.connections.call(
                lambda fs: self._place.tree.list_folder(fs, folder), repeatable=True
            )
        except Forbidden as error:
            if not folder:
                raise
            omitted = Omitted(readable_name(folder), "forbidden", error.detail)
            return iter([(folder, omitted)])
        return iter([(folder + name, found) for name, found in names])

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        place = self._place
        async with place.locks.acquire(key):
            try:
                old = await place.version(key)
            except Exists:
                old = None
            if old is None:
                raise NotFound(f"There is no object {key!r}")
            if replace.etag is not None and replace.etag != old.etag:
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            await shield_until_done(
                place.connections.call(lambda fs: place.tree.remove(fs, key), repeatable=True)
            )
            place.recent.add(key, old)

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        place, tree = self._place, self._place.tree
        tree.path(new_key)
        first, second = sorted((key, new_key))
        async with AsyncExitStack() as locked:
            await locked.enter_async_context(place.locks.acquire(first))
            if second != first:
                await locked.enter_async_context(place.locks.acquire(second))
            entry = await self.stat(key)
            if etag not in (None, entry.etag):
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            if await place.version(new_key) is not None:
                raise Exists(f"There is already something at {new_key!r}; it was not touched")
            metadata = replaced(entry.metadata, filename=new_key.rpartition("/")[2])
            version = await shield_until_done(
                place.connections.call(lambda fs: tree.rename(fs, key, new_key, metadata))
            )
        return entry_of(new_key, version, metadata)

    async def sweep(self, older: float | None = None) -> int:
        """Delete drafts not written to for `older` seconds, by the server's clock; None: an hour.

        Returns the number of files deleted.
        """
        tree, call = self._place.tree, self._place.connections.call
        age = LEASE if older is None else older

        def find_old(fs: Any) -> list[str]:
            now, found = tree.clock(fs), tree.draft_files(fs)
            return [
                name
                for name, written in found
                if now is not None and written is not None and now - written >= age
            ]

        async with self._place.locks.acquire(tree.drafts):  # one sweep at a time
            live = set(self._place.drafts)
            await self.init()
            old = [name for name in await call(find_old) if name.removesuffix(".about") not in live]
            for name in old:
                await call(lambda fs, name=name: tree.drop_draft(fs, name), repeatable=True)  # type: ignore[misc]
            return len(old)

    async def aclose(self) -> None:
        await self._sweep.aclose()
        for draft in list(self._place.drafts.values()):
            await draft.discard()
        self._place.connections.close()
