"""Objects in whatever fsspec can reach: `fsspec+sftp://USER@HOST/FOLDER`, SMB, WebDAV, HDFS, memory.

A draft is a file below `.sluiceway/` that is moved to its key when it is whole. fsspec knows no lock and no comparison, so of two
writers one wins within this process only, and the traits say so. The folder's files are seen to by `filesystem_tree`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    ObjectReader,
    Omitted,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.fsspec.config import read_url
from sluiceway.stores.fsspec.connections import ConnectionPool, PooledConnection
from sluiceway.stores.fsspec.draft import FsspecDraft, FsspecReader
from sluiceway.stores.fsspec.errors import Version, error_word, has_move, has_ranges
from sluiceway.stores.fsspec.metadata import note_for
from sluiceway.stores.fsspec.tree import Tree
from sluiceway.wire.names import is_text, readable_name

__all__ = ["FsspecStore"]

log: logging.Logger = logging.getLogger("sluiceway")

APPEAR = 180.0  # seconds for note and move together, which are a dozen calls on a distant server
SWEEP_EVERY = 3600.0  # seconds
LEASE = 3600.0  # seconds; a draft not written to for so long is an orphan: bodies are given up after a minute of silence
TICK = 1.05  # seconds after which a time in whole seconds is another one
SKEW = 3600.0  # seconds the two clocks may differ; a file older than that by ours was not written in this second
MOST_DRAFTS = 256  # files under way or waiting for their forms: each has a handle there, and perhaps a buffer of its own here
MOST_RECENT = 1000  # keys whose last versions are remembered for a tick
WHOLE = {"memory"}  # whose copies appear whole, though they know no move


class FsspecStore:
    """A folder behind a protocol. Several processes may share one, with what the traits leave open between them."""

    def __init__(self, url: str, budget: Budget, options: Mapping[str, str] = {}) -> None:
        """Nothing is connected yet. Raises BadRequest."""
        origin = read_url(url, options)
        self._budget = budget
        self._display_name = origin.display_name
        self.tree: Tree = Tree(origin.path, origin.protocol, origin.kind)
        self.by_range: bool = has_ranges(origin.kind)
        self.lines: ConnectionPool = ConnectionPool(
            origin.make, lambda error: error_word(error, origin.display_name, origin.secrets)
        )
        self.traits: Traits = Traits(
            name=f"fsspec+{origin.protocol}",
            durable=False,
            atomic_publish=has_move(origin.kind) or origin.protocol in WHOLE,
            create_only=False,
            resumable=False,
            keeps="whole",
            stable_reads=False,
            compare_and_swap=False,
            lists_metadata=False,
        )
        self._live: set[FsspecDraft] = set()
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}
        self._recent: OrderedDict[str, Sequence[tuple[float, Version]]] = OrderedDict()
        self._broom = asyncio.Lock()
        self._swept = -SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None

    async def init(self) -> None:
        """Make our folders where they are missing."""
        await self.lines.call(self.tree.prepare, again=True)

    async def check(self) -> None:
        """Connect, and make our folders where they are missing. Raises what stands against it."""
        try:
            await self.init()
        finally:
            self.lines.close()

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        if len(self._live) >= MOST_DRAFTS:
            raise Unavailable(
                "Too many files are on their way to this destination; send fewer at once, or again later"
            )
        for anew in (False, True):
            draft = FsspecDraft(
                self, self.lines.pick(anew), f"{self.tree.drafts}/{uuid.uuid4().hex}", self._budget
            )
            self._live.add(draft)
            try:
                await draft.begin()
                break
            except BaseException as error:
                stale = (
                    draft.line.went_stale
                    and isinstance(error, SluiceError)
                    and not isinstance(error, PeerTimeout)
                )
                await draft.discard()
                if anew or not stale:
                    raise
        if time.monotonic() - self._swept > SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_quietly())
        return draft

    async def stat(self, key: str) -> Entry:
        path = self.tree.path(key)

        def look(fs: Any) -> tuple[Version | None, Metadata]:
            self.tree.guard(fs, key)
            version = self.tree.look(fs, path)
            return version, Metadata(filename="") if version is None else note_for(
                self.tree.known(fs, key), version
            )

        try:
            version, metadata = await self.lines.call(look, again=True)
        except Exists:  # a folder
            version = None
        if version is None:
            raise NotFound(f"There is no object {key!r}")
        return _entry(key, version, metadata)

    async def open(self, key: str) -> ObjectReader:
        entry = await self.stat(key)
        return FsspecReader(self, self.tree.path(key), entry, self._budget)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        entries, left, last = list[Entry](), list[Omitted](), ""
        async for key, found in self._walk(prefix, after):
            if last and len(entries) + len(left) >= limit:
                return Page(entries, last, complete=False, omitted=tuple(left))
            if isinstance(found, Omitted):
                left.append(found)
            else:
                entries.append(_entry(key, found, Metadata(filename="")))
            last = (
                key if is_text(key) else ""
            )  # what has no spelling cannot be where the next page begins
        return Page(entries, complete=True, omitted=tuple(left))

    async def _walk(self, prefix: str, after: str) -> AsyncIterator[tuple[str, Version | Omitted]]:
        """Files in order of their keys, from `after` (exclusive) on; folders without any of them are not listed.

        Of each folder on the way its names are held, so that a folder of any depth can be walked.
        """
        top = prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
        if top and not self.tree.may_be(top[:-1]):
            return  # a prefix that no key can have
        if top:
            await self.lines.call(lambda fs: self.tree.guard(fs, top), again=True)
        ways = [await self._names(top)]
        while ways:
            key, found = next(ways[-1], (None, None))
            if key is None:
                ways.pop()
            elif found is not None:
                if key > after and key.startswith(prefix):
                    yield key, found
            elif (key.startswith(prefix) or prefix.startswith(key)) and (
                key > after or after.startswith(key)
            ):
                ways.append(await self._names(key))

    async def _names(self, folder: str) -> Iterator[tuple[str, Version | Omitted | None]]:
        """What is in a folder, by keys. One that cannot be read is told of, as one thing that is no entry."""
        try:
            names = await self.lines.call(lambda fs: self.tree.names(fs, folder), again=True)
        except Forbidden as error:
            if not folder:
                raise
            why = Omitted(readable_name(folder), "forbidden", error.detail)
            return iter([(folder, why)])
        return iter([(folder + name, found) for name, found in names])

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        async with self._alone(key):
            try:
                old = await self.lines.call(lambda fs: self.tree.seen(fs, key), again=True)
            except Exists:
                old = None
            if old is None:
                raise NotFound(f"There is no object {key!r}")
            if replace.etag is not None and replace.etag != old.etag:
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            await shield_until_done(
                self.lines.call(lambda fs: self.tree.remove(fs, key), again=True)
            )
            self._remember(key, old)

    async def publish(
        self, draft: FsspecDraft, key: str, metadata: Metadata, replace: Replace
    ) -> Entry:
        """Raises Exists, PreconditionFailed, BadName; nothing has become visible then."""
        async with self._alone(key):
            old = await self.lines.call(lambda fs: self.tree.seen(fs, key), again=True)
            if replace.etag is not None and (old is None or old.etag != replace.etag):
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            if old is not None and not replace.allowed:
                raise Exists(f"There is already an object {key!r}; it was not touched")
            before = self._before(key, old)
            await asyncio.sleep(_until_tick(draft.written, before))
            version = await draft.finish()
            if version.size and any(version.etag == one.etag for _, one in before):
                raise Unavailable(
                    f"{key!r} was replaced too shortly after it was written to tell both apart; try again"
                )
            found = await shield_until_done(self._appear(draft, key, version, metadata, old))
            self._remember(key, found)
            return _entry(key, found, metadata)

    async def _appear(
        self,
        draft: FsspecDraft,
        key: str,
        version: Version,
        metadata: Metadata,
        old: Version | None,
    ) -> Version:
        try:
            return await draft.line.call(
                lambda fs: self.tree.place(fs, draft.path, key, version, metadata, old), APPEAR
            )
        except SluiceError:
            if draft.line.lost and await self._did_appear(
                draft.path, key, version
            ):  # only its answer was lost
                return version
            raise

    async def _did_appear(self, draft: str, key: str, version: Version) -> bool:
        path = self.tree.path(key)
        try:
            there, left = await self.lines.call(
                lambda fs: (self.tree.look(fs, path), self.tree.look(fs, draft)), again=True
            )
        except SluiceError:
            return False
        return there is not None and there.etag == version.etag and left is None

    async def forget(self, line: PooledConnection | None, drop: Callable[[Any], None]) -> None:
        """Take a draft's file away: on its own line, in whose order it comes last, or on another one where that broke."""
        try:
            if line is None:
                await shield_until_done(self.lines.call(drop, again=True))
            else:
                await shield_until_done(line.call(drop))
        except SluiceError as error:
            log.warning("A draft stays until it is swept: %s", error.detail)

    async def sweep(self, older: float | None = None) -> int:
        """Take away drafts nobody has written to for an hour, or for `older` seconds, by the clock of their own server."""
        async with self._broom:
            return await self._sweep(LEASE if older is None else older)

    async def _sweep(self, age: float) -> int:
        mine = {draft.path.rpartition("/")[2] for draft in self._live}

        def look(fs: Any) -> list[str]:
            now, found = self.tree.clock(fs), self.tree.left(fs)
            return [
                name
                for name, seen in found
                if now is not None and seen is not None and now - seen >= age
            ]

        await self.init()
        old = [
            name
            for name in await self.lines.call(look)
            if name not in mine and name.removesuffix(".about") not in mine
        ]
        for name in old:
            path = f"{self.tree.drafts}/{name}"
            await self.lines.call(lambda fs, path=path: self.tree.drop(fs, path), again=True)  # type: ignore[misc]
        return len(old)

    async def _sweep_quietly(self) -> None:
        try:
            await self.sweep()
        except SluiceError as error:
            log.warning("What crashed uploads left was not taken away: %s", error.detail)

    def ended(self, draft: FsspecDraft) -> None:
        self._live.discard(draft)

    async def aclose(self) -> None:
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping])
        for draft in list(self._live):
            await draft.discard()
        self.lines.close()

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One after the other for each key, in this process."""
        lock, waiting = self._busy.get(key, (asyncio.Lock(), 0))
        self._busy[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._busy[key]
            if waiting == 1:
                del self._busy[key]
            else:
                self._busy[key] = lock, waiting - 1

    def _remember(self, key: str, version: Version) -> None:
        """For a moment: a file of the same size and second must not pass for this one."""
        now = time.monotonic()
        fresh = [one for one in self._recent.pop(key, []) if now - one[0] < TICK]
        self._recent[key] = [*fresh, (now, version)]
        while self._recent and (
            len(self._recent) > MOST_RECENT or now - next(iter(self._recent.values()))[-1][0] > TICK
        ):
            self._recent.popitem(last=False)

    def _before(self, key: str, old: Version | None) -> Sequence[tuple[float, Version]]:
        """The versions a new one must differ from, and when they were written at the latest, by our monotonic clock."""
        found = list(self._recent.get(key, []))
        if old is not None and all(old.etag != one.etag for _, one in found):
            found.append(
                (time.monotonic() - max(0.0, time.time() - (old.modified or 0.0) - SKEW), old)
            )
        return found


def _until_tick(size: int, before: Sequence[tuple[float, Version]]) -> float:
    """Seconds until a file of this size that is written now has another time than those before, where times are whole seconds."""
    alike = [
        at
        for at, one in before
        if one.size == size and one.modified is not None and one.modified.is_integer()
    ]
    return max([0.0, *(at + TICK - time.monotonic() for at in alike)]) if size else 0.0


def _entry(key: str, version: Version, metadata: Metadata) -> Entry:
    return Entry(key, version.size, version.etag, version.modified or 0.0, metadata)
