"""A pipe inside a program: one thread writes into it as into a file, another one reads out of it, and little waits between.

For producers that only write (tarfile, zipfile, csv, pickle, boto3) and consumers that only read (requests, httpx, aiohttp).
An end that goes away is seen at the other: no end is silent, nobody waits for one who is gone. Knows no socket and no file.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from sluiceway.client.bodies.aiohttp_body import known_to_aiohttp
from sluiceway.errors import Cancelled, SluiceError, SourceFailed, TooSlow
from sluiceway.pipe.once import Once
from sluiceway.pipe.source import Buffer

__all__ = ["Bridge", "BridgeReader", "BridgeWriter"]

LIMIT = 1 << 20  # bytes that may wait between the two ends
PIECE = 256 << 10  # bytes an iteration gives at most: what sockets and hashes like best
LINGER = 0.02  # seconds an iteration waits for a piece to fill up, so that tiny writes do not become tiny sends
PATIENCE = 600.0  # seconds one end waits for the other; a dead one is noticed at once, this is for one that hangs

if TYPE_CHECKING:  # what tarfile, zipfile and the like ask for by type; by deed they ask for less

    class _File(io.RawIOBase, BinaryIO): ...
else:
    _File = object


class Bridge:
    """Two ends: `writer`, a binary file to write to, and `reader`, one to read from, each for a thread of its own.

    `limit` is in bytes: whoever writes more waits for the reader. `patience` is in seconds.
    """

    writer: BridgeWriter
    reader: BridgeReader

    def __init__(self, limit: int = LIMIT, patience: float = PATIENCE) -> None:
        line = _Buffer(max(1, limit), patience)
        self.writer, self.reader = BridgeWriter(line), BridgeReader(line)

    @classmethod
    def feed(
        cls,
        producer: Callable[[BridgeWriter], object],
        limit: int = LIMIT,
        patience: float = PATIENCE,
    ) -> BridgeReader:
        """Run `producer(writer)` in a thread and return what reads it. The reader's end comes when the producer has returned,
        whatever it closed before; what the producer raises, the reader raises as SourceFailed."""
        bridge = cls(limit, patience)
        line, writer = bridge.writer._line, bridge.writer

        def run() -> None:
            try:
                producer(writer)
            except BaseException as error:
                line.end(error)
            else:
                line.end()

        line.fed = True
        threading.Thread(target=run, name="sluiceway-bridge", daemon=True).start()
        return bridge.reader


class _Buffer:
    """What both ends share. Whoever changes it wakes the other."""

    limit: int
    patience: float

    def __init__(self, limit: int, patience: float) -> None:
        self.limit, self.patience = limit, patience
        self.fed = False  # the end is told by `feed`, not by the writer's close
        self._held = bytearray()
        self._ended = False  # nothing more will be written
        self._error: BaseException | None = None  # why it ended early
        self._left: BaseException | bool = False  # the reader went away, perhaps with a reason
        self._change = threading.Condition()

    def put(self, data: Buffer) -> None:
        """Raises Cancelled when nobody reads any more, TooSlow."""
        view = memoryview(data).cast("B")
        with self._change:
            while view:
                self._wait(
                    lambda: bool(self._left) or self._ended or len(self._held) < self.limit,
                    "The reader took",
                )
                if self._left:
                    reason = self._left if isinstance(self._left, BaseException) else None
                    raise Cancelled(
                        "The reader of this bridge went away; nothing more is needed"
                    ) from reason
                if self._ended:
                    raise Cancelled("This end of the bridge was closed; write before closing it")
                room = self.limit - len(self._held)
                self._held += view[:room]
                view = view[room:]
                self._change.notify_all()

    def get(self, least: int, most: int | None, linger: float | None = None) -> bytes:
        """At least `least` bytes unless the end comes before, at most `most`; with `linger`, fewer after so many seconds.

        Raises SourceFailed, TooSlow.
        """
        got, full = bytearray(), min(least, self.limit)
        with self._change:
            if self._left:
                raise Cancelled("This end of the bridge was closed; read before closing it")
            while not got or len(got) < least:
                self._wait(
                    lambda: bool(self._held) or self._ended or bool(self._left), "The writer gave"
                )
                if linger is not None:
                    self._change.wait_for(
                        lambda: len(self._held) >= full or self._ended or bool(self._left), linger
                    )
                if self._left:
                    raise Cancelled("This end of the bridge was closed; read before closing it")
                if not self._held and self._ended:
                    if self._error is not None:
                        raise _broken(self._error) from self._error
                    break
                size = len(self._held) if most is None else min(len(self._held), most - len(got))
                got += self._held[:size]
                del self._held[:size]
                self._change.notify_all()
                if linger is not None or size == 0:
                    break
        return bytes(got)

    def end(self, error: BaseException | None = None) -> None:
        with self._change:
            if not self._ended:
                self._ended, self._error = True, error
                self._change.notify_all()

    def leave(self, error: BaseException | None = None) -> None:
        with self._change:
            self._left = self._left or error or True
            self._held.clear()
            self._change.notify_all()

    def _wait(self, ready: Callable[[], bool], who: str) -> None:
        if not self._change.wait_for(ready, self.patience):
            raise TooSlow(f"{who} nothing for {self.patience:g} seconds")


class BridgeWriter(_File):
    """The end to write to: a binary file that can be written and closed, and nothing else.

    Closing it is the end of the data. Leaving its block by an exception, or losing it unclosed, is a failure that the reader
    sees: half a file never looks whole.
    """

    def __init__(self, line: _Buffer) -> None:
        self._line = line
        self._written = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, data: Any, /) -> int:
        """All of `data`, bytes or any buffer. Raises Cancelled when the reader went away, after `close`, TooSlow."""
        if self._closed:
            raise Cancelled("This end of the bridge was closed; write before closing it")
        self._line.put(data)
        size = memoryview(data).nbytes
        self._written += size
        return size

    def tell(self) -> int:
        """Bytes written so far: zipfile asks."""
        return self._written

    def flush(self) -> None:
        """Nothing to do: what is written can be read."""

    def close(self) -> None:
        """The end of the data. Safe to call twice."""
        self._closed = True
        if not self._line.fed:
            self._line.end()

    def fail(self, error: BaseException) -> None:
        """The other ending: the reader raises SourceFailed with `error` as its cause."""
        self._closed = True
        self._line.end(error)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.fail(error)

    def __del__(self) -> None:
        if not self._line.fed:  # a producer that `feed` runs may drop it when it is done
            self._line.end(
                SourceFailed("The writer of this bridge was dropped without being closed")
            )


class BridgeReader(_File):
    """The end to read from: a binary file, an iterable and an asynchronous iterable of pieces, whichever is asked for.

    Closing it before the end tells the writer, which raises Cancelled. An HTTP client that sends it a second time, for a redirect
    or a retry, gets SourceSpent.
    """

    def __init__(self, line: _Buffer) -> None:
        self._line = line
        self._closed = False
        self._once = Once("A bridge")
        known_to_aiohttp(type(self))

    @property
    def closed(self) -> bool:
        return self._closed

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; all of them without a size. Raises SourceFailed, TooSlow, and SourceSpent for a
        large read after the end was told: somebody reads from the beginning again."""
        if size is None or size < 0:
            return b"".join(iter(self._piece, b""))
        return self._once.read(self._line.get(size, size), size) if size else b""

    def read1(self, size: int = PIECE) -> bytes:
        """What is there, at least one byte unless it is the end, at most `size`."""
        return self._line.get(1, size)

    def readinto(self, buffer: Any, /) -> int:
        """As `read`, into `buffer`."""
        view = memoryview(buffer).cast("B")
        data = self._line.get(len(view), len(view)) if len(view) else b""
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def fail(self, error: BaseException) -> None:
        """Go away for a reason: the writer raises Cancelled with `error` as its cause."""
        self._closed = True
        self._line.leave(error)

    def close(self) -> None:
        """Read no more. Safe to call twice, and at the end, where it changes nothing."""
        self._closed = True
        self._line.leave()

    def __iter__(self) -> Iterator[bytes]:
        """Raises SourceSpent when all of it was read before."""
        self._once.begin()
        while piece := self._piece():
            yield piece
        self._once.ended()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Cancelling the reading task closes this end, so the writer hears of it. Raises SourceSpent as `__iter__` does."""
        self._once.begin()
        try:
            while piece := await asyncio.to_thread(self._piece):
                yield piece
            self._once.ended()
        except asyncio.CancelledError as error:
            self.fail(error)
            raise

    def _piece(self) -> bytes:
        piece = self._line.get(PIECE, PIECE, LINGER)
        if piece:
            self._once.gave()
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.fail(error)

    def __del__(self) -> None:
        self._line.leave()


def _broken(error: BaseException) -> SluiceError:
    told = error.detail if isinstance(error, SluiceError) else f"{type(error).__name__}: {error}"
    return SourceFailed(
        f"The writer of this bridge failed ({told}); what came before is not the whole"
    )
