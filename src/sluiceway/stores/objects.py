"""Buckets as a store: `s3://`, `gs://` and `az://`. Every key is an object of that very name below the place's prefix.

Reading, listing and looking go through obstore; how an upload is made visible differs: S3 by an explicit multipart upload,
the others by a copy of a draft. What is ours and no object lies below `.sluiceway/`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import obstore

from sluiceway.errors import BadName, NotFound, PreconditionFailed, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import About, Draft, Entry, Label, Opened, Page, Replace, Traits
from sluiceway.stores.objects_about import DRAFTS, MOST_NOTE, about_of, draft_of, is_own, note_key, read_note
from sluiceway.stores.objects_draft import PartsDraft
from sluiceway.stores.objects_open import Bucket, open_bucket
from sluiceway.stores.objects_parts import SMALLEST
from sluiceway.stores.objects_read import ObjectOpened
from sluiceway.stores.objects_staged import StagedDraft
from sluiceway.stores.objects_words import word_for
from sluiceway.stores.settled import ended

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta

__all__ = ["ObjectStore"]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")

LEASE = 24 * 3600.0  # seconds without a new part after which an upload counts as left behind
SWEEP_EVERY = 3600.0  # seconds
THREADS = 64  # calls at once; on Google and Azure an upload has one, and the budget lends to far fewer
LONGEST_LINK = 7 * 24 * 3600.0  # seconds a signed URL may hold, S3's own limit
PAGE = 1000  # objects a cloud lists at once


class ObjectStore:
    """A bucket, or what lies below a prefix in it. `options`: what `--store-option` says. Nothing is connected yet.

    Raises BadRequest for a URL or an option that cannot be, or a library that is missing.
    """

    def __init__(self, url: str, budget: Budget, options: Mapping[str, str] = {}) -> None:
        self._budget = budget
        self._opened: Bucket = open_bucket(url, options)
        self.traits: Traits = Traits(
            name=self._opened.name,
            durable=True,
            atomic_publish=True,
            create_only=self._opened.strict,
            resumable=False,
            max_key_bytes=1024 - len(self._opened.prefix.encode()),
            keeps="parts" if self._opened.s3 else "whole",
            steady=False,
            compares=self._opened.strict,
            lists_about=False,
        )
        self._drafts: set[PartsDraft | StagedDraft] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(THREADS, "sluiceway-objects")
        self._swept = -SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def live(self) -> int:
        """Uploads under way, at least one."""
        return max(1, len(self._drafts))

    async def draft(self, upload: str, size: int | None, label: Label = Label()) -> Draft:
        if self._budget.limit < 2 * SMALLEST:
            raise Unavailable(f"A bucket needs --memory-budget {2 * SMALLEST >> 20}MiB or more: parts rest in memory")
        draft: PartsDraft | StagedDraft
        if self._opened.s3 is not None:
            draft = PartsDraft(self, self._opened.s3, self._budget, size, label)
        else:
            draft = StagedDraft(self, self._opened.store, self._budget, size, label)
        self._drafts.add(draft)
        if time.monotonic() - self._swept > SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_quietly())
        return draft

    async def stat(self, key: str) -> Entry:
        return (await self._look(key))[0]

    async def open(self, key: str) -> Opened:
        return ObjectOpened(self, self._opened.store, key, await self.stat(key))

    async def open_whole(self, key: str) -> Opened:
        entry, _, answer = await self._ask(key, head=False)
        return ObjectOpened(self, self._opened.store, key, entry, answer)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """In the order of the keys' bytes, as clouds list. The first piece of a folder costs one request a thousand objects."""
        folder, found = prefix.rpartition("/")[0], list[Entry]()
        start = max(after, _before(prefix))
        try:
            async for page in self._pages(folder, start, min(PAGE, limit + 1)):
                for meta in page:
                    key = meta["path"]
                    if key.startswith(prefix) and key > after and not is_own(key):
                        tag = (meta["e_tag"] or "").strip('"')
                        found.append(Entry(key, meta["size"], tag, math.ceil(meta["last_modified"].timestamp()), About("")))
                    if len(found) > limit:
                        return Page(found[:limit], found[limit - 1].key, complete=False)
                    if key > prefix and not key.startswith(prefix):
                        return Page(found, complete=True)
        except BadName:  # no key begins so
            pass
        return Page(found, complete=True)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        there, draft = await self._look(key)
        if replace.etag not in (None, there.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        if self._opened.s3 is not None:
            await self._opened.s3.delete(key, replace.etag)
        else:
            await self._delete(key)
        if draft and _in_parts(there):
            await self._delete(note_key(key, draft))

    async def signed(self, entry: Entry, seconds: float, disposition: str) -> str:
        """Raises StoreFailed where the key cannot sign. Only S3 lets the disposition be chosen."""
        seconds = min(seconds, LONGEST_LINK)
        if self._opened.s3 is not None:
            return await self._opened.s3.signed(entry.key, seconds, entry.about.type, disposition)
        return await self.run(obstore.sign, self._opened.signing, "GET", entry.key, timedelta(seconds=seconds))

    async def check(self) -> None:
        """Raises what the cloud says to a listing: no such bucket, a wrong key, nobody there."""
        async for _ in self._pages("", "", 1):
            break

    async def init(self) -> None:
        """A bucket is made with its cloud's own tools, where rights and region are chosen; this only looks."""
        await self.check()

    async def sweep(self, older: float | None = None) -> int:
        """Abort multipart uploads that got no part for so long, and delete drafts and notes nobody leads to. Safe beside uploads.

        `older`: seconds, else LEASE. On Google and Azure unfinished parts are the cloud's own to clear (a lifecycle rule;
        Azure does it after a week).
        """
        age = LEASE if older is None else older
        count = await self._abort(age)
        live, since = {draft.id for draft in self._drafts}, time.time() - age
        async for page in self._pages("", "", PAGE):
            for meta in page:
                key = meta["path"]
                young = meta["last_modified"].timestamp() > since or key.rpartition("/")[2] in live
                if is_own(key) and not young and not await self._needed(key):
                    await self._delete(key)
                    count += 1
        return count

    async def _pages(self, folder: str, after: str, size: int) -> AsyncIterator[Sequence[ObjectMeta]]:
        try:
            pages = iter(obstore.list(self._opened.store, folder or None, offset=after or None, chunk_size=size))
        except Exception as error:
            raise self.word(error) from error
        while (page := await self.run(next, pages, None)) is not None:
            yield page

    async def _abort(self, age: float) -> int:
        """Unfinished multipart uploads, which cost money and show in no listing; one request a thousand."""
        if self._opened.s3 is None:
            return 0
        left = await self._opened.s3.unfinished(age)
        for key, upload in left:
            await self._opened.s3.abort(key, upload)
        return len(left)

    async def _sweep_quietly(self) -> None:
        try:
            await self._abort(LEASE)
        except SluiceError as error:
            log.warning("What crashed uploads left in the bucket was not taken away: %s", error.detail)

    async def made(self, key: str, draft: str, size: int, about: About) -> Entry:
        """What the cloud says of an object that has just been published. Raises StoreFailed where that is not what was sent."""
        try:
            entry, found = await self._look(key)
        except SluiceError as error:
            log.warning("%r was stored, and the cloud does not tell of it: %s", key, error.detail)
            return Entry(key, size, draft, time.time(), about)
        if found == draft and entry.size != size:
            raise StoreFailed(f"{self._opened.called} says that {key!r} has {entry.size} bytes; {size} were sent")
        return entry

    async def tag(self, key: str) -> str | None:
        """Of the object there, None where there is none."""
        try:
            return (await self.stat(key)).etag
        except NotFound:
            return None

    async def is_draft(self, key: str, draft: str) -> bool:
        """Whether the object under the key is what this draft became."""
        try:
            return (await self._look(key))[1] == draft
        except SluiceError:
            return False

    def lock(self, key: str) -> asyncio.Lock:
        """For clouds that do not compare and write in one step: at least this process does."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def run(self, call: Callable[..., T], *told: Any, **more: Any) -> T:
        """A call of obstore, in a thread: what it does in the event loop outlives it and may break an interpreter that ends.

        Whoever is cancelled waits for its end. Raises what it raises, as one of ours.
        """
        work = asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*told, **more))
        try:
            return await ended(work)
        except SluiceError:
            raise
        except Exception as error:
            raise self.word(error) from error

    def word(self, error: BaseException) -> SluiceError:
        return word_for(error, self._opened.called)

    def ended(self, draft: PartsDraft | StagedDraft) -> None:
        self._drafts.discard(draft)

    async def aclose(self) -> None:
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping])
        for draft in list(self._drafts):
            await draft.discard()
        if self._opened.s3 is not None:
            self._opened.s3.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self, key: str) -> tuple[Entry, str]:
        """The object under a key, and the id of the draft it was."""
        entry, draft, _ = await self._ask(key, head=True)
        return entry, draft

    async def _ask(self, key: str, head: bool) -> tuple[Entry, str, GetResult]:
        """The same, and the cloud's answer, its bytes still coming unless only its head was asked for."""
        if is_own(key):
            raise NotFound(f"There is no object {key!r}")
        try:
            answer = await self.run(obstore.get, self._opened.store, key, options={"head": head})
        except NotFound:
            raise NotFound(f"There is no object {key!r}") from None
        meta, attributes = answer.meta, {str(name): str(value) for name, value in answer.attributes.items()}
        modified = math.ceil(meta["last_modified"].timestamp())
        entry = Entry(key, meta["size"], (meta["e_tag"] or "").strip('"'), modified, about_of(attributes))
        draft = draft_of(attributes)
        if draft and entry.about.sha256 is None and _in_parts(entry):
            sha256 = await self._noted(note_key(key, draft), key)
            entry = Entry(key, entry.size, entry.etag, modified, about_of(attributes, sha256))
        return entry, draft, answer

    async def _noted(self, note: str, key: str) -> str | None:
        """The sha-256 a note has for a key."""
        try:
            told = await self.run(obstore.get_range, self._opened.store, note, start=0, length=MOST_NOTE)
        except NotFound:
            return None
        about, sha256 = read_note(bytes(told))
        return sha256 if about == key else None

    async def _needed(self, own: str) -> bool:
        """Whether it is a note, and the object it was written for is still the one."""
        if own.startswith(DRAFTS):
            return False
        told = await self.run(obstore.get_range, self._opened.store, own, start=0, length=MOST_NOTE)
        return await self.is_draft(read_note(bytes(told))[0], own.rpartition("/")[2])

    async def _delete(self, key: str) -> None:
        try:
            await self.run(obstore.delete, self._opened.store, key)
        except NotFound:
            pass


def _in_parts(entry: Entry) -> bool:
    """S3's tag of an object sent in parts ends in their number; the other clouds tell nothing, so their notes are asked for."""
    return "-" in entry.etag or not all(symbol in "0123456789abcdef" for symbol in entry.etag) or len(entry.etag) != 32


def _before(prefix: str) -> str:
    """A text that sorts before all that begin with the prefix, and after nearly all that do not."""
    if not prefix:
        return ""
    last = ord(prefix[-1])
    return prefix[:-1] + (chr(last - 1) + "\U0010ffff" if last > 0xE000 or 1 < last < 0xD800 else "")
