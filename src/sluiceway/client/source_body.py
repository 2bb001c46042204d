"""A source as the body of a request: head, the source's bytes, tail, counted and hashed on the way.

The last piece is withheld until the source has ended well and its digests fit: a source that fails
at its very end never looks complete to the peer. Knows nothing of the HTTP library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sluiceway.client.http.exchange import Response
from sluiceway.client.http.request import EarlyResponse, StreamingRequest
from sluiceway.errors import BodyCut, DigestMismatch, SourceFailed, TooLarge
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.digests import Digests, RunningDigests
from sluiceway.pipe.hashes import SHA256, digest_of
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Buffer, Source, all_at_hand
from sluiceway.pipe.stages import ANSWER, DESTINATION, QUEUE, SOURCE, Stages
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.wire.headers.digests import Promise

__all__ = ["SourceBody"]


class SourceBody:
    """One body for one or, where the source can be read again, several requests.

    Its figures are those of the last request. `promises` are digests that the source must have;
    other bytes are never sent whole. `algorithms` are counted besides. `stages` learns where time
    goes. With `running`, the source is a piece of a longer one, whose digests go on there;
    `last` tells the piece whose end they are compared at.
    """

    def __init__(
        self,
        source: Source,
        head: bytes = b"",
        tail: bytes = b"",
        *,
        promises: Sequence[Promise] = (),
        algorithms: Sequence[str] = (SHA256,),
        stages: Stages | None = None,
        running: RunningDigests | None = None,
        last: bool = True,
    ) -> None:
        self.source = source
        self.head = head
        self.tail = tail
        self._promises = promises
        self._algorithms = (*algorithms, *(promise.algorithm for promise in promises))
        self._stages = stages or Stages()
        self._running, self._last = running, last
        self._request: StreamingRequest | None = None
        self._withheld: Buffer | None = None
        self._found: Mapping[str, bytes] = {}  # digests of a body in memory
        self._budget = Budget(MINIMUM)  # of blocks for a large source that lends itself
        self.started: bool = False  # the source was opened: bytes of a passing stream are gone
        self.sent: int = 0  # bytes of the source that were written
        # Of the source, by algorithm, once it has ended well.
        self.digests: Mapping[str, bytes] | None = None
        self.written: bool = False  # all of the body was written: a 2xx can mean the whole

    @property
    def length(self) -> int | None:
        """Bytes of the whole body."""
        if self.source.length is None:
            return None
        return len(self.head) + self.source.length + len(self.tail)

    def whole(self) -> bytes | None:
        """All of the body, where the source has it in memory; None for another one.

        `send` is not called for it, but `whole_sent`. Raises DigestMismatch for a broken promise.
        """
        data = all_at_hand(self.source)
        if data is None or len(data) != self.source.length:
            return None
        self.sent, self.digests, self.written = 0, None, False
        self._found = {name: digest_of(name, data) for name in dict.fromkeys(self._algorithms)}
        self._check(self._found)
        return b"".join((self.head, data, self.tail))

    def whole_sent(self, written: bool) -> None:
        """The peer may have all of it; `written`: our kernel took all of it."""
        self.sent, self.digests, self.written = self.source.length or 0, self._found, written

    @property
    def may_send(self) -> bool:
        """Whether the body can be sent in another request."""
        return self.source.reopenable or not self.started

    @property
    def complete(self) -> bool:
        """Whether the last piece was let go, so that the peer may have the whole body."""
        return self.digests is not None

    async def send(self, request: StreamingRequest) -> Response:
        """Send all of it and return the response, which may come before the end (see `written`).

        The request is over afterwards. Raises what the source raises (SourceFailed, SourceSpent),
        DigestMismatch for a broken promise, PeerFailed.
        """
        self.sent, self.digests, self.written = 0, None, False
        self._request, self._withheld = request, None
        try:
            await request.open()
            await request.run(self._push(request))
            return await request.finish()
        except EarlyResponse as early:
            return early.response
        finally:
            self._withheld = None
            await request.abort()

    async def _push(self, request: StreamingRequest) -> None:
        self.started = True
        stages = self._stages
        digests = self._running or Digests(dict.fromkeys(self._algorithms))
        try:
            stages.enter(DESTINATION)
            if self.head:
                await request.write(self.head)
            stages.enter(QUEUE)
            await self._read(digests)
            found = await digests.finish() if self._last else {}
            if self._last:
                self._check(found)
            self.digests = found
            stages.enter(DESTINATION)
            if self._withheld is not None:
                await request.write(self._withheld)
                self.sent += len(self._withheld)
            if self.tail:
                await request.write(self.tail)
            self.written = True
            if request.acknowledged >= request.handed:
                stages.enter(ANSWER)
        finally:
            if self._running is None:
                await digests.aclose()

    async def _read(self, digests: Digests | RunningDigests) -> None:
        source = TimedSource(self.source, self._stages)
        try:
            # The limit stops a source that is too long while its last piece is still withheld.
            await pump(
                source,
                self,
                taps=(digests,) if self._algorithms else (),
                limit=self.source.length,
                stages=self._stages,
                sender=SOURCE,
            )
        except BodyCut as error:
            came = self.sent + (len(self._withheld) if self._withheld is not None else 0)
            raise SourceFailed(
                f"The source ended after {came} of {self.source.length} bytes; nothing was stored"
            ) from error
        except TooLarge as error:
            raise SourceFailed(
                f"The source goes on after its {self.source.length} bytes; nothing was stored"
            ) from error
        except OSError as error:  # the peer's arrive as PeerFailed
            raise SourceFailed(f"The source cannot be read: {error.strerror or error}") from error

    def _check(self, found: Mapping[str, bytes]) -> None:
        for promise in self._promises:
            if found[promise.algorithm] != promise.value:
                raise DigestMismatch(
                    f"The {promise.algorithm} of the source is not the one that was announced; "
                    "nothing was stored, try again"
                )

    # The sink that the pump writes to. `kept` is 0: the peer keeps bytes, this side keeps none.
    kept = 0

    async def sync(self) -> int:
        return self.kept

    async def write(self, data: Buffer) -> None:
        """Write the piece before `data`, and withhold `data`."""
        piece, self._withheld = self._withheld, data
        if piece is not None:
            await self._write_now(piece)

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst. Only of bytes that more will follow: the last piece is withheld."""
        if self._request is None:
            return False
        piece, self._withheld = self._withheld, None
        if piece is not None:
            await self._write_now(piece)
        before = lent.taken
        drawn = await self._request.draw(lent, update, self._budget)
        self.sent += lent.taken - before
        return drawn

    async def _write_now(self, piece: Buffer) -> None:
        if self._request is not None:
            await self._request.write(piece)
            self.sent += len(piece)
