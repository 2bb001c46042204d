"""Bytes that a program has in hand as the source of one object: an open file, bytes, an iterable.

A file is read from its current position. One that can seek is read again for a retry. Text is
refused. Knows no kind of target.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from sluiceway.client.bodies.inputs import BodyInput
from sluiceway.client.bodies.open_files import TEXT, AsyncFile, SentBytes
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.errors import BadRequest, SluiceError, SourceChanged, SourceFailed
from sluiceway.pipe.receipt import OnProgress, Progress
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Metadata

__all__ = ["GivenObject", "any_thread", "moving_the_bar", "sized_content"]

T = TypeVar("T")

# Files of Python itself may be read in any thread. Others may belong to one: a WSGI server's body.
_ANYWHERE = (io.FileIO, io.BufferedReader, io.BufferedRandom, io.BytesIO, bytes, bytearray)


def any_thread(content: object) -> bool:
    """Whether it may be read in another thread than the one that made it."""
    return isinstance(content, _ANYWHERE)


def moving_the_bar(
    content: BodyInput, on_progress: OnProgress | None, acknowledged: bool
) -> OnProgress | None:
    """What gets the progress of a copy, also for those who watch a view that copies its file.

    `acknowledged`: whether `done` counts what another server has acknowledged, as it does while a
    server is sent to; else the copy's end says what is kept.
    """
    progress: SentBytes | None = getattr(content, "progress", None)
    if progress is None:
        return on_progress

    def count(now: Progress) -> None:
        if now.receipt is not None:
            progress.keep(now.receipt.size)
        elif now.stage in ("sending", "receiving", "waiting"):
            progress.hand_on(now.done, now.done if acknowledged else 0)
        if on_progress is not None:
            on_progress(now)

    return count


def sized_content(content: BodyInput, size: int | None) -> BodyInput:
    """The content with its length where it does not know it. Raises BadRequest."""
    if size is not None:
        if content.length not in (None, size):
            raise BadRequest(f"The size is {size} bytes, but the content has {content.length}")
        content.length = size
    return content


class GivenObject:
    """The one object that `content` is."""

    rereadable = False

    def __init__(self, content: BodyInput, name: str, type: str, own_thread: bool) -> None:
        """`own_thread`: read where it was made, which is the event loop's thread in `copy`."""
        self._content, self._name, self._type = content, name, type
        self._own_thread = own_thread
        self.display_name: str = name or "The given content"

    async def items(self) -> AsyncIterator[CopyItem]:
        yield CopyItem(self._name, self._content.length)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        threads = None if self._own_thread else ThreadPoolExecutor(1, "sluiceway-given")
        source = _GivenSource(self._content, self.display_name, threads)
        try:
            yield Reading(
                item,
                source,
                Metadata(self._name, self._type),
                self.display_name,
                stages=Stages(),
            )
        finally:
            if threads is not None:
                threads.shutdown(wait=False)

    async def aclose(self) -> None:
        """The content is its owner's."""


class _GivenSource:
    """Its bytes, counted: fewer or more than its length are an error."""

    def __init__(self, content: BodyInput, label: str, threads: ThreadPoolExecutor | None) -> None:
        self._content, self._label, self._threads = content, label, threads
        self.length: int | None = content.length
        self._progress: SentBytes | None = getattr(content, "progress", None)

    @property
    def reopenable(self) -> bool:
        return self._content.repeatable

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        at = 0
        pieces = self._pieces()
        try:
            async for piece in pieces:
                if not len(piece):
                    continue
                begin, at = at, at + len(piece)
                if self.length is not None and at > self.length:
                    raise SourceChanged(
                        f"{self._label} has more than its {self.length} bytes; nothing was stored"
                    )
                wanted = memoryview(piece)[max(0, start - begin) :]
                if stop is not None:
                    wanted = wanted[: max(0, stop - max(start, begin))]
                if len(wanted):
                    yield wanted
                if self._progress is not None:  # a file of a form that somebody watches
                    self._progress.sent(len(piece))
                if stop is not None and at >= stop:
                    return
        except SluiceError:
            raise
        except (OSError, ValueError) as error:  # a closed file raises ValueError
            raise SourceFailed(f"{self._label} cannot be read ({error})") from error
        finally:
            await pieces.aclose()
        if self.length is not None and at < self.length:
            raise SourceChanged(
                f"{self._label} ended after {at} of its {self.length} bytes; nothing was stored"
            )

    async def _pieces(self) -> AsyncGenerator[Buffer]:
        if isinstance(self._content, AsyncFile):
            async for piece in self._content.apieces():
                yield _binary(piece)
            return
        pieces: Iterator[Buffer] = await self._call(self._content.pieces)
        try:
            while (piece := await self._call(partial(next, pieces, None))) is not None:
                yield _binary(piece)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                await self._call(close)

    async def _call(self, work: Callable[[], T]) -> T:
        """In the thread that the content belongs to."""
        if self._threads is None:
            await asyncio.sleep(0)  # a cancellation, and what was written before, come first
            return work()
        return await in_thread(work, self._threads)


def _binary(piece: object) -> Buffer:
    if isinstance(piece, str):
        raise BadRequest(TEXT)
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise BadRequest(f"The content gave {type(piece).__name__} where bytes were expected")
    return piece
