"""What a body can be made of: a path, an open file, bytes, an iterable, a URL, a part of a form.

Each input knows its length where possible, and whether it can be read again: the condition for
redirects and retries. The calls block: they are for threads, not for an event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import stat
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Protocol, TypeGuard, cast

from sluiceway.client.bodies.bridge import Bridge, BridgeReader, BridgeWriter
from sluiceway.client.bodies.open_files import (
    SEND_PIECE,
    AsyncFile,
    AsyncReadable,
    OpenFile,
    Readable,
    read_pieces,
)
from sluiceway.client.local.believed_sizes import measured
from sluiceway.errors import BadRequest, PeerTimeout, SourceFailed
from sluiceway.pipe.source import Buffer, SourceSpent
from sluiceway.wire.urls import is_url, parse_address, redact_url

__all__ = ["BodyInput", "Content", "Readable", "body_input"]

# Seconds for a URL to answer with its head; the connection's own deadlines end it before.
HEAD_TIMEOUT = 600.0

Content = (
    str
    | os.PathLike[str]
    | Buffer
    | Readable
    | Iterable[Buffer]
    | AsyncReadable
    | AsyncIterable[Buffer]
)


class BodyInput(Protocol):
    """Something to send. `length` is in bytes, None if unknown; `name` and `type` may be empty."""

    length: int | None
    name: str
    type: str | None

    @property
    def repeatable(self) -> bool:
        """Whether `pieces` may be called once more."""
        ...

    def pieces(self) -> Iterator[Buffer]:
        """Yield the bytes. Raises SourceFailed; SourceSpent when they flowed past already."""
        ...


def body_input(
    content: Content, size: int | None = None, *, expect_length: bool = True
) -> BodyInput:
    """Return the content as something to send. `size` is its length, where it does not know it.

    A file of a form that still arrives knows its length only if nothing follows it there; with
    `expect_length` it fails where something does.

    Text is a URL or a path, never the bytes themselves. Content that is read with `await` can be
    sent by asynchronous clients only. Raises BadRequest, SourceFailed, PeerFailed.
    """
    if isinstance(content, str) and is_url(content):
        made: BodyInput = _Remote(content)
    elif isinstance(content, str | os.PathLike):
        made = _Path(os.fspath(content))
    elif isinstance(content, bytes | bytearray | memoryview):
        made = _Bytes(content)
    elif inspect.iscoroutinefunction(getattr(content, "read", None)):
        # Starlette's UploadFile awaits, and has an ordinary file in it, which goes everywhere; that
        # of one that still arrives would block.
        arrives = isinstance(content, AsyncIterable)
        inner = None if arrives else getattr(content, "file", None)
        made = (
            OpenFile(inner, content, expect_length=expect_length)
            if _reads(inner)
            else AsyncFile(cast("AsyncReadable", content), expect_length=expect_length)
        )
    elif isinstance(content, Readable):
        made = OpenFile(content, expect_length=expect_length)
    elif isinstance(content, AsyncIterable):
        made = AsyncFile(content, expect_length=expect_length)
    elif isinstance(content, Iterable):
        made = _Stream(content)
    else:
        raise BadRequest(
            "A path, a URL, a binary file, bytes or an iterable of bytes can be sent, "
            f"not {type(content).__name__}"
        )
    if size is not None:
        if size < 0 or made.length not in (None, size):
            raise BadRequest(f"The size is {size} bytes, but the content has {made.length}")
        made.length = size
    return made


def _reads(inner: object) -> TypeGuard[Readable]:
    return isinstance(inner, Readable) and not inspect.iscoroutinefunction(inner.read)


class _Bytes:
    repeatable = True

    def __init__(self, data: Buffer) -> None:
        self.name = ""
        self.type: str | None = None
        self._data = bytes(data)
        self.length: int | None = len(self._data)

    def pieces(self) -> Iterator[Buffer]:
        for at in range(0, len(self._data), SEND_PIECE):
            yield self._data[at : at + SEND_PIECE]


class _Path:
    """A file by its path, opened for each reading. A file that changes meanwhile is an error."""

    repeatable = True

    def __init__(self, path: str) -> None:
        self.type: str | None = None
        self._path, self.name = path, os.path.basename(path)
        # None for a device, a named pipe, or a file that is made up while it is read.
        size: int | None = None
        try:
            self._seen = os.stat(path)
            if not stat.S_ISFIFO(self._seen.st_mode):  # opening one waits for its writer
                # A file that may not be read fails here, before anything is sent.
                with open(path, "rb") as file:
                    if stat.S_ISREG(self._seen.st_mode):
                        self._seen, size = measured(file.fileno())
        except OSError as error:
            raise SourceFailed(
                f"{path} cannot be read ({error.strerror}); nothing was sent"
            ) from error
        self.length, self._size = size, size

    def pieces(self) -> Iterator[Buffer]:
        with open(self._path, "rb", buffering=0) as file:
            yield from read_pieces(file, self._size)
            now = os.fstat(file.fileno())
        if self._size is not None and (now.st_size, now.st_mtime_ns) != (
            self._seen.st_size,
            self._seen.st_mtime_ns,
        ):
            raise SourceFailed(f"{self._path} changed while it was sent; send it again")


class _Stream:
    """An iterable.

    A generator can be read only once; a list, or an object that makes a new iterator each time, can
    be read again.
    """

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.length: int | None = None
        self.name = ""
        self.type: str | None = None
        self._chunks, self._spent = chunks, False
        self._gave: int | None = None  # bytes of the first whole reading
        self.repeatable = iter(chunks) is not chunks if not isinstance(chunks, Iterator) else False

    def pieces(self) -> Iterator[Buffer]:
        if self._spent and not self.repeatable:
            raise SourceSpent("This iterator can be read only once")
        self._spent, count = True, 0
        for chunk in self._chunks:
            count += len(chunk)
            yield chunk
        if self._gave and not count:
            raise SourceSpent(
                "This iterable gave bytes the first time and none now; it can be read only once"
            )
        self._gave = count


class _Remote:
    """A file at another server. It is asked for at once, for the length; its body waits."""

    repeatable = True

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._ready: BridgeReader | None = None
        self.length: int | None = None
        self.name = ""
        self.type: str | None = None
        self._ready = self._ask()

    def pieces(self) -> Iterator[Buffer]:
        reader, self._ready = self._ready or self._ask(), None
        with reader:
            yield from reader

    def _ask(self) -> BridgeReader:
        result: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        reader = Bridge.feed(lambda out: asyncio.run(self._run(out, result)))
        try:
            error = result.get(timeout=HEAD_TIMEOUT)
        except queue.Empty:
            raise PeerTimeout(
                f"{redact_url(self._address.url)} did not answer; try again later"
            ) from None
        if error is not None:
            raise error
        return reader

    async def _run(
        self, out: BridgeWriter, result: queue.SimpleQueue[BaseException | None]
    ) -> None:
        # Late, with the HTTP library: forms without URLs do not need it.
        from sluiceway.client.http.transport import Transport
        from sluiceway.client.remote_source import RemoteSource

        authorization = self._address.authorization
        headers = {} if authorization is None else {"authorization": authorization}
        async with Transport() as transport:
            source = RemoteSource(transport, self._address.url, headers)
            try:
                try:
                    await source.meet()
                except BaseException as error:
                    result.put(error)
                    raise
                self.length, self.name, self.type = source.length, source.name, source.type
                result.put(None)
                async for chunk in source.open():
                    out.write(chunk)  # may wait for the reader; this thread has no other work
            finally:
                await source.aclose()
