"""An upload to S3 under way: parts gather in memory lent by the budget, and a few are on their way at a time.

What fits into one part is one request at the end. A part stays in hand until S3 has it, so a failure is tried again without
the sender. What makes the object visible is the last request of all; without it nothing is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget, Claim
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.objects.metadata import DRAFTS, Description, described, format_note, note_key
from sluiceway.stores.objects.part_sizes import part_size, usual_part

if TYPE_CHECKING:
    from sluiceway.stores.objects.s3_uploads import (
        S3Bucket,
    )  # needs boto3, which Google and Azure do without
    from sluiceway.stores.objects.store import ObjectStore

__all__ = ["PartsDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

FLIGHT = 4  # parts of one upload under way; more gained nothing over loopback
FIRST = 64 << 10  # bytes lent to an upload that has just begun: they double as it fills them
QUICK = 1.0  # seconds for one part; the next one is lent at once, for growing moves what is there and holds it twice


class PartsDraft:
    """`label.key` is where the parts go at once. While nobody knows it they go to a draft's name, to be copied."""

    def __init__(
        self,
        store: ObjectStore,
        bucket: S3Bucket,
        budget: Budget,
        size: int | None,
        upload_request: UploadRequest,
    ) -> None:
        self._store, self._bucket, self._budget, self._size, self._label = (
            store,
            bucket,
            budget,
            size,
            upload_request,
        )
        self.id: str = uuid.uuid4().hex
        self._key = upload_request.key or DRAFTS + self.id
        self._upload: str | None = None  # S3's id, from the first part on
        self._written = 0
        self._usual = usual_part(
            budget.limit, store.live
        )  # once for all: some stores want parts of one size
        self._part = part_size(1, size, self._usual, self._most)
        self._claim = Claim(budget, self._whole)
        self._body, self._filled = (
            bytearray(),
            0,
        )  # the part that gathers, as large as the claim holds, and its bytes so far
        self._began = -QUICK  # when this part did
        self._sizes: list[int] = []  # of the parts on their way and there
        self._tags: dict[int, str] = {}  # of those that are there
        self._flying: set[asyncio.Task[None]] = set()
        self._failure: SluiceError | None = None
        self._noted = ""  # the note's key
        self._staged = self._ended = False

    @property
    def written(self) -> int:
        return self._written

    @property
    def kept(self) -> int:
        """Of the parts that are there without a gap."""
        total = 0
        for number, size in enumerate(self._sizes, 1):
            if number not in self._tags:
                break
            total += size
        return total

    @property
    def _most(self) -> int:
        """Bytes one part may have: half the budget, so that the next one can gather."""
        return self._budget.limit // 2

    @property
    def _whole(self) -> int:
        """Bytes of memory the part that gathers will need."""
        return (
            self._part
            if self._size is None
            else min(self._part, max(self._size - self._written, FIRST))
        )

    async def write(self, data: Buffer) -> None:
        self._check()
        left = memoryview(data)
        while left:
            if self._filled == self._part:
                await self._ship()
            if self._filled == self._claim.held:
                await self._borrow()
            size = min(len(left), self._claim.held - self._filled)
            self._body[self._filled : self._filled + size] = left[:size]
            self._filled += size
            self._written += size
            left = left[size:]
        if self._filled == self._part and self._size is not None and self._written < self._size:
            await self._ship()

    async def sync(self) -> int:
        """Does not wait: what is not a whole part cannot be kept by itself."""
        self._check()
        return self.kept

    async def truncate(self, offset: int) -> None:
        self._check()
        if offset != self._written:
            raise StoreFailed("Parts that S3 has cannot be cut; begin the upload anew")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        self._store.check_key(key)
        await shield_until_done(self._publish(key, metadata, replace))
        self._ended = True
        self._store.ended(self)
        self._settle()
        return await shield_until_done(self._store.made(key, self.id, self._written, metadata))

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._settle()
        if self._flying:
            await asyncio.wait(self._flying)
        self._store.ended(self)
        try:
            await shield_until_done(self._clear())
        except SluiceError as error:
            log.warning(
                "What was sent of an upload stays in the bucket until it is swept: %s", error.detail
            )

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        said = self._label
        told = described(self.id, metadata)
        if self._upload is None:
            del self._body[
                self._filled :
            ]  # and kept: who was refused may publish it in another way
            await self._bucket.put(key, self._body, told, replace)
            return
        if self._filled:
            await self._ship()
        while self._flying:
            await self._land()
        self._check()
        tags = [self._tags[number] for number in range(1, len(self._sizes) + 1)]
        if key == self._key and _told_before(said) == _told_before(metadata):
            if metadata.sha256 != said.sha256 and metadata.sha256 is not None:
                self._noted = note_key(key, self.id)
                await self._bucket.put(
                    self._noted,
                    format_note(key, metadata.sha256),
                    Description("application/json", (), {"draft": self.id}),
                    ANY,
                )
            await self._bucket.complete(key, self._upload, tags, self.id, replace)
        else:
            if self._key == said.key:  # the copy's source must not be visible
                raise StoreFailed(
                    f"This draft was begun as {said.key!r}, {said.type}; it cannot become {key!r}, {metadata.type}"
                )
            await self._bucket.complete(self._key, self._upload, tags, self.id, ANY)
            self._staged = True
            await self._bucket.copy(self._key, key, self._written, told, replace)
            await self._drop(self._key)
        self._upload = None

    async def _drop(self, key: str) -> None:
        try:
            await self._bucket.delete(key)
        except SluiceError as error:  # the object is there and stands
            log.warning("A draft's bytes stay in the bucket until they are swept: %s", error.detail)

    async def _clear(self) -> None:
        if self._upload is not None:
            await self._bucket.abort(self._key, self._upload)
        if self._staged:
            await self._bucket.delete(self._key)
        if self._noted:
            await self._bucket.delete(self._noted)

    async def _borrow(self) -> None:
        """Memory for more bytes of this part: all of it for a quick sender, else a little first, then twice as much each time."""
        claim = self._claim
        if self._filled == 0:
            quick, self._began = time.monotonic() - self._began < QUICK, time.monotonic()
            one = self._size is not None and self._size <= self._part
            more = claim.need if one or quick else min(FIRST, claim.need)
        else:
            more = min(claim.held, claim.need)
        await claim.grow(
            more or FIRST
        )  # bytes over the promised length are refused by who counts them
        grown = bytearray(claim.held)
        grown[: self._filled] = self._body
        self._body = grown

    def _take(self) -> bytearray:
        """The part, as long as it is filled; the next one begins."""
        body, filled = self._body, self._filled
        self._body, self._filled = bytearray(), 0
        del body[filled:]
        return body

    async def _ship(self) -> None:
        """Send the part that has gathered, when few enough are on their way."""
        while len(self._flying) >= max(
            1, min(FLIGHT, self._most // self._part // self._store.live)
        ):
            await self._land()
        self._check()
        if self._upload is None:
            await finish_then_cancel(self._begin())
        body = self._take()
        self._sizes.append(len(body))
        number = len(self._sizes)
        self._part = part_size(number + 1, self._size, self._usual, self._most)
        self._flying.add(
            asyncio.get_running_loop().create_task(
                self._send(number, body, self._claim.submit(self._whole))
            )
        )

    async def _begin(self) -> None:
        self._upload = await self._bucket.begin(self._key, described(self.id, self._label))

    async def _send(self, number: int, body: bytearray, shipped: int) -> None:
        try:
            self._tags[number] = await self._bucket.send(
                self._key, self._upload or "", number, body
            )
        except SluiceError as error:
            self._failure = self._failure or error
        finally:
            self._claim.complete(shipped)

    async def _land(self) -> None:
        """Wait until a part has arrived, or failed."""
        _, self._flying = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
        self._check()

    def _settle(self) -> None:
        self._claim.release()
        self._body, self._filled = bytearray(), 0

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure


def _told_before(metadata: Metadata | UploadRequest) -> tuple[object, ...]:
    """What S3 takes with the first part only."""
    return metadata.filename, metadata.type, metadata.headers, metadata.user


ANY = Replace(allowed=True)
