"""An upload to Google Cloud Storage or Azure under way: one streaming write to a draft's key.

obstore cuts it into parts and retries them. An object of one part is one request at the end. At the
end a copy inside the cloud, which refuses a key that is taken, makes the object. Knows nothing of
readers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluiceway.errors import Cancelled, Exists, PreconditionFailed, SluiceError, StoreFailed
from sluiceway.pipe.budget import Claim
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Pairs, Replace, UploadRequest
from sluiceway.stores.objects.metadata import DRAFTS
from sluiceway.stores.objects.part_sizes import default_part_size, part_size

if TYPE_CHECKING:  # needs obstore, which S3 does without
    from sluiceway.stores.objects.cloud_bucket import CloudBucket

__all__ = ["StagedDraft"]

PARTS_IN_FLIGHT = 2  # obstore holds one more that gathers
QUEUED_CHUNKS = 4  # between the sender and obstore
# Seconds without a chunk, after which obstore gets an empty one: only when it takes a chunk does it
# look at its parts in flight.
LOOK_AT_PARTS_EVERY = 0.5


class StagedDraft:
    """obstore does not tell how much is stored before the end, so `kept` stays 0."""

    def __init__(
        self, bucket: CloudBucket, size: int | None, upload_request: UploadRequest
    ) -> None:
        self._bucket, self._request = bucket, upload_request
        self._id = uuid.uuid4().hex
        self._staged_key = DRAFTS + self._id
        limit = bucket.budget.limit
        default = default_part_size(limit, bucket.live_drafts)
        self._part_size = part_size(1, size, default, limit // (PARTS_IN_FLIGHT + 2))
        memory = self._part_size * (PARTS_IN_FLIGHT + 1)
        if size is not None and size <= self._part_size:
            memory = max(1, size)
        self._claim = Claim(bucket.budget, memory)
        self._held: list[Buffer] = []  # until it is more than a part
        self._written = 0
        self._chunks: asyncio.Queue[Buffer | None] = asyncio.Queue(QUEUED_CHUNKS)
        self._writing: asyncio.Task[None] | None = None
        self._note = ""  # its key
        self._staged = self._ended = self._given_up = False
        bucket.drafts[self._id] = self

    @property
    def written(self) -> int:
        return self._written

    @property
    def kept(self) -> int:
        return 0

    @property
    def failure(self) -> SluiceError | None:
        """Why obstore gave up, after all retries: a sender that pauses learns it too.

        obstore looks at its parts only while PARTS_IN_FLIGHT of them are not done with. When fewer
        are, the failure of one is known with the next part, or when the draft is published.
        """
        writing = self._writing
        if self._ended or self._given_up or writing is None:
            return None
        if not writing.done() or writing.cancelled():
            return None
        error = writing.exception()
        return error if isinstance(error, SluiceError) else None

    async def write(self, data: Buffer) -> None:
        self._check()
        if self._claim.held == 0:
            await self._claim.grow(min(self._part_size, self._claim.whole))
        self._written += len(data)
        if self._writing is not None:
            await self._feed(data)
            return
        self._held.append(data)
        if self._written > self._part_size:
            await self._claim.grow(self._claim.need)
            self._writing = asyncio.get_running_loop().create_task(self._write_parts())
            held, self._held = self._held, []
            for chunk in held:
                await self._feed(chunk)

    async def sync(self) -> int:
        self._check()
        return 0

    async def truncate(self, offset: int) -> None:
        self._check()
        if offset != self._written:
            raise StoreFailed("Bytes that were sent there cannot be cut; begin the upload anew")

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
        self._given_up = True
        if self._writing is not None and not self._writing.done():
            await self._give_up(self._writing)
        self._end()
        if self._staged:
            await shield_until_done(self._bucket.delete_quietly(self._staged_key))
        if self._note:
            await shield_until_done(self._bucket.delete_quietly(self._note))

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        bucket = self._bucket
        async with bucket.locks.acquire(key):
            if replace.etag is not None and await bucket.etag(key) != replace.etag:
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            try:
                if self._writing is None:
                    await bucket.put(key, b"".join(self._held), metadata, self._id, replace)
                else:
                    await self._finish_parts(self._writing, key, metadata.digests)
                    await bucket.copy(self._staged_key, key, overwrite=replace.allowed)
            except SluiceError as error:
                # Where it was made, only the response was lost.
                if not await bucket.is_draft(key, self._id):
                    if isinstance(error, PreconditionFailed) and not replace.allowed:
                        raise Exists(
                            f"There is already an object {key!r}; it was not touched"
                        ) from error
                    raise
        if self._staged:
            await bucket.delete_quietly(self._staged_key)

    async def _finish_parts(self, writing: asyncio.Task[None], key: str, digests: Pairs) -> None:
        """Store everything at the draft's key, and the digests in a note beside the object."""
        await self._feed(None)
        await writing
        self._staged = True
        if digests != self._request.digests:
            self._note = await self._bucket.write_note(key, self._id, digests)

    async def _write_parts(self) -> None:
        await self._bucket.put_in_parts(
            self._staged_key,
            self._take_chunks(asyncio.get_running_loop()),
            self._request,
            self._id,
            self._part_size,
            PARTS_IN_FLIGHT,
        )

    def _take_chunks(self, loop: asyncio.AbstractEventLoop) -> Iterator[Buffer]:
        """Runs in obstore's thread. An error raised here makes obstore take back what it sent."""
        while True:
            getting = asyncio.run_coroutine_threadsafe(self._chunks.get(), loop)
            while not concurrent.futures.wait([getting], LOOK_AT_PARTS_EVERY).done:
                yield b""
            chunk = getting.result()
            if chunk is None:
                break
            yield chunk
        if self._given_up:
            raise Cancelled("The upload was given up")

    async def _feed(self, chunk: Buffer | None) -> None:
        """Pass a chunk to the write under way; None is its end. Raises the error of the write."""
        writing = self._writing
        if writing is None:
            return
        feeding = asyncio.ensure_future(self._chunks.put(chunk))
        try:
            await asyncio.wait([feeding, writing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            feeding.cancel()
        if writing.done() and (chunk is not None or writing.exception() is not None):
            writing.result()
            raise StoreFailed("The destination ended the upload before all bytes were sent")

    async def _give_up(self, writing: asyncio.Task[None]) -> None:
        while self._chunks.full():
            self._chunks.get_nowait()
        self._chunks.put_nowait(None)
        await shield_until_done(asyncio.wait([writing]))
        if not writing.cancelled():
            writing.exception()  # retrieved: it was given up

    def _end(self) -> None:
        self._ended = True
        self._claim.release()
        self._held = []
        self._bucket.drafts.pop(self._id, None)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
