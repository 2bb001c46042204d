"""Buckets as a store: `s3://`, `gs://` and `az://`. Every key is an object of that very name below the place's prefix.

S3 goes through boto3 alone, the others through obstore; how an upload is made visible differs: S3 by an explicit multipart
upload, the others by a copy of a draft. What is ours and no object lies below `.sluiceway/`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from sluiceway.errors import (
    BadName,
    NotFound,
    PreconditionFailed,
    SluiceError,
    StoreFailed,
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import (
    FOLDER_MARKER,
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
from sluiceway.stores.objects.bucket import BucketReads, Found, Unspelled
from sluiceway.stores.objects.config import Bucket, open_bucket
from sluiceway.stores.objects.metadata import (
    DRAFTS,
    MOST_NOTE,
    OWN,
    about_of,
    draft_of,
    is_own,
    note_key,
    read_note,
)
from sluiceway.stores.objects.part_sizes import SMALLEST
from sluiceway.stores.objects.reader import BucketReader
from sluiceway.wire.names import readable_name

if TYPE_CHECKING:
    from sluiceway.stores.objects.parts_draft import PartsDraft
    from sluiceway.stores.objects.staged_draft import StagedDraft

__all__ = ["ObjectStore"]

log: logging.Logger = logging.getLogger("sluiceway")

LEASE = 24 * 3600.0  # seconds without a new part after which an upload counts as left behind
SWEEP_EVERY = 3600.0  # seconds
LONGEST_LINK = 7 * 24 * 3600.0  # seconds a signed URL may hold, S3's own limit
PROBE = ".sluiceway/probe"
PAGE = 1000  # objects a cloud lists at once


class ObjectStore:
    """A bucket, or what lies below a prefix in it. `options`: what `--store-option` says. Nothing is connected yet.

    Raises BadRequest for a URL or an option that cannot be, or a library that is missing.
    """

    def __init__(self, url: str, budget: Budget, options: Mapping[str, str] = {}) -> None:
        self._budget = budget
        self._opened: Bucket = open_bucket(url, options)
        self.reads: BucketReads = self._opened.reads
        self.traits: Traits = Traits(
            name=self._opened.name,
            durable=True,
            atomic_publish=True,
            create_only=self._opened.strict,
            resumable=False,
            max_key_bytes=1024 - len(self._opened.prefix.encode()),
            keeps="parts" if self._opened.s3 else "whole",
            stable_reads=False,
            compare_and_swap=self._opened.strict,
            lists_metadata=False,
        )
        self._drafts: set[PartsDraft | StagedDraft] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._swept = -SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def live(self) -> int:
        """Uploads under way, at least one."""
        return max(1, len(self._drafts))

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        if self._budget.limit < 2 * SMALLEST:
            raise Unavailable(
                f"A bucket needs --memory-budget {2 * SMALLEST >> 20}MiB or more: parts rest in memory"
            ).for_operator()
        draft = self._begin(size, upload_request)
        self._drafts.add(draft)
        if time.monotonic() - self._swept > SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_quietly())
        return draft

    def _begin(self, size: int | None, upload_request: UploadRequest) -> PartsDraft | StagedDraft:
        """Only the library of the bucket's own cloud is needed."""
        self.check_key(upload_request.key)
        if self._opened.s3 is not None:
            from sluiceway.stores.objects.parts_draft import PartsDraft

            return PartsDraft(self, self._opened.s3, self._budget, size, upload_request)
        from sluiceway.stores.objects.staged_draft import StagedDraft

        return StagedDraft(self, self._opened.store, self._budget, size, upload_request)

    async def stat(self, key: str) -> Entry:
        return (await self._look(key))[0]

    async def open(self, key: str) -> ObjectReader:
        return BucketReader(self.reads, await self.stat(key))

    async def open_sequential(self, key: str) -> ObjectReader:
        self._check_own(key)
        answer = await self.reads.get(key)
        try:
            entry, _ = await self._entry(answer.found)
        except BaseException:
            answer.close()
            raise
        return BucketReader(self.reads, entry, answer)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """In the order of the keys' bytes, as clouds list. The first piece of a folder costs one request a thousand objects."""
        found, left, last = list[Entry](), list[Omitted](), ""
        async for page in self.reads.pages(prefix, after, min(PAGE, limit + 1)):
            for one in page:
                if is_own(one.key):
                    continue
                if last and len(found) + len(left) >= limit:
                    return Page(found, last, complete=False, omitted=tuple(left))
                last = one.key  # "" for one that is no text: a page cannot end there
                if one.omitted is not None:
                    left.append(one.omitted)
                else:
                    found.append(Entry(one.key, one.size, one.etag, one.modified, Metadata("")))
        return Page(found, complete=True, omitted=tuple(left))

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        there, draft = await self._look(key)
        if replace.etag not in (None, there.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        if self._opened.s3 is not None:
            await self._opened.s3.delete(key, replace.etag)
        else:
            await self.reads.delete(key)
        if draft and _in_parts(there.etag):
            await self.reads.delete(note_key(key, draft))

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """Raises StoreFailed where the key cannot sign. Only S3 lets the disposition be chosen."""
        seconds = min(seconds, LONGEST_LINK)
        if self._opened.s3 is not None:
            return await self._opened.s3.signed_url(
                entry.key, seconds, entry.metadata.type, disposition
            )
        import obstore

        return await self.reads.run(
            obstore.sign, self._opened.signing, "GET", entry.key, timedelta(seconds=seconds)
        )

    async def check(self) -> None:
        """Raises what the cloud says to a listing: no such bucket, a wrong key. Warns of keys that are no entries."""
        try:
            page = await self.list()
        except Unspelled as error:  # other keys can be read; each listing says it again
            log.warning("%s", error.detail)
            return
        odd = [one for one in page.omitted if one.code != FOLDER_MARKER]
        if odd:
            more = "" if page.complete else " or more"
            log.warning(
                "%s: %d keys%s cannot be served, such as %s: %s",
                self._opened.display_name,
                len(odd),
                more,
                odd[0].name,
                odd[0].detail,
            )

    async def probe(self) -> None:
        """A key that is never there: 404 for it is the word of a bucket that is, and it costs a twelfth of a listing."""
        try:
            answer = await self.reads.get(PROBE)
        except NotFound:
            return
        answer.close()

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
        try:
            return count + await self._sweep("", live, since)
        except (
            Unspelled
        ):  # what lies at the top can be freed all the same; the error says that this was not all
            await self._sweep(OWN, live, since)
            raise

    async def _sweep(self, prefix: str, live: Collection[str], since: float) -> int:
        count = 0
        async for page in self.reads.pages(prefix, "", PAGE):
            for one in page:
                if one.omitted is not None or not is_own(one.key):
                    continue
                young = one.modified - 1 > since or one.key.rpartition("/")[2] in live
                if not young and not await self._needed(one.key):
                    await self.reads.delete(one.key)
                    count += 1
        return count

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
            log.warning(
                "What crashed uploads left in the bucket was not taken away: %s", error.detail
            )

    async def made(self, key: str, draft: str, size: int, metadata: Metadata) -> Entry:
        """What the cloud says of an object that has just been published. Raises StoreFailed where that is not what was sent."""
        try:
            entry, found = await self._look(key)
        except SluiceError as error:
            log.warning("%r was stored, and the cloud does not tell of it: %s", key, error.detail)
            return Entry(key, size, draft, time.time(), metadata)
        if found == draft and entry.size != size:
            raise StoreFailed(
                f"{self._opened.display_name} says that {key!r} has {entry.size} bytes; {size} were sent"
            )
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

    def ended(self, draft: PartsDraft | StagedDraft) -> None:
        self._drafts.discard(draft)

    async def aclose(self) -> None:
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping])
        for draft in list(self._drafts):
            await draft.discard()
        if self._opened.s3 is not None:
            self._opened.s3.close()
        self.reads.close()

    async def _look(self, key: str) -> tuple[Entry, str]:
        """The object under a key, and the id of the draft it was."""
        self._check_own(key)
        return await self._entry(await self.reads.head(key))

    async def _entry(self, found: Found) -> tuple[Entry, str]:
        metadata, draft = about_of(found.headers, found.metadata), draft_of(found.metadata)
        if draft and metadata.sha256 is None and _in_parts(found.etag):
            metadata = about_of(
                found.headers,
                found.metadata,
                await self._noted(note_key(found.key, draft), found.key),
            )
        return Entry(found.key, found.size, found.etag, found.modified, metadata), draft

    def check_key(self, key: str) -> None:
        """Raises BadName for a key that could be written and not come back, with the reason. "" is none yet."""
        if key and (why := self.reads.unreadable(key)) is not None:
            raise BadName(
                f"{readable_name(key)!r} cannot be a key of {self._opened.display_name}: {why}"
            )

    def _check_own(self, key: str) -> None:
        if is_own(key):
            raise NotFound(f"There is no object {key!r}")

    async def _noted(self, note: str, key: str) -> str | None:
        """The sha-256 a note has for a key."""
        metadata, sha256 = await self._read_note(note)
        return sha256 if metadata == key else None

    async def _read_note(self, note: str) -> tuple[str, str]:
        try:
            answer = await self.reads.get(note)
        except NotFound:
            return "", ""
        try:
            return read_note((await self.reads.run(next, answer.pieces, b""))[:MOST_NOTE])
        finally:
            answer.close()

    async def _needed(self, own: str) -> bool:
        """Whether it is a note, and the object it was written for is still the one."""
        if own.startswith(DRAFTS):
            return False
        return await self.is_draft((await self._read_note(own))[0], own.rpartition("/")[2])


def _in_parts(etag: str) -> bool:
    """S3's tag of an object sent in parts ends in their number; the other clouds tell nothing, so their notes are asked for."""
    return (
        "-" in etag or not all(symbol in "0123456789abcdef" for symbol in etag) or len(etag) != 32
    )
