"""Digests of a source that is sent in several requests: each byte counts once, in order.

A cut request is sent again from the offset that the server kept, which lies before what was hashed:
those bytes are skipped. Another process hashes what an earlier one sent. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluiceway.errors import SourceFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.wrapped import unthrottled

__all__ = ["RunningDigests"]


class RunningDigests:
    """A tap that sees the source from `go_on` on. Its digests are those of the first `position`
    bytes of the source."""

    position: int

    def __init__(self, algorithms: Iterable[str], budget: Budget | None = None) -> None:
        self._algorithms = tuple(algorithms)
        self._digests = Digests(self._algorithms, budget)
        self._at = 0  # in the source, of the next byte that is seen
        self.position = 0

    @property
    def counts(self) -> bool:
        return bool(self._algorithms)

    async def go_on(self, source: Source, offset: int) -> None:
        """The next bytes come from `offset` on. Reads those before it that were never seen.

        Raises what the source raises.
        """
        self._at = self.position
        if self.counts and self.position < offset:
            chunks = unthrottled(source).open(self.position, offset)
            try:
                async for chunk in chunks:
                    await self.take(chunk)
            except OSError as error:
                raise SourceFailed(
                    f"The source cannot be read: {error.strerror or error}"
                ) from error
            finally:
                await close_stream(chunks)
        self._at = offset

    async def take(self, data: Buffer) -> None:
        # Before the wait: a request that is cut within it has hashed the bytes, or will.
        if new := self._unseen(data):
            await self._digests.take(new)

    async def settle(self) -> None:
        await self._digests.settle()

    def update(self, data: Buffer) -> None:
        if new := self._unseen(data):
            self._digests.update(new)

    async def finish(self) -> dict[str, bytes]:
        """Return the digests of all that was seen."""
        return await self._digests.finish()

    async def aclose(self) -> None:
        await self._digests.aclose()

    def _unseen(self, data: Buffer) -> Buffer:
        skip = min(max(0, self.position - self._at), len(data))
        self._at += len(data)
        self.position = max(self.position, self._at)
        return memoryview(data)[skip:] if skip else data
