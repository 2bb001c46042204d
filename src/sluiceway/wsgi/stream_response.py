"""A response from whatever an app has: path, open file, bytes, iterable, URL, a file of a form.

A source that can be read from its middle gets validators and ranges; a stream that can be read
once is sent whole, as it comes. It must not know any framework.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluiceway.client.bodies.inputs import BodyInput, Content, body_input
from sluiceway.client.bodies.sized import aexact
from sluiceway.client.local.believed_sizes import measured
from sluiceway.errors import BadRequest, NotFound, SourceFailed
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.source import Buffer
from sluiceway.server.handlers.download import object_headers, object_response
from sluiceway.server.handlers.fetch import pass_url
from sluiceway.server.remote import Remote
from sluiceway.server.settings.checked import Settings
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Entry, Metadata
from sluiceway.stores.disk.metadata import entry_of
from sluiceway.stores.disk.reader import DiskReader
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.urls import is_url

__all__ = ["StreamOptions", "stream_response"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a reader would break the line there
READ_BLOCK = 64 << 10  # bytes of one read of a source that is not a file of the system
READER_THREADS = 8  # which read files for all responses under way
# Bytes that are read ahead, for all of them.
_budget, _readers = Budget(64 << 20), ThreadPoolExecutor(READER_THREADS, "sluiceway-stream")

MakeResponse = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the app knows of the source; None where the source knows better."""

    filename: str | None = None
    type: str | None = None  # media type
    size: int | None = None  # bytes
    etag: str | None = None  # without quotes
    modified: float | None = None  # seconds since the epoch
    inline: bool = False  # a browser shows it in its place, instead of saving it
    allow: Sequence[str] = ()  # of a URL: hosts that may be asked
    # of a URL: addresses that may be asked although they are not public
    internal: Sequence[str] = ()


def stream_response(source: Content, options: StreamOptions) -> ASGIApp:
    """An ASGI app that answers one request with the source, and closes it then.

    The source is opened here. Raises NotFound, SourceFailed, BadRequest, BadSetting.
    """
    make_response = _response_maker(source, options)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await make_response(Request(scope, receive))(scope, receive, send)

    return app


def _response_maker(source: Content, options: StreamOptions) -> MakeResponse:
    if isinstance(source, str) and is_url(source):
        if not options.allow:
            raise BadRequest(
                "Name the hosts that may be asked, with allow=["
                '"files.example.com"]: a URL may come from anybody'
            )
        remote = Remote(
            Settings(fetch_from=tuple(options.allow), fetch_internal=tuple(options.internal)),
            Budget(MINIMUM),
        )
        return lambda request: pass_url(request, remote, source)
    if isinstance(source, str | os.PathLike):
        file = _open(os.fspath(source))
        if _has_true_size(file):
            return _seekable(file, options)
        file.close()  # made while it is read, as in /proc: its size means nothing
    elif isinstance(source, bytes | bytearray | memoryview):
        return _seekable(io.BytesIO(source), options)
    elif isinstance(source, io.IOBase) and _can_seek(source):
        if _has_true_size(source):
            return _seekable(source, options)  # type: ignore[arg-type]  # it is a binary file
        return _once(body_input(source, options.size), options, source.close)
    return _once(body_input(source, options.size), options)


def _can_seek(file: io.IOBase) -> bool:
    try:
        return file.seekable()
    except Exception:  # a member of a tar stream has no such method
        return False


def _has_true_size(file: BinaryIO | io.IOBase) -> bool:
    """Whether the file's size is true, so that it can be read from its middle."""
    try:
        descriptor = file.fileno()
        return not stat.S_ISREG(os.fstat(descriptor).st_mode) or measured(descriptor)[1] is not None
    except (OSError, AttributeError):  # in memory, or in an archive
        return True


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFound(f"There is no file {os.path.basename(path)!r}") from None
    except OSError as error:
        failed = SourceFailed(f"{path} cannot be read: {error.strerror}")
        raise failed.for_operator() from error


def _seekable(file: BinaryIO, options: StreamOptions) -> MakeResponse:
    name = options.filename or os.path.basename(str(getattr(file, "name", ""))) or "download"
    metadata = Metadata(name, options.type or guess_type(name))
    descriptor = None
    try:
        descriptor = os.dup(file.fileno())
    except (OSError, AttributeError):  # not a file of the system
        # without a version of its own it gets a tag that will not be seen again
        data = file.getbuffer() if isinstance(file, io.BytesIO) else None
        etag = secrets.token_hex(16) if data is None else hashlib.sha256(data).hexdigest()[:32]
        entry = Entry(name, file.seek(0, os.SEEK_END), etag, time.time(), metadata)
        del data  # or the file could not be closed
    else:
        file.close()
        entry = entry_of(metadata, os.fstat(descriptor), name)
    entry = replace(
        entry,
        etag=options.etag or entry.etag,
        modified=entry.modified if options.modified is None else options.modified,
    )
    reader = (
        _FileReader(file, entry)
        if descriptor is None
        else DiskReader(entry, descriptor, _budget, _readers)
    )
    headers = object_headers(entry) | _disposition(name, options)
    return lambda request: object_response(request, reader, headers)


def _disposition(filename: str, options: StreamOptions) -> dict[str, str]:
    if not options.inline:
        return {}
    return {"content-disposition": format_disposition("inline", _CONTROL.sub("_", filename))}


class _FileReader:
    """An object reader for a file in memory, or one that a program makes."""

    reopenable = True

    def __init__(self, file: BinaryIO, entry: Entry) -> None:
        self.entry, self._file = entry, file
        self.length: int | None = entry.size
        self._reading = threading.Lock()  # a read whose task was cancelled goes on in its thread

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        at, end = start, self.entry.size if stop is None else stop
        while at < end:
            data = await asyncio.to_thread(self._read, at, min(READ_BLOCK, end - at))
            if not data:
                raise SourceFailed(f"{self.entry.key!r} became shorter while it was read")
            at += len(data)
            yield data

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _read(self, at: int, size: int) -> bytes:
        with self._reading:
            self._file.seek(at)
            return self._file.read(size)

    def _close(self) -> None:
        with self._reading:
            self._file.close()


def _once(
    source: BodyInput, options: StreamOptions, close: Callable[[], None] = lambda: None
) -> MakeResponse:
    name = options.filename or source.name or "download"
    metadata = Metadata(name, options.type or source.type or guess_type(name))
    entry = Entry(name, source.length or 0, "", time.time(), metadata)
    headers = object_headers(entry) | _disposition(name, options) | {"accept-ranges": "none"}
    del headers["last-modified"], headers["etag"]
    if options.etag is not None:
        headers["etag"] = f'"{options.etag}"'
    if source.length is not None:
        headers["content-length"] = str(source.length)

    async def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        async for chunk in aexact(source, source.length):
            yield chunk

    async def aclose() -> None:
        close()

    return lambda request: StreamedResponse(body, headers, close=aclose)
