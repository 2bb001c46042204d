"""An upload to S3 that outlives its process: parts that S3 has, and a durable tail behind them.

What counts is what the ledger says: parts by number and tag, and the pieces of the tail. A listing
is asked only which numbers a process that died may have used; those are never used again, so that
a part which arrives late replaces nothing. An object that the ledger may still name is not deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from contextlib import suppress
from dataclasses import replace as replaced
from typing import TYPE_CHECKING, cast

from sluiceway.errors import NotFound, PeerFailed, PeerTimeout, SluiceError, StoreFailed
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.pipe.hashes import CRC64NVME, digest_of, is_available
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.objects.bucket import READ_BLOCK, REPLACE_ANY
from sluiceway.stores.objects.full_checksum import SentPart, combined_crc
from sluiceway.stores.objects.lasting.joining import Run, next_edge, run_from
from sluiceway.stores.objects.lasting.leftovers import remove_leftovers
from sluiceway.stores.objects.lasting.state import (
    MARGIN,
    LastingState,
    Piece,
    draft_id,
    format_life,
    format_marker,
    format_part,
    is_marker_of,
    lasting_prefix,
    marker_key,
    parse_parts,
    staged_key,
)
from sluiceway.stores.objects.lasting.tail import Tail
from sluiceway.stores.objects.part_sizes import SMALLEST_PART
from sluiceway.stores.objects.parts_draft import PartsDraft
from sluiceway.stores.unpublished import SavedDraft

if TYPE_CHECKING:
    from sluiceway.stores.objects.s3_bucket import S3Bucket

__all__ = ["LastingParts", "find_published"]

log: logging.Logger = logging.getLogger("sluiceway")

# Numbers that are left out behind the last one known of a process that died: more than it can have
# sent since it wrote down what it kept.
SKIPPED = 64
TOUCH_AFTER = MARGIN / 4  # seconds after which what stands beside the parts is written again


class LastingParts(PartsDraft):
    """A draft that `LastingParts.begin` makes, or `resume`."""

    def __init__(
        self,
        bucket: S3Bucket,
        upload: str,
        size: int | None,
        upload_request: UploadRequest,
        state: LastingState = LastingState(),
    ) -> None:
        super().__init__(bucket, size, upload_request, draft_id(upload))
        self._life = format_life(bucket.draft_life)
        self._key = state.key or upload_request.key or staged_key(self._id, self._life)
        self._was_saved = bool(state.key)
        prefix = lasting_prefix(self._key, self._id)
        self._tail = Tail(bucket, prefix, self._id, self._life, state.pieces)
        # Number of parts, and pieces: of the last `save`, and of the last that was written down.
        self._offered: tuple[int, tuple[Piece, ...]] = (0, ())
        self._in_ledger: tuple[int, tuple[Piece, ...]] = (0, ())
        self._at_rest = False
        self._touched = state.touched or time.time()
        self._upload = state.upload or None
        self._next_number = state.next
        if 0 < state.part <= self._most:
            self._default_size = state.part

    @classmethod
    async def resume(
        cls,
        bucket: S3Bucket,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest,
    ) -> LastingParts:
        """As in `ResumableStore`."""
        state = LastingState.parse(saved.state)
        draft = cls(bucket, upload, size, upload_request, state)
        try:
            await draft._take_up(state, parse_parts(saved.parts), offset)
        except BaseException:
            draft._end()
            raise
        return draft

    @property
    def kept(self) -> int:
        stored, tail = super().kept, self._tail
        follows = tail.pieces and tail.pieces[0].start <= stored
        return max(stored, tail.end) if follows else stored

    async def sync(self) -> int:
        """Keep every byte: wait for the parts in flight, and write the tail."""
        self._check()
        while self._in_flight:
            await self._wait_for_part()
        self._check()
        if time.time() - self._touched > TOUCH_AFTER:
            await self._touch()
        if self._filled and self.kept < self._written:
            start = self._written - self._filled
            self._tail.drop_before(start)
            await finish_then_cancel(self._tail.add(self._body, start, self._filled))
        return self.kept

    def save(self) -> SavedDraft:
        stored = list(self._stored())
        end = sum(part.size for part in stored)
        pieces = tuple(piece for piece in self._tail.pieces if piece.end > end)
        self._offered = len(stored), pieces
        state = LastingState(
            key=self._key,
            upload=self._upload or "",
            part=self._default_size,
            next=self._next_number,
            at_rest=self._at_rest,
            touched=self._touched,
            pieces=pieces,
        )
        new = stored[self._in_ledger[0] :]
        return SavedDraft(state.format(), tuple(format_part(part) for part in new))

    def saved(self) -> None:
        self._in_ledger = self._offered
        stored, pieces = self._in_ledger
        self._tail.drop_before(sum(size for _, size in self._sent[:stored]))
        self._bucket.clean(self._tail.forget(pieces))

    async def suspend(self) -> None:
        if self._ended:
            return
        failed = self._failure is not None
        self._end()
        if self._in_flight:
            await finish_then_cancel(asyncio.wait(self._in_flight))
        # A part that failed may still arrive.
        self._at_rest = not failed and self._failure is None

    async def truncate(self, offset: int) -> None:
        """Also into parts, as far as the pieces last written down have what stands before them."""
        self._check()
        while self._in_flight:
            await self._wait_for_part()
        start = self._written - self._filled
        if offset < start:
            await self._return_to(offset)
        else:
            self._filled, self._written = offset - start, offset
            self._tail.cut(offset)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        begun, upload = self._key, self._upload or ""
        entry = await super().publish(key, metadata, replace)
        work = remove_leftovers(self._bucket, begun, self._id, upload)
        try:
            await shield_until_done(work)
        except SluiceError as error:  # it is published all the same
            log.warning("Leftovers stay in the bucket until they are swept: %s", error.detail)
        return entry

    async def known_digests(self) -> dict[str, bytes]:
        """The CRC64NVME of all bytes, from those of the parts."""
        self._check()
        while self._in_flight:
            await self._wait_for_part()
        parts = [self._parts[number] for number, _ in self._sent]
        known = [(part.counted, part.size) for part in parts if part.counted is not None]
        if not is_available(CRC64NVME) or len(known) != len(parts):
            return {}
        with memoryview(self._body)[: self._filled] as gathered:
            value = await self._bucket.run(digest_of, CRC64NVME, gathered)
        return {CRC64NVME: combined_crc([*known, (value, self._filled)])}

    async def append_draft(self, other: Draft, start: int, count: int) -> None:
        """As in `JoinableDraft`. See `joining`."""
        self._check()
        source, at, end = cast(LastingParts, other), start, start + count
        parts = await source._as_parts()
        while at < end:
            run = run_from(parts, at, end)
            fits = run is not None and run.size >= SMALLEST_PART
            if fits and self._filled >= SMALLEST_PART:
                await self._submit_part()
            if run is not None and fits and not self._filled:
                await self._copy_part(source._key, at, run)
                at += run.size
            else:
                stop = min(at + READ_BLOCK, next_edge(parts, at) or end, end)
                data = await source.read(at, stop - at)
                await self.write(data)
                at += len(data)
                if not data:
                    raise StoreFailed("The kept bytes of an upload are shorter than they were")

    # Inside

    async def _as_parts(self) -> list[SentPart]:
        """Be an object that can be copied from; a small draft stays as it is, without a part."""
        if self._upload is None:
            return []
        parts = await self._finish_parts()
        await shield_until_done(self._stage(parts))
        return parts

    async def _copy_part(self, key: str, start: int, run: Run) -> None:
        if self._upload is None:
            await finish_then_cancel(self._begin())
        number, self._next_number = self._next_number, self._next_number + 1
        span = start, start + run.size
        tag = await self._bucket.copy_part(self._key, self._upload or "", number, key, span)
        self._sent.append((number, run.size))
        self._parts[number] = SentPart(number, tag, run.size, counted=run.counted)
        self._written += run.size
        self._part_size = self._size_of_next()

    async def _take_up(self, state: LastingState, parts: list[SentPart], offset: int) -> None:
        size = 0
        for part in parts:
            self._sent.append((part.number, part.size))
            self._parts[part.number] = part
            size += part.size
        if size > offset:
            raise StoreFailed("Parts that S3 has cannot be cut; begin the upload anew")
        self._written = size
        self._in_ledger = self._offered = len(self._sent), state.pieces
        if self._upload is not None:
            await self._find_numbers(state, parts)
        if self._staged:  # the object has all of it; no part can follow
            if rest := offset - size:
                self._sent.append((0, rest))
                self._parts[0] = SentPart(0, "", rest)
            self._tail.pieces, self._written = [], offset
            return
        self._part_size = self._size_of_next()
        self._claim.whole = self._memory_needed
        self._tail.drop_before(size)
        self._tail.cut(offset)
        await self._load(offset)
        if time.time() - self._touched > TOUCH_AFTER:
            await self._touch()

    async def _touch(self) -> None:
        """Write again what stands beside the parts: a sweep goes by its age."""
        if self._upload is not None:
            await self._mark(self._upload)
        if self._filled:
            start = self._written - self._filled
            self._tail.drop_before(start)
            await finish_then_cancel(self._tail.add(self._body, start, self._filled, whole=True))
        self._touched = time.time()

    async def _mark(self, upload: str) -> None:
        """The marker keeps sweeps away, and names the multipart upload to whoever cleans up."""
        marker = marker_key(self._key, self._id, self._life, upload)
        body, described = format_marker(self._key, upload), Metadata(filename="")
        await self._bucket.put(marker, body, described, self._id, REPLACE_ANY)

    async def _find_numbers(self, state: LastingState, parts: list[SentPart]) -> None:
        """Which numbers may have been used, and whether S3 still has the upload."""
        last = max([state.next - 1, *(part.number for part in parts)])
        try:
            listed = [
                part["PartNumber"]
                async for part in self._bucket.parts(self._key, self._upload or "", last)
            ]
        except NotFound:
            if not await self._is_staged():
                raise NotFound("This upload is gone; send the file again") from None
            self._staged = True
            return
        if not state.at_rest or listed:
            last = max([last, *listed]) + SKIPPED
        self._next_number = last + 1

    async def _is_staged(self) -> bool:
        """Whether the parts are an object that is to be read before it is published."""
        prefix, upload = lasting_prefix(self._key, self._id), self._upload or ""
        keys = [own async for page in self._bucket.pages(prefix, "", 1000) for own, _ in page]
        is_marked = any(is_marker_of(own, upload) for own in keys)
        return is_marked and await self._bucket.is_draft(self._key, self._id)

    async def _load(self, offset: int) -> None:
        """Read the tail into the part that gathers."""
        try:
            async for data in self._tail.read(self._written):
                await self.write(data)
        except NotFound:
            raise NotFound("This upload is gone; send the file again") from None
        if self._written != offset:
            raise StoreFailed(
                f"The upload has {self._written} bytes in the bucket; it kept {offset}"
            )

    async def _return_to(self, offset: int) -> None:
        """Parts were sent that do not count: their numbers stay unused."""
        self._sent, self._tail.pieces = self._sent[: self._in_ledger[0]], list(self._in_ledger[1])
        start = sum(size for _, size in self._sent)
        if offset < start:
            raise StoreFailed("Parts that S3 has cannot be cut; begin the upload anew")
        self._parts = {number: self._parts[number] for number, _ in self._sent}
        self._filled, self._written = 0, start
        self._part_size = max(self._part_size, self._size_of_next())
        self._tail.cut(offset)
        await self._load(offset)

    async def _begin(self) -> None:
        upload = await self._bucket.begin(self._key, self._request, self._id)
        try:
            await self._mark(upload)
        except BaseException:
            with suppress(SluiceError):  # the first error counts more
                await finish_then_cancel(self._bucket.abort(self._key, upload))
            raise
        self._upload = upload

    async def _send_part(self, number: int, body: bytearray) -> SentPart:
        counted = None
        if is_available(CRC64NVME):
            counted = await self._bucket.run(digest_of, CRC64NVME, body)
        try:
            part = await super()._send_part(number, body)
        except (PeerTimeout, PeerFailed) as error:
            part = await self._find_part(number, body, error)
        return replaced(part, counted=counted)

    async def _find_part(self, number: int, body: bytearray, error: SluiceError) -> SentPart:
        """Where only the response was lost, S3 has the part. Raises `error` where it has not."""
        tag = await self._bucket.run(_md5, body)
        with suppress(SluiceError):
            async for part in self._bucket.parts(self._key, self._upload or "", number - 1):
                found = part["PartNumber"], str(part["ETag"]).strip('"'), part["Size"]
                if found == (number, tag, len(body)):
                    return SentPart(number, str(part["ETag"]), len(body))
                break
        raise error

    async def _clear(self) -> None:
        await super()._clear()
        await remove_leftovers(self._bucket, self._key, self._id, is_known=self._was_saved)


async def find_published(
    bucket: S3Bucket, upload: str, saved: SavedDraft, key: str
) -> Entry | None:
    """As in `ResumableStore`. What the process left that published it is removed."""
    draft, state = draft_id(upload), LastingState.parse(saved.state)
    try:
        entry, found = await bucket.look(key)
    except NotFound:
        return None
    if found != draft:
        return None
    await remove_leftovers(bucket, state.key or key, draft, state.upload)
    return entry


def _md5(body: bytearray) -> str:
    """S3's tag of a part, unless a key of its own encrypts it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
