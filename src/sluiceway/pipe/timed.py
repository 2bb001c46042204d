"""A source whose waits are counted: while nothing comes from it, time goes to a stage of the stopwatch.

For sources that know nothing of stages: files, pipes, answers of other servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import SOURCE, Stages

__all__ = ["TimedSource"]


class TimedSource:
    """`source`, with its waits told to `stages`."""

    def __init__(self, source: Source, stages: Stages, stage: str = SOURCE) -> None:
        self._source, self._stages, self._stage = source, stages, stage

    @property
    def length(self) -> int | None:
        return self._source.length

    @property
    def reopenable(self) -> bool:
        return self._source.reopenable

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks = self._source.open(start, stop)
        try:
            while True:
                before = self._stages.enter(self._stage)
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    self._stages.enter(before)
                yield chunk
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
