"""A piece of a source, as a source: what one request of a resumable upload sends."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway.pipe.lending import Lender, LentConnection
from sluiceway.pipe.source import Buffer, Source

__all__ = ["PieceOfSource"]


class PieceOfSource:
    """The bytes from `start` up to `stop`. It lends itself where the source does."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._start, self._stop = source, start, stop
        self.length: int | None = stop - start
        self._lends = source if isinstance(source, Lender) else None

    @property
    def reopenable(self) -> bool:
        return self._source.reopenable

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self._stop if stop is None else min(self._stop, self._start + stop)
        return self._source.open(self._start + start, end)

    def lend(self) -> LentConnection | None:
        return None if self._lends is None else self._lends.lend()
