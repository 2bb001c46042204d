"""An upload at a backend that takes pieces, as a draft: kept is what the backend acknowledged.

Bytes go there in pieces of known length. The last byte is withheld until the file was checked, and
is kept in the ledger meanwhile: so a file that is wrong or cut never looks complete over there.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace as changed

from sluiceway.client.http.exchange import Response
from sluiceway.errors import BadDigest, Gone, StoreFailed, TooLarge, Unavailable
from sluiceway.pipe.budget import BLOCK, Block, Budget
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.lent_block import LentBlock
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.backend_upload import BackendUpload
from sluiceway.stores.relay.errors import addresses_hidden
from sluiceway.stores.relay.response import relayed_entry
from sluiceway.stores.relay.upload_state import UploadState
from sluiceway.stores.unpublished import SavedDraft
from sluiceway.wire.headers.digests import WANTED, parse_digests

__all__ = ["MOST_PIECE", "BackendDraft"]

# Bytes of one append. Each costs a round trip and the backend's wait for its disk, and is held here
# until it is acknowledged; with less memory left, pieces are smaller. Clients of tus cut files into
# 5 or 8 MB: a piece with a wrong checksum is forgotten before it was sent on.
MOST_PIECE = 8 << 20
SHARE = 0.5  # of the memory for all uploads, that may be in use when a piece grows
TAIL = 1  # byte that is withheld
NEARLY = 64 << 10  # bytes that the next chunk brings: sent with what waits, in one request


class BackendDraft:
    """`size`: bytes of the whole, where known; `kept`: as `BackendUploads.resume` found it."""

    def __init__(
        self,
        backend: Backend,
        at_backend: BackendUpload,
        state: UploadState,
        budget: Budget | None,
        size: int | None,
        kept: int = 0,
        complete: bool = False,
    ) -> None:
        self._backend, self._at_backend, self._state = backend, at_backend, state
        self._budget, self._size = budget, size
        self._sent = kept - len(state.tail)  # bytes that the backend has
        self._waiting: list[Buffer] = [state.tail] if state.tail else []
        self._held = 0  # bytes of the budget
        # Those that threads filled, of what waits; and the one that they fill now.
        self._blocks: list[Block] = []
        self._drawn = None if budget is None else LentBlock(budget)
        self._complete = complete  # the file is there: to discard the draft must not delete it
        self._ended = self._failed = self._emptied = False
        self._expected: dict[str, bytes] = {}  # digests that the backend must confirm
        self.written: int = kept
        self.kept: int = kept

    async def write(self, data: Buffer) -> None:
        self._check()
        if self._size is not None and self.written + len(data) > self._size:
            raise TooLarge(f"More than {self._size} bytes arrived", limit=self._size)
        if not len(data):
            return
        self._take_drawn()
        self._waiting.append(data)
        self.written += len(data)
        if self.written - self._sent > MOST_PIECE or not self._hold(len(data)):
            await finish_then_cancel(self._send())

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, into a block of the piece that gathers."""
        self._check()
        began, drawn = time.monotonic(), self._drawn
        if self._size is not None:
            lent.limit(self._size - self.written)
        if drawn is None or lent.ended or not await self._begin_block(drawn):
            return False
        waited, before = time.monotonic() - began, drawn.filled
        try:
            await drawn.draw(lent, update)
        finally:
            self.written += drawn.filled - before
            lent.destination_wait += waited
        if lent.ended:
            await self._send_at_pause(lent)
        return True

    async def sync(self) -> int:
        """Send what waits. After a failure nothing more is kept."""
        if self._emptied or self._failed or self._ended or self._state.unchecked:
            return self.kept
        await finish_then_cancel(self._send())
        return self.kept

    async def truncate(self, offset: int) -> None:
        """Forget bytes that were not sent on. Others cannot be taken back: raises Gone, unless
        nothing is to stay, and the next draft is another upload."""
        if self._failed:  # the next holder asks the backend what is there
            raise Unavailable("The destination cannot be reached now; go on later")
        self.hold_back(False)
        if offset >= self.written:
            return
        self._take_drawn()
        if offset >= self._sent:
            rest = b"".join(self._waiting)[: offset - self._sent]
            self._waiting, self.written = [rest] if rest else [], offset
            self._release()
            return
        await self.discard()
        if offset == 0:
            self.written = self.kept = 0
            self._emptied = True
            return
        raise Gone("What was sent on cannot be taken back; send the file again")

    def hold_back(self, active: bool) -> None:
        """What comes now may prove wrong. As much of it as one piece has waits here."""
        self._state = changed(self._state, unchecked=active)

    async def read_back(self) -> AsyncGenerator[Buffer]:
        with addresses_hidden():
            if self._sent:
                async with aclosing(self._at_backend.read_back(self._sent)) as chunks:
                    async for data in chunks:
                        yield data
        if self._state.tail:
            yield self._state.tail

    def must_confirm(self, expected: dict[str, bytes]) -> None:
        """Another process saw some of the bytes: only the backend can compare these digests.

        Raises Gone where it does not compare any.
        """
        if expected and self._state.protocol != "ietf":
            raise Gone(
                "The digest of the whole file cannot be checked: this server was interrupted, and "
                "the destination does not give back the bytes before; send the file again"
            )
        self._expected = dict(expected)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """The last byte completes the upload. Raises Unavailable where that may be tried again."""
        self._check()
        response = await shield_until_done(self._finish())
        self._ended = True
        self._release()
        return relayed_entry(self._backend, key, self.written, metadata, response)

    async def discard(self) -> None:
        if not self._ended:
            self._ended = True
            self._forget()
            if not self._complete:
                await self._at_backend.terminate()

    def save(self) -> SavedDraft:
        return SavedDraft("" if self._emptied else self._state.write())

    def saved(self) -> None: ...

    async def suspend(self) -> None:
        self._ended = True
        self._forget()

    # Inside

    def _check(self) -> None:
        if self._ended or self._failed:
            raise StoreFailed("This draft has ended already")

    def _hold(self, size: int) -> bool:
        if self._budget is not None:
            if not self._budget.acquire(size, SHARE):
                return False
            self._held += size
        return True

    async def _begin_block(self, drawn: LentBlock) -> bool:
        """Have a block that a thread may fill. False when others hold all memory."""
        if drawn.is_full:
            self._take_drawn()
        whole = self.written - self._sent + BLOCK - TAIL > MOST_PIECE
        shared = len(self._blocks) >= drawn.share and not self._state.unchecked
        if not drawn.filled and (whole or shared):
            await finish_then_cancel(self._send())
        if not drawn.begin() and self._blocks:
            await finish_then_cancel(self._send())
        return drawn.begin()

    async def _send_at_pause(self, lent: LentConnection) -> None:
        """A sender that paused holds no memory. One that is nearly done will bring the rest."""
        self._take_drawn()
        nearly = self._size is not None and self._size - self.written <= NEARLY
        if not nearly and not self._state.unchecked:
            began = time.monotonic()
            await finish_then_cancel(self._send())
            lent.destination_wait += time.monotonic() - began

    def _take_drawn(self) -> None:
        """What threads received waits behind what was written."""
        if self._drawn is not None and self._drawn.filled:
            block, data = self._drawn.take()
            self._blocks.append(block)
            self._waiting.append(data)

    def _release(self) -> None:
        if self._budget is not None:
            self._budget.release(self._held)
        self._held = 0
        blocks, self._blocks = self._blocks, []
        if self._drawn is not None:
            for block in blocks:
                self._drawn.back(block)
            self._drawn.release()

    def _forget(self) -> None:
        self._waiting = []
        self._release()

    async def _send(self, end: bool = False) -> None:
        """Send all that waits but the tail."""
        self._take_drawn()
        count = self.written - self._sent - TAIL
        tail = b"" if not self._waiting else bytes(memoryview(self._waiting[-1])[-TAIL:])
        if count > 0:
            last = memoryview(self._waiting[-1])[:-TAIL]
            piece: list[Buffer] = [*self._waiting[:-1], last]
            try:
                with addresses_hidden():
                    await self._at_backend.append(piece, self._sent, self._state.unchecked)
            except BaseException:
                self._failed = True
                self._forget()
                raise
            self._sent += count
            self._waiting = [tail]
            self._release()
        self._state = changed(self._state, tail=tail)
        self.kept = self.written

    async def _finish(self) -> Response:
        """Raises what speaks against success."""
        await self._send()
        extra = {}
        if self._expected:
            extra["want-repr-digest"] = WANTED
        try:
            with addresses_hidden():
                response = await self._at_backend.finish(self._state.tail, self._sent, extra)
        except BaseException:
            self._failed = True
            raise
        if not self._confirms(response):
            raise self._at_backend.lost(
                "it did not confirm the digest of the whole file",
                "The destination did not confirm the digest of the file; "
                "look whether it is there, or send it again",
            )
        return response

    def _confirms(self, response: Response) -> bool:
        if not self._expected:
            return True
        try:
            found = parse_digests(None, response.head.headers.get("repr-digest"))
        except BadDigest:
            return False
        named = {promise.algorithm: promise.value for promise in found}
        return all(named.get(name) == value for name, value in self._expected.items())
