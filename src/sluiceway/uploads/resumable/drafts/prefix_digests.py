"""The digests of an upload that comes in pieces: continued where they are known, else read again.

The process that took the last piece has the running hashes. Another one, or one that had to forget
a piece, hashes what the draft keeps. Knows no ledger and no request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Draft
from sluiceway.stores.unpublished import KnowsDigests, ReadableDraft

__all__ = ["LateDigests", "PrefixDigests"]

READ_BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True, slots=True)
class LateDigests:
    """Digests that stand behind the bytes they are of.

    Args:
        algorithms: Those that may come: all of them are computed.
        find: Returns the digests, when all bytes have come. Raises what refuses the bytes.
    """

    algorithms: tuple[str, ...]
    find: Callable[[], Mapping[str, bytes]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.algorithms)


class PrefixDigests:
    """Digests of the first `position` bytes of a draft. A tap that follows the draft's end, as long
    as it was never behind."""

    position: int

    def __init__(self, algorithms: Iterable[str], budget: Budget) -> None:
        self._algorithms, self._budget = tuple(algorithms), budget
        self._digests = Digests(self._algorithms, budget)
        self.position = self._at = 0  # `_at`: of the next byte that is seen

    def goes_on(self, offset: int) -> bool:
        """Whether bytes that come from `offset` on are counted: none is missing before them.

        Those that were counted already, and are sent again after a failure, are skipped.
        """
        self._at = offset
        return offset <= self.position

    async def take(self, data: Buffer) -> None:
        if new := self._unseen(data):
            await self._digests.take(new)

    async def settle(self) -> None:
        await self._digests.settle()

    def update(self, data: Buffer) -> None:
        if new := self._unseen(data):
            self._digests.update(new)

    async def finish(self, draft: Draft) -> dict[str, bytes]:
        """The digests of all that was written. Reads what they lack from the draft.

        Raises StoreFailed where the draft cannot be read.
        """
        if self._algorithms and self.position != draft.written:
            if isinstance(draft, KnowsDigests):
                known = await draft.known_digests()
                if self.algorithms <= known.keys():
                    return {name: known[name] for name in self._algorithms}
            await self._catch_up(draft)
        return await self._digests.finish()

    @property
    def algorithms(self) -> frozenset[str]:
        return frozenset(self._algorithms)

    async def forget(self, offset: int) -> None:
        """Bytes behind `offset` do not count. A hash cannot go back: it begins anew."""
        if self.position > offset:
            await self._digests.aclose()
            self._digests, self.position = Digests(self._algorithms, self._budget), 0

    async def begin(self, algorithms: Iterable[str]) -> None:
        """Forget all bytes, and count these digests from now on."""
        await self._digests.aclose()
        self._algorithms, self.position = tuple(algorithms), 0
        self._digests = Digests(self._algorithms, self._budget)

    async def read_again(self, chunks: AsyncGenerator[Buffer], size: int) -> None:
        """Count `size` bytes anew, which come from elsewhere. Raises StoreFailed, and what they
        raise."""
        await self.begin(self._algorithms)
        async with aclosing(chunks):
            async for data in chunks:
                self._at = self.position
                await self.take(data)
        if self.position != size:
            raise StoreFailed("The kept bytes of an upload have another length than they had")

    async def aclose(self) -> None:
        await self._digests.aclose()

    async def _catch_up(self, draft: Draft) -> None:
        if not isinstance(draft, ReadableDraft):
            raise StoreFailed("The kept bytes of an upload cannot be read here").for_operator()
        while self.position < draft.written:
            data = await draft.read(self.position, READ_BLOCK)
            if not data:
                raise StoreFailed("The kept bytes of an upload are shorter than they were")
            self._at = self.position
            await self.take(data)

    def _unseen(self, data: Buffer) -> Buffer:
        skip = min(max(0, self.position - self._at), len(data))
        self._at += len(data)
        self.position = max(self.position, self._at)
        return memoryview(data)[skip:] if skip else data
