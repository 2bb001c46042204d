"""Buckets as a store: `s3://`, `gs://` and `az://`. A key is the object's name below the prefix.

S3 is reached by boto3, the others by obstore. S3 makes an upload visible by an explicit multipart
upload, the others by a copy of a draft. What is ours and no object is below `.sluiceway/`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sluiceway.errors import NotFound, PreconditionFailed, Unavailable, Unsupported
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import CRC64NVME
from sluiceway.stores.background_sweep import BackgroundSweep
from sluiceway.stores.contract import (
    FOLDER_MARKER,
    Draft,
    Entry,
    ObjectReader,
    Omitted,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.objects.bucket import ROUNDING, UnlistableKey
from sluiceway.stores.objects.config import AnyBucket, open_bucket
from sluiceway.stores.objects.lasting.over import OverDrafts
from sluiceway.stores.objects.metadata import LASTING, OWN_FOLDER, is_lasting, is_own
from sluiceway.stores.objects.part_sizes import SMALLEST_PART, default_part_size, part_size
from sluiceway.stores.objects.reader import BucketReader
from sluiceway.stores.unpublished import ResumableDraft, SavedDraft

if TYPE_CHECKING:  # needs boto3
    from sluiceway.stores.objects.s3_bucket import S3Bucket

__all__ = ["ObjectStore"]

log: logging.Logger = logging.getLogger("sluiceway")

LEASE = 24 * 3600.0  # seconds without a new part after which an upload counts as left behind
LONGEST_LINK = 7 * 24 * 3600.0  # seconds a signed URL may be valid, S3's own limit
PROBE = ".sluiceway/probe"  # a key that never exists
PAGE = 1000  # objects that a cloud lists at once


class ObjectStore:
    """A bucket, or what is below a prefix in it.

    `options` are those of `--store-option`. Nothing is connected by the constructor. Raises
    BadRequest for a URL or an option that cannot be, or a missing library.
    """

    def __init__(self, url: str, budget: Budget, options: Mapping[str, str] = {}) -> None:
        self.bucket: AnyBucket = open_bucket(url, budget, options)
        self.traits: Traits = Traits(
            name=self.bucket.name,
            durable=True,
            atomic_publish=True,
            create_only=self.bucket.compare_and_swap,
            resumable=self.bucket.kind == "s3",
            max_key_bytes=1024 - len(self.bucket.prefix.encode()),
            keeps="parts" if self.bucket.kind == "s3" else "whole",
            stable_reads=False,
            compare_and_swap=self.bucket.compare_and_swap,
            lists_metadata=False,
            readable_drafts=self.bucket.kind == "s3",
            key_first=self.bucket.kind == "s3",
            counts=(CRC64NVME,) if self.bucket.kind == "s3" else (),
        )
        self._sweep = BackgroundSweep(self._sweep_quickly)

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        self._check_request(upload_request)
        draft = _begin_draft(self.bucket, size, upload_request)
        self._sweep.start_if_due()
        return draft

    async def check_room(self, size: int) -> None:
        limit = self.bucket.budget.limit
        if self.traits.resumable:  # of so many parts, each has to fit into memory
            default = default_part_size(limit, self.bucket.live_drafts)
            part_size(1, size, default, limit // 2)

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        self._check_request(upload_request)
        from sluiceway.stores.objects.lasting.draft import LastingParts

        draft = LastingParts(self._s3, upload, size, upload_request)
        self._sweep.start_if_due()
        return draft

    def lease_drafts(self, seconds: float | None) -> None:
        self.bucket.draft_life = seconds

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        """Names that no process used before stand for the epoch: the late bytes of an earlier
        holder replace nothing."""
        self._check_request(upload_request)
        from sluiceway.stores.objects.lasting.draft import LastingParts

        return await LastingParts.resume(self._s3, upload, saved, offset, size, upload_request)

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        from sluiceway.stores.objects.lasting.draft import find_published

        return await find_published(self._s3, upload, saved, key)

    async def stat(self, key: str) -> Entry:
        return (await self.bucket.look(key))[0]

    async def open(self, key: str) -> ObjectReader:
        return BucketReader(self.bucket, await self.stat(key))

    async def open_sequential(self, key: str, at_once: int = 0) -> ObjectReader:
        self.bucket.refuse_own(key)
        response = await self.bucket.get(key, at_once=at_once)
        try:
            entry = await self.bucket.with_noted_digests(response.entry, response.draft)
        except BaseException:
            response.close()
            raise
        return BucketReader(self.bucket, entry, response)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """In the order of the keys' bytes, as clouds list."""
        entries, omitted, last = list[Entry](), list[Omitted](), ""
        async for page in self.bucket.pages(prefix, after, min(PAGE, limit + 1)):
            for key, found in page:
                if is_own(key):
                    continue
                if last and len(entries) + len(omitted) >= limit:
                    return Page(entries, last, complete=False, omitted=tuple(omitted))
                last = key  # "" for a key that is not text: no page can begin after it
                if isinstance(found, Omitted):
                    omitted.append(found)
                else:
                    entries.append(found)
        return Page(entries, complete=True, omitted=tuple(omitted))

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        there, draft = await self.bucket.look(key)
        if replace.etag not in (None, there.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        await self.bucket.delete(key, replace.etag)
        await self.bucket.delete_note(there, draft)

    def send_at_once(self, parts: int) -> bool:
        if self.bucket.kind == "s3":
            self.bucket.parts_in_flight = parts
        return self.bucket.kind == "s3"

    async def is_claimed(self, key: str) -> bool:
        """Whether parts are on their way to the key; of several thousands, the first count."""
        return self.bucket.kind == "s3" and await self.bucket.is_begun(key)

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """Raises StoreFailed where the key cannot sign. Only S3 lets the disposition be chosen."""
        return await self.bucket.signed_url(entry, min(seconds, LONGEST_LINK), disposition)

    async def check(self) -> None:
        """Raises the error of a listing: no such bucket, a wrong key.

        Logs a warning for keys that cannot be entries.
        """
        try:
            page = await self.list()
        except UnlistableKey as error:  # other keys can be read; each listing raises it again
            log.warning("%s", error.detail)
            return
        odd = [one for one in page.omitted if one.code != FOLDER_MARKER]
        if odd:
            log.warning(
                "%s: %d keys%s cannot be served, such as %s: %s",
                self.bucket.display_name,
                len(odd),
                "" if page.complete else " or more",
                odd[0].name,
                odd[0].detail,
            )

    async def probe(self) -> None:
        """Ask for a key that never exists. 404 shows that the bucket is there.

        It costs a twelfth of a listing.
        """
        try:
            response = await self.bucket.get(PROBE)
        except NotFound:
            return
        response.close()

    async def init(self) -> None:
        """Only checks: a bucket is made with its cloud's own tools, which set rights and region."""
        await self.check()

    async def sweep(self, older: float | None = None) -> int:
        """Abort multipart uploads without a new part for `older` seconds; None: for a day.

        Deletes drafts and notes that belong to no object as well. Uploads that outlive their
        process are left alone for as long as their server said (`lease_drafts`), and a day more.
        Safe beside uploads of any server. Returns the number of leftovers removed. On Google and
        Azure unfinished parts are the cloud's own to clear (a lifecycle rule; Azure does it after a
        week).
        """
        age = LEASE if older is None else older
        count = await self.bucket.abort_unfinished(age)
        since = time.time() - age + ROUNDING
        try:
            return count + await self._sweep_own("", since)
        except UnlistableKey:
            # Leftovers at the top can still be removed; the error tells that this was not all.
            await self._sweep_own(OWN_FOLDER, since)
            raise

    async def _sweep_quickly(self) -> None:
        """In the background not all keys are listed, which could take long: a draft without a part
        whose object would be in a folder is left to `sweep`."""
        await self.bucket.abort_unfinished(LEASE)
        if self.traits.resumable:
            await self._sweep_own(LASTING, time.time() - LEASE)

    async def _sweep_own(self, prefix: str, since: float) -> int:
        live, count = set(self.bucket.drafts), 0
        lasting = OverDrafts(since, time.time(), live)
        async for page in self.bucket.pages(prefix, "", PAGE):
            for key, found in page:
                if isinstance(found, Omitted) or not is_own(key):
                    continue
                if is_lasting(key):
                    count += await self._delete(lasting.next(found))
                    continue
                young = found.modified > since or key.rpartition("/")[2] in live
                if not young and not await self.bucket.is_needed(key):
                    count += await self._delete([key])
        return count + await self._delete(lasting.end())

    async def _delete(self, keys: Sequence[str]) -> int:
        for key in keys:
            await self.bucket.delete(key)
        return len(keys)

    async def aclose(self) -> None:
        await self._sweep.aclose()
        for draft in list(self.bucket.drafts.values()):
            if isinstance(draft, ResumableDraft):
                await draft.suspend()
            else:
                await draft.discard()
        await self.bucket.cleaned()
        self.bucket.close()

    @property
    def _s3(self) -> S3Bucket:
        """Raises Unsupported for Google and Azure: their library sends no single parts."""
        if self.bucket.kind != "s3":
            raise Unsupported(f"{self.bucket.display_name} keeps nothing of an upload that stops")
        return self.bucket

    def _check_request(self, upload_request: UploadRequest) -> None:
        if self.bucket.budget.limit < 2 * SMALLEST_PART:
            raise Unavailable(
                f"A bucket needs --memory-budget {2 * SMALLEST_PART >> 20}MiB or more: "
                "parts are held in memory"
            ).for_operator()
        self.bucket.check_key(upload_request.key)


def _begin_draft(bucket: AnyBucket, size: int | None, upload_request: UploadRequest) -> Draft:
    """Imports only the library of the bucket's own cloud."""
    if bucket.kind == "s3":
        from sluiceway.stores.objects.parts_draft import PartsDraft

        return PartsDraft(bucket, size, upload_request)
    from sluiceway.stores.objects.staged_draft import StagedDraft

    return StagedDraft(bucket, size, upload_request)
