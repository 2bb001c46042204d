"""An upload to Google Cloud Storage or Azure under way: one streaming put to a draft's name, moved at the end.

obstore cuts it into parts and sends them again where that fails. What fits into one part is one request at the end. The move
is a copy inside the cloud that says no where the key is taken; the bytes do not come here again.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import obstore

from sluiceway.errors import Cancelled, Exists, PreconditionFailed, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget, Claim
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.objects.metadata import DRAFTS, Description, described, format_note, note_key
from sluiceway.stores.objects.part_sizes import part_size, usual_part

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Bucket

    from sluiceway.stores.objects.store import ObjectStore

__all__ = ["StagedDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

FLIGHT = 2  # parts under way; obstore holds one more that gathers
PIECES = 4  # chunks between the sender and obstore


class StagedDraft:
    """Nobody can say what is kept before the end: `kept` stays 0."""

    def __init__(
        self,
        store: ObjectStore,
        bucket: Bucket,
        budget: Budget,
        size: int | None,
        upload_request: UploadRequest,
    ) -> None:
        self._store, self._bucket, self._size, self._label = store, bucket, size, upload_request
        self.id: str = uuid.uuid4().hex
        self._part = part_size(
            1, size, usual_part(budget.limit, store.live), budget.limit // (FLIGHT + 2)
        )
        one = size is not None and size <= self._part
        self._claim = Claim(budget, max(1, size or 0) if one else self._part * (FLIGHT + 1))
        self._held: list[Buffer] = []  # until it is more than a part
        self._written = 0
        self._pieces: asyncio.Queue[Buffer | None] = asyncio.Queue(PIECES)
        self._putting: asyncio.Task[None] | None = None
        self._noted = ""  # the note's key
        self._staged = self._ended = self._dropped = False

    @property
    def written(self) -> int:
        return self._written

    @property
    def kept(self) -> int:
        return 0

    async def write(self, data: Buffer) -> None:
        self._check()
        if self._claim.held == 0:
            await self._claim.grow(min(self._part, self._claim.whole))
        self._written += len(data)
        if self._putting is not None:
            await self._give(data)
            return
        self._held.append(data)
        if self._written > self._part:
            await self._claim.grow(self._claim.need)
            self._putting = asyncio.get_running_loop().create_task(self._put())
            held, self._held = self._held, []
            for piece in held:
                await self._give(piece)

    async def sync(self) -> int:
        self._check()
        return 0

    async def truncate(self, offset: int) -> None:
        self._check()
        if offset != self._written:
            raise StoreFailed("What was sent there cannot be cut; begin the upload anew")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        self._store.check_key(key)
        await shield_until_done(self._publish(key, metadata, replace))
        self._end()
        return await shield_until_done(self._store.made(key, self.id, self._written, metadata))

    async def discard(self) -> None:
        if self._ended:
            return
        putting, self._dropped = self._putting, True
        if putting is not None and not putting.done():
            await self._give_up(putting)
        self._end()
        try:
            for key, there in ((DRAFTS + self.id, self._staged), (self._noted, self._noted)):
                if there:
                    await shield_until_done(self._drop(key))
        except SluiceError as error:
            log.warning(
                "What was sent of an upload stays in the bucket until it is swept: %s", error.detail
            )

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        told, run = _attributes(described(self.id, metadata)), self._store.reads.run
        async with self._store.lock(key):
            if replace.etag is not None and (await self._store.tag(key)) != replace.etag:
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            try:
                if self._putting is None:
                    body = b"".join(self._held)
                    mode: Literal["overwrite", "create"] = (
                        "overwrite" if replace.allowed else "create"
                    )
                    await run(
                        obstore.put,
                        self._bucket,
                        key,
                        body,
                        attributes=told,
                        mode=mode,
                        use_multipart=False,
                    )
                else:
                    await self._stage(self._putting, key, metadata.sha256)
                    await run(
                        obstore.copy, self._bucket, DRAFTS + self.id, key, overwrite=replace.allowed
                    )
            except SluiceError as error:
                if not await self._store.is_draft(
                    key, self.id
                ):  # else it was made, and the answer was lost
                    if isinstance(error, PreconditionFailed) and not replace.allowed:
                        raise Exists(
                            f"There is already an object {key!r}; it was not touched"
                        ) from error
                    raise
        if self._staged:
            await self._drop(DRAFTS + self.id)

    async def _stage(self, putting: asyncio.Task[None], key: str, sha256: str | None) -> None:
        """Everything is at the draft's name, and what could not be said before stands beside the key."""
        await self._give(None)
        await putting
        self._staged = True
        if sha256 is not None and sha256 != self._label.sha256:
            self._noted = note_key(key, self.id)
            await self._store.reads.run(
                obstore.put, self._bucket, self._noted, format_note(key, sha256)
            )

    async def _put(self) -> None:
        await self._store.reads.run(
            obstore.put,
            self._bucket,
            DRAFTS + self.id,
            self._chunks(asyncio.get_running_loop()),
            attributes=_attributes(described(self.id, self._label)),
            use_multipart=True,
            chunk_size=self._part,
            max_concurrency=FLIGHT,
        )

    def _chunks(self, loop: asyncio.AbstractEventLoop) -> Iterator[Buffer]:
        """In obstore's thread. An error raised here makes it take back what it has sent."""
        while (
            piece := asyncio.run_coroutine_threadsafe(self._pieces.get(), loop).result()
        ) is not None:
            yield piece
        if self._dropped:
            raise Cancelled("The upload was given up")

    async def _give(self, piece: Buffer | None) -> None:
        """To the put under way; raises what it failed with."""
        putting = self._putting
        if putting is None:
            return
        giving = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait([giving, putting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            giving.cancel()
        if putting.done() and (piece is not None or putting.exception() is not None):
            putting.result()
            raise StoreFailed("The put ended before its bytes did")

    async def _give_up(self, putting: asyncio.Task[None]) -> None:
        while self._pieces.full():
            self._pieces.get_nowait()
        self._pieces.put_nowait(None)
        await shield_until_done(asyncio.wait([putting]))
        if not putting.cancelled():
            putting.exception()  # seen; it was given up

    async def _drop(self, key: str) -> None:
        try:
            await self._store.reads.run(obstore.delete, self._bucket, key)
        except SluiceError as error:  # what was to be published stands, or never was
            log.warning("A draft's bytes stay in the bucket until they are swept: %s", error.detail)

    def _end(self) -> None:
        self._ended = True
        self._claim.release()
        self._held = []
        self._store.ended(self)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")


def _attributes(said: Description) -> dict[str, str]:
    """As obstore takes them: headers by their names, everything else is metadata. It knows no Expires."""
    headers = {name.title(): value for name, value in said.headers if name != "expires"}
    return {**said.metadata, **headers, "Content-Type": said.type}
