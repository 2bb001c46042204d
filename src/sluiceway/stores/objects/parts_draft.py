"""An upload to S3 under way: parts gather in memory of the budget, and a few travel at a time.

An object of one part is one request at the end. A part stays in memory until S3 has it, so a
failure is retried without the sender. Only the last request makes the object visible. S3 gives no
part back: a draft that is read becomes an object of its own first. Knows nothing of readers.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluiceway.errors import DigestMismatch, SluiceError, StoreFailed
from sluiceway.pipe.budget import Claim
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.pipe.hashes import CRC64NVME
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Pairs, Replace, UploadRequest
from sluiceway.stores.objects.bucket import REPLACE_ANY
from sluiceway.stores.objects.full_checksum import SentPart, combined
from sluiceway.stores.objects.metadata import DRAFTS, Described
from sluiceway.stores.objects.part_sizes import default_part_size, part_size

if TYPE_CHECKING:  # needs boto3, which Google and Azure do without
    from sluiceway.stores.objects.s3_bucket import S3Bucket

__all__ = ["PartsDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

PIECE = 2 << 20  # bytes that a thread receives before it hashes them
FIRST_MEMORY = 64 << 10  # bytes for an upload that has just begun; they double as it fills them
# Seconds to fill one part. After a faster one, the next part gets its memory at once: growing
# copies the bytes and holds them twice.
FAST_PART = 1.0


class PartsDraft:
    """Parts go to the key at once. While the key is not known, they go to a draft's key instead.

    In that case they are copied to the key at the end, and so they are where the key changes.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        size: int | None,
        upload_request: UploadRequest,
        draft: str | None = None,
    ) -> None:
        """`draft` is its id, which the object carries; None: a fresh one."""
        self._bucket, self._size, self._request = bucket, size, upload_request
        self._id = draft or uuid.uuid4().hex
        self._key = upload_request.key or DRAFTS + self._id
        self._upload: str | None = None  # S3's id, from the first part on
        self._written = 0
        self._most = bucket.budget.limit // 2  # bytes of one part, so that the next one can gather
        # Once for all parts: some stores want equal ones.
        self._default_size = default_part_size(bucket.budget.limit, bucket.live_drafts)
        self._next_number = 1
        self._part_size = self._size_of_next()
        self._claim = Claim(bucket.budget, self._memory_needed)
        self._body = bytearray()  # the part that gathers, as large as the claim holds
        self._filled = 0  # its bytes so far
        self._part_began = -FAST_PART
        # Numbers and sizes of the parts in flight and stored, in the order of their bytes.
        self._sent: list[tuple[int, int]] = []
        self._parts: dict[int, SentPart] = {}  # the stored ones, by number
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: SluiceError | None = None
        self._note = ""  # its key
        self._staged = self._ended = False
        bucket.drafts[self._id] = self

    @property
    def written(self) -> int:
        return self._written

    @property
    def kept(self) -> int:
        """Bytes of the stored parts without a gap."""
        return sum(part.size for part in self._stored())

    def _stored(self) -> Iterator[SentPart]:
        """The parts that S3 has, up to the first that it does not have."""
        for number, _ in self._sent:
            if number not in self._parts:
                return
            yield self._parts[number]

    @property
    def failure(self) -> SluiceError | None:
        """Why S3 did not take a part, after all retries: a sender that pauses learns it too."""
        return None if self._ended else self._failure

    @property
    def _memory_needed(self) -> int:
        """Bytes that the part that gathers will need."""
        if self._size is None:
            return self._part_size
        return min(self._part_size, max(self._size - self._written, FIRST_MEMORY))

    async def write(self, data: Buffer) -> None:
        self._check()
        left = memoryview(data)
        while left:
            if self._filled == self._part_size:
                await self._submit_part()
            if self._filled == self._claim.held:
                await self._grow()
            size = min(len(left), self._claim.held - self._filled)
            self._body[self._filled : self._filled + size] = left[:size]
            self._filled += size
            self._written += size
            left = left[size:]
        more = self._size is not None and self._written < self._size
        if more and self._filled == self._part_size:
            await self._submit_part()

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, into the part that gathers."""
        self._check()
        began = time.monotonic()
        if self._filled == self._part_size:
            await self._submit_part()
        if self._filled == self._claim.held:
            await self._grow()
        waited, before = time.monotonic() - began, self._filled
        async with lent.turn():
            try:
                await lent.in_thread(lambda: self._receive(lent, update))
            finally:
                self._written += self._filled - before
                lent.destination_wait += waited
        return True

    def _receive(self, lent: LentConnection, update: Update) -> None:
        """In a thread: each piece is hashed while it is in the processor's cache."""
        start, room = self._filled, len(self._body)
        while lent.going and start < room:
            self._filled += lent.fill(self._body, start, min(start + PIECE, room))
            with memoryview(self._body) as body, body[start : self._filled] as view:
                update(view)
            start = self._filled

    async def read(self, start: int, size: int) -> bytes:
        self._check()
        end = min(start + size, self._written)
        if start >= end:
            return b""
        if self._upload is None:
            return bytes(memoryview(self._body)[start:end])
        await shield_until_done(self._stage(await self._finish_parts()))
        response = await self._bucket.get(self._key, (start, end))
        try:
            return await self._bucket.run(b"".join, response.blocks)
        finally:
            response.close()

    async def sync(self) -> int:
        """Does not wait: bytes that are not a whole part cannot be kept by themselves."""
        self._check()
        return self.kept

    async def truncate(self, offset: int) -> None:
        self._check()
        if offset != self._written:
            raise StoreFailed("Parts that S3 has cannot be cut; begin the upload anew")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        self._bucket.check_key(key)
        await shield_until_done(self._publish(key, metadata, replace))
        self._end()
        return await shield_until_done(
            self._bucket.confirm_published(key, self._id, self._written, metadata)
        )

    async def discard(self) -> None:
        if self._ended:
            return
        self._end()
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        try:
            await shield_until_done(self._clear())
        except SluiceError as error:
            log.warning(
                "The parts of an upload stay in the bucket until they are swept: %s", error.detail
            )

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        bucket = self._bucket
        if self._upload is None:
            del self._body[self._filled :]  # kept: a refused draft may be published in another way
            await bucket.put(key, self._body, metadata, self._id, replace)
            return
        parts = await self._finish_parts()
        kept = _kept(parts, metadata)
        in_place = key == self._key and _sent_first(self._request) == _sent_first(metadata)
        if in_place:
            noted = {*metadata.digests} - {*self._request.digests} - {*kept}
            if noted:
                self._note = await bucket.write_note(key, self._id, tuple(sorted(noted)))
            if not self._staged:
                await bucket.complete(key, self._upload, parts, self._id, replace)
        else:
            if self._key == self._request.key and not self._request.key_may_change:
                # the source of a copy must not be visible
                raise StoreFailed(
                    f"This draft was begun as {self._request.key!r}, {self._request.type}; "
                    f"it cannot become {key!r}, {metadata.type}"
                )
            await self._stage(parts)
            await bucket.copy(self._key, key, self._written, metadata, self._id, replace)
            await bucket.delete_quietly(self._key)
        self._upload = None

    async def _stage(self, parts: list[SentPart]) -> None:
        """Make an object of the parts, which then can be read and copied.

        Under an expected key it is visible: only what is new there, and only until it is published
        or discarded.
        """
        if not self._staged:
            hidden = self._key != self._request.key
            replace = REPLACE_ANY if hidden else Replace()
            await self._bucket.complete(self._key, self._upload or "", parts, self._id, replace)
            self._staged = True

    async def _finish_parts(self) -> list[SentPart]:
        """Wait until S3 has all parts. Returns them in order."""
        if self._filled:
            await self._submit_part()
        while self._in_flight:
            await self._wait_for_part()
        self._check()
        return [self._parts[number] for number, _ in self._sent]

    async def _clear(self) -> None:
        if self._upload is not None and not self._staged:
            await self._bucket.abort(self._key, self._upload)
        if self._staged and await self._bucket.is_draft(self._key, self._id):
            await self._bucket.delete(self._key)
        if self._note:
            await self._bucket.delete(self._note)

    async def _grow(self) -> None:
        """Get memory for more bytes of this part.

        All of it for a fast sender; else a little first, then twice as much each time.
        """
        claim = self._claim
        if self._filled == 0:
            now = time.monotonic()
            fast, self._part_began = now - self._part_began < FAST_PART, now
            only_part = self._size is not None and self._size <= self._part_size
            more = claim.need if only_part or fast else min(FIRST_MEMORY, claim.need)
        else:
            more = min(claim.held, claim.need)
        # Bytes over the promised length are refused by the caller, who counts them.
        await claim.grow(more or FIRST_MEMORY)
        grown = bytearray(claim.held)
        grown[: self._filled] = self._body
        self._body = grown

    async def _submit_part(self) -> None:
        """Send the part that has gathered, as soon as few enough are in flight."""
        fitting = self._most // self._part_size // self._bucket.live_drafts
        while len(self._in_flight) >= max(1, min(self._bucket.parts_in_flight, fitting)):
            await self._wait_for_part()
        self._check()
        if self._upload is None:
            await finish_then_cancel(self._begin())
        body, filled = self._body, self._filled
        self._body, self._filled = bytearray(), 0
        del body[filled:]
        number, self._next_number = self._next_number, self._next_number + 1
        self._sent.append((number, filled))
        self._part_size = self._size_of_next()
        memory = self._claim.submit(self._memory_needed)
        send = self._send(number, body, memory)
        self._in_flight.add(asyncio.get_running_loop().create_task(send))

    def _size_of_next(self) -> int:
        """Bytes of the part that begins behind all that was written."""
        return part_size(
            self._next_number, self._size, self._default_size, self._most, self._written
        )

    async def _begin(self) -> None:
        self._upload = await self._bucket.begin(self._key, self._request, self._id)
        if self._request.key_may_change and self._key == self._request.key:
            # parts cannot go to another key later: this one must still be free at the end
            taken = await self._bucket.is_begun(self._key, besides=self._upload)
            if taken or await self._bucket.etag(self._key) is not None:
                await self._bucket.abort(self._key, self._upload)
                self._key = DRAFTS + self._id
                self._upload = await self._bucket.begin(self._key, self._request, self._id)

    async def _send(self, number: int, body: bytearray, memory: int) -> None:
        try:
            self._parts[number] = await self._send_part(number, body)
        except SluiceError as error:
            self._failure = self._failure or error
        finally:
            self._claim.complete(memory)

    async def _send_part(self, number: int, body: bytearray) -> SentPart:
        return await self._bucket.send_part(self._key, self._upload or "", number, body)

    async def _wait_for_part(self) -> None:
        """Wait until a part is stored or has failed. Raises the failure."""
        _, self._in_flight = await asyncio.wait(
            self._in_flight, return_when=asyncio.FIRST_COMPLETED
        )
        self._check()

    def _end(self) -> None:
        self._ended = True
        self._claim.release()
        self._body, self._filled = bytearray(), 0
        if self._bucket.drafts.get(self._id) is self:
            del self._bucket.drafts[self._id]

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure


def _kept(parts: list[SentPart], metadata: Metadata) -> Pairs:
    """The digest that S3 keeps itself. Raises DigestMismatch where the parts have another one."""
    value = combined(parts) if parts[0].crc64nvme is not None else None
    if value is None:
        return ()
    if dict(metadata.digests).get(CRC64NVME, value.hex()) != value.hex():
        raise DigestMismatch(
            "The bytes that were sent to the bucket are not those that arrived; nothing was "
            "stored. Send it again"
        )
    return ((CRC64NVME, value.hex()),)


def _sent_first(metadata: Described) -> tuple[object, ...]:
    """What S3 takes with the first part only."""
    return metadata.filename, metadata.type, metadata.headers, metadata.user
