"""A pipe inside a program: one thread writes into it as into a file, another one reads from it.

For producers that only write (tarfile, zipfile, csv, pickle, boto3) and consumers that only read
(requests, httpx, aiohttp). Few bytes wait between them. When one end closes or fails, the other one
learns it at once. Knows no socket and no file.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.errors import Cancelled, SluiceError, SourceFailed, TooSlow
from sluiceway.pipe.once import Once
from sluiceway.pipe.source import Buffer

__all__ = ["Bridge", "BridgeReader", "BridgeWriter"]

BUFFER_LIMIT = 1 << 20  # bytes that may wait between the two ends
CHUNK = 256 << 10  # bytes that an iteration yields at most: the best size for sockets and hashes
# Seconds that an iteration waits for a chunk to fill up, so that tiny writes do not become tiny
# sends.
LINGER = 0.02
# Seconds that one end waits for the other. A dead end is noticed at once; this is for one that
# hangs.
TIMEOUT = 600.0

# The type that tarfile, zipfile and others declare; what they call is less.
if TYPE_CHECKING:

    class _File(io.RawIOBase, BinaryIO): ...
else:
    _File = object


class Bridge:
    """A pipe inside a program, with two ends: `writer` and `reader`, each for a thread of its own.

    Args:
        limit: Bytes that may wait between the ends. A writer of more waits for the reader.
        timeout: Seconds that one end waits for the other before it raises `TooSlow`.

    Example:
        >>> def pack(writer: sluiceway.BridgeWriter) -> None:
        ...     with tarfile.open(fileobj=writer, mode="w|") as tar:
        ...         tar.add("photos")
        >>> requests.put(url, data=sluiceway.Bridge.feed(pack))
    """

    writer: BridgeWriter
    reader: BridgeReader

    def __init__(self, limit: int = BUFFER_LIMIT, timeout: float = TIMEOUT) -> None:
        buffer = _Buffer(max(1, limit), timeout)
        self.writer, self.reader = BridgeWriter(buffer), BridgeReader(buffer)

    @classmethod
    def feed(
        cls,
        producer: Callable[[BridgeWriter], object],
        limit: int = BUFFER_LIMIT,
        timeout: float = TIMEOUT,
    ) -> BridgeReader:
        """Run a producer in a thread, and return the reader of what it writes.

        The reader ends when the producer has returned, whatever it closed before.

        Args:
            producer: Called with the writer, in a thread.
            limit: Bytes that may wait between the ends.
            timeout: Seconds that one end waits for the other.

        Returns:
            A binary file that can also be iterated. It raises `SourceFailed` where
            the producer raised.
        """
        bridge = cls(limit, timeout)
        buffer, writer = bridge.writer._buffer, bridge.writer

        def run() -> None:
            try:
                producer(writer)
            except BaseException as error:
                buffer.end(error)
            else:
                buffer.end()

        buffer.fed = True
        threading.Thread(target=run, name="sluiceway-bridge", daemon=True).start()
        return bridge.reader


class _Buffer:
    """What both ends share. The end that changes it wakes the other one."""

    limit: int
    timeout: float

    def __init__(self, limit: int, timeout: float) -> None:
        self.limit, self.timeout = limit, timeout
        self.fed = False  # `feed` marks the end, not the writer's close
        self._held = bytearray()
        self._ended = False  # nothing more will be written
        self._error: BaseException | None = None  # why it ended early
        self._left: BaseException | bool = False  # the reader has left, perhaps with a reason
        self._change = threading.Condition()

    def put(self, data: Buffer) -> None:
        """Raises Cancelled when the reader has left, TooSlow."""
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
                        "The reader of this bridge has left; nothing more is needed"
                    ) from reason
                if self._ended:
                    raise Cancelled("This end of the bridge was closed; write before closing it")
                room = self.limit - len(self._held)
                self._held += view[:room]
                view = view[room:]
                self._change.notify_all()

    def get(self, least: int, most: int | None, linger: float | None = None) -> bytes:
        """Return at least `least` bytes, fewer only at the end, and at most `most`.

        With `linger`, it returns fewer after so many seconds. Raises SourceFailed, TooSlow.
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
        if not self._change.wait_for(ready, self.timeout):
            raise TooSlow(f"{who} nothing for {self.timeout:g} seconds")


