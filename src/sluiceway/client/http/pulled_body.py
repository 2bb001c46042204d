"""A request's body on its way out: head, a source's bytes, tail. Counted and hashed as they go, and stoppable.

Knows what a Source is; knows nothing of the HTTP library that asks for the bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sluiceway.client.http.socket_progress import SocketProgress
from sluiceway.errors import BodyCut, DigestMismatch, SluiceError, SourceFailed, TooLarge
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import ANSWER, DESTINATION, QUEUE, Stages
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.wire.headers.digests import Promise

__all__ = ["Body", "Write"]

LEAVE_DEADLINE = 5.0  # seconds: a read from a dead network drive must not hold up the error

Write = Callable[[Buffer], Awaitable[None]]


class Body:
    """One body for one or, where the source can be read again, several requests; the last one's figures count.

    `promises` are digests the source was told to have; other bytes are never let go whole. `stages` learns where time goes.
    """

    def __init__(
        self,
        source: Source,
        head: bytes = b"",
        tail: bytes = b"",
        *,
        promises: Sequence[Promise] = (),
        stages: Stages | None = None,
    ) -> None:
        self.source = source
        self.head = head
        self.tail = tail
        self._promises = promises
        self._stages = stages or Stages()
        self.started: bool = False  # the source was opened: bytes of a passing stream are gone
        self.failure: SluiceError | None = None  # why the source ended early
        self.sent: int = 0  # bytes of the source that `write` took
        self.handed: int = (
            0  # bytes of the whole body given to `write`, the piece under way included
        )
        self.ended: float | None = (
            None  # when the last piece was taken, in seconds of time.monotonic()
        )
        self.line: SocketProgress | None = None  # the connection it goes over, while it does
        self.sha256: str | None = None  # of the source, once all of it was sent
        self._at_source = False  # an OSError now is the source's, not the peer's
        self._halted = False
        self._leaving = False  # a write failed, the source is being closed
        self._held: Buffer | None = None
        self._write: Write | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def length(self) -> int | None:
        """Bytes of the whole body."""
        return (
            None
            if self.source.length is None
            else len(self.head) + self.source.length + len(self.tail)
        )

    @property
    def repeatable(self) -> bool:
        return self.source.reopenable

    @property
    def again(self) -> bool:
        """Whether the body can be sent in another request."""
        return self.source.reopenable or not self.started

    @property
    def complete(self) -> bool:
        """Whether the last piece was let go: only then can a 2xx mean the whole."""
        return self.sha256 is not None

    def rewind(self) -> None:
        """Before each request: forget how far the last one came, so that its figures never speak for this one."""
        self.failure, self.ended = None, None
        self.sent, self.handed, self.sha256, self._held = 0, 0, None, None
        self._halted = self._leaving = False

    def halt(self) -> None:
        """An answer came before the end: write nothing more. Whoever drives `send` cancels it."""
        self._halted = True

    async def send(self, write: Write) -> None:
        """Write all of it. Raises SourceFailed, SourceSpent (also kept as `failure`) and whatever `write` raises.

        The last piece goes out only when the source has ended well and its digest is known: a source that fails at its
        very end never looks complete to the peer, and an answer never comes before the digest.
        """
        # A task of its own: the HTTP library cancels more than once, and the second would cut the source's clean-up short.
        self._sender = asyncio.ensure_future(self._send(write))
        try:
            await asyncio.shield(self._sender)
        except asyncio.CancelledError:
            if (
                not self._leaving
            ):  # a write failed already: what cleans up behind it must not be cut short
                self._sender.cancel()
            raise

    async def left(self) -> None:
        """Wait until a `send` that was cancelled has let go of the source: its file is closed then."""
        if self._sender is not None:
            done, _ = await asyncio.wait({self._sender}, timeout=LEAVE_DEADLINE)
            for sender in done:
                if not sender.cancelled():
                    sender.exception()  # seen: it was told to whoever awaited `send`, or came after the answer

    async def _send(self, write: Write) -> None:
        self.rewind()
        self.started, self._write = True, write
        digests = Digests(
            dict.fromkeys(["sha-256", *(promise.algorithm for promise in self._promises)])
        )
        stages = self._stages
        try:
            stages.enter(DESTINATION)
            if self.head:
                await self._out(self.head)
            stages.enter(QUEUE)
            self._at_source = True
            # The limit stops what is too long before the sink sees it: what was held back until then stays held back.
            await pump(
                TimedSource(self.source, stages),
                self,
                taps=(digests,),
                limit=self.source.length,
                stages=stages,
            )
            found = await digests.finish()
            self._at_source = False
            self._check(found)
            self.sha256 = found["sha-256"].hex()
            stages.enter(DESTINATION)
            if self._held is not None:
                await self._out(self._held)
                self.sent += len(self._held)
            if self.tail:
                await self._out(self.tail)
            self.ended = time.monotonic()
            if self.line is None or self.line.acknowledged >= self.handed:
                stages.enter(ANSWER)
        except BodyCut as error:
            came = self.sent + (len(self._held) if self._held is not None else 0)
            self.failure = SourceFailed(
                f"The source ended after {came} of {self.source.length} bytes; nothing was stored"
            )
            raise self.failure from error
        except TooLarge as error:
            self.failure = SourceFailed(
                f"The source goes on after its {self.source.length} bytes; nothing was stored"
            )
            raise self.failure from error
        except OSError as error:
            if not self._at_source:
                raise  # the peer's side, for the transport to name
            self.failure = SourceFailed(f"The source cannot be read: {error.strerror or error}")
            raise self.failure from error
        except SluiceError as error:
            self.failure = error
            raise
        finally:
            self._at_source, self._held = False, None
            await digests.aclose()

    def _check(self, found: Mapping[str, bytes]) -> None:
        for promise in self._promises:
            if found[promise.algorithm] != promise.value:
                raise DigestMismatch(
                    f"The source has another {promise.algorithm} than it told; nothing was stored, try again"
                )

    # The sink the pump writes to: the peer keeps, this side only hands on.
    kept = 0

    async def sync(self) -> int:
        return self.kept

    async def write(self, data: Buffer) -> None:
        held, self._held = self._held, data
        if held is not None:
            self._at_source = False
            await self._out(held)
            self.sent += len(held)
            self._at_source = True

    async def _out(self, data: Buffer) -> None:
        if self._halted:
            await asyncio.get_running_loop().create_future()  # ends by cancellation only
        if self._write is None:
            raise SluiceError("A body is written by send()")
        self.handed += len(data)
        try:
            await self._write(data)
        except BaseException:
            self._leaving = True
            raise