class _BridgeEnd(_File):
    """What both ends share: a `with` block that ends by an error makes the other end fail."""

    def fail(self, error: BaseException) -> None:
        raise NotImplementedError

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


class BridgeWriter(_BridgeEnd):
    """The end to write to: a binary file that can be written and closed, and nothing else.

    Closing it ends the data. When its `with` block raises, or it is garbage-collected unclosed, the
    reader raises `SourceFailed`: half a file never looks whole. Get one from `Bridge(…).writer` or
    `Bridge.feed`.

    Example:
        >>> bridge = sluiceway.Bridge()
        >>> with bridge.writer as writer:  # in one thread
        ...     writer.write(b"bytes")
    """

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self._written = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, data: Any, /) -> int:
        """Write all of `data`, bytes or any buffer.

        Raises:
            Cancelled: The reader has left, or this end is closed.
            TooSlow: The reader took nothing for the timeout.
        """
        if self._closed:
            raise Cancelled("This end of the bridge was closed; write before closing it")
        self._buffer.put(data)
        size = memoryview(data).nbytes
        self._written += size
        return size

    def tell(self) -> int:
        """Return the bytes written so far: zipfile asks for them."""
        return self._written

    def flush(self) -> None:
        """Do nothing: written bytes can be read at once."""

    def close(self) -> None:
        """End the data. Safe to call twice."""
        self._closed = True
        if not self._buffer.fed:
            self._buffer.end()

    def fail(self, error: BaseException) -> None:
        """End with a failure: the reader raises SourceFailed with `error` as its cause."""
        self._closed = True
        self._buffer.end(error)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def __del__(self) -> None:
        if not self._buffer.fed:  # a producer of `feed` may drop its writer when it is done
            self._buffer.end(
                SourceFailed("The writer of this bridge was dropped without being closed")
            )


class BridgeReader(_BridgeEnd):
    """The end to read from: a binary file, an iterable and an asynchronous iterable of chunks.

    When it is closed before the end, the writer raises `Cancelled`. An HTTP client that sends it a
    second time, for a redirect or a retry, gets `SourceSpent`. Get one from `Bridge(…).reader` or
    `Bridge.feed`.

    Example:
        >>> async with httpx.AsyncClient() as client:
        ...     await client.put(url, content=sluiceway.Bridge.feed(pack))
    """

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self._closed = False
        self._once = Once("A bridge")
        register_with_aiohttp(type(self))

    @property
    def closed(self) -> bool:
        return self._closed

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, fewer only at the end; all of them without a size.

        Raises:
            SourceFailed: The writer failed.
            TooSlow: The writer wrote nothing for the timeout.
            SourceSpent: A large read after the end: the reader begins anew.
        """
        if size is None or size < 0:
            return b"".join(iter(self._piece, b""))
        return self._once.read(self._buffer.get(size, size), size) if size else b""

    def read1(self, size: int = CHUNK) -> bytes:
        """Read what is there: at most `size` bytes, and none only at the end."""
        return self._buffer.get(1, size)

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`, as `read` does."""
        view = memoryview(buffer).cast("B")
        data = self._buffer.get(len(view), len(view)) if len(view) else b""
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def fail(self, error: BaseException) -> None:
        """Leave for a reason: the writer raises Cancelled with `error` as its cause."""
        self._closed = True
        self._buffer.leave(error)

    def close(self) -> None:
        """Read no more. Safe to call twice; at the end it changes nothing."""
        self._closed = True
        self._buffer.leave()

    def __iter__(self) -> Iterator[bytes]:
        """Raises SourceSpent when all of it was read before."""
        self._once.begin()
        while piece := self._piece():
            yield piece
        self._once.mark_ended()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """A reading task that is cancelled closes this end. Raises SourceSpent as `__iter__`
        does."""
        self._once.begin()
        try:
            while piece := await asyncio.to_thread(self._piece):
                yield piece
            self._once.mark_ended()
        except asyncio.CancelledError as error:
            self.fail(error)
            raise

    def _piece(self) -> bytes:
        piece = self._buffer.get(CHUNK, CHUNK, LINGER)
        if piece:
            self._once.mark_read()
        return piece

    def __del__(self) -> None:
        self._buffer.leave()


def _broken(error: BaseException) -> SluiceError:
    why = error.detail if isinstance(error, SluiceError) else f"{type(error).__name__}: {error}"
    return SourceFailed(
        f"The writer of this bridge failed ({why}); what came before is not the whole"
    )
