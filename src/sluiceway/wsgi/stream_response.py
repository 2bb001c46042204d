"""An answer from whatever an app has in hand: a path, an open file, bytes, an iterable, a URL, a part that is being read.

What can be read from its middle is given with validators and ranges; what flows past once is given whole, piece by piece.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
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
from sluiceway.server.settings import Settings
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Entry, Metadata
from sluiceway.stores.disk.metadata import entry_of
from sluiceway.stores.disk.reader import DiskReader
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.urls import is_url

__all__ = ["Told", "offer"]

PIECE = 64 << 10  # bytes read at once
READERS = 8  # threads that read files of all answers under way
_budget, _readers = (
    Budget(64 << 20),
    ThreadPoolExecutor(READERS, "sluiceway-offer"),
)  # bytes read ahead, for all of them

Answers = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Told:
    """What the app says of it; None where the source knows better."""

    filename: str | None = None
    type: str | None = None  # media type
    size: int | None = None  # bytes
    etag: str | None = None  # without quotes
    modified: float | None = None  # seconds since the epoch
    inline: bool = False  # a browser shows it in its place, instead of saving it
    allow: Sequence[str] = ()  # of a URL: hosts that may be asked
    internal: Sequence[
        str
    ] = ()  # of a URL: addresses that may be asked although they are not public


def offer(given: Content, told: Told) -> ASGIApp:
    """An ASGI app that answers one request with it. It is opened here, and closed by the answer.

    Raises NotFound, SourceFailed, BadRequest, BadSetting.
    """
    answers = _answers(given, told)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await answers(Request(scope, receive))(scope, receive, send)

    return answer


def _answers(given: Content, told: Told) -> Answers:
    if isinstance(given, str) and is_url(given):
        if not told.allow:
            raise BadRequest(
                'Name the hosts that may be asked, with allow=["files.example.com"]: a URL may come from anybody'
            )
        remote = Remote(
            Settings(fetch_from=tuple(told.allow), fetch_internal=tuple(told.internal)),
            Budget(MINIMUM),
        )
        return lambda request: pass_url(request, remote, given)
    if isinstance(given, str | os.PathLike):
        file = _open(os.fspath(given))
        if _sized(file):
            return _opened(file, told)
        file.close()  # made up while it is read, as in /proc: its size says nothing
        return _flowing(body_input(given, told.size), told)
    if isinstance(given, bytes | bytearray | memoryview):
        return _opened(io.BytesIO(given), told)
    if isinstance(given, io.IOBase) and _seeks(given):
        if _sized(given):
            return _opened(given, told)  # type: ignore[arg-type]  # a binary file by deed
        return _flowing(body_input(given, told.size), told, given.close)
    return _flowing(body_input(given, told.size), told)


def _seeks(file: io.IOBase) -> bool:
    try:
        return file.seekable()
    except Exception:  # a member of a tar that flows past has no word for it
        return False


def _sized(file: BinaryIO | io.IOBase) -> bool:
    """Whether its size can be believed, and read from the middle by it."""
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
        raise SourceFailed(f"{path} cannot be read: {error.strerror}") from error


def _opened(file: BinaryIO, told: Told) -> Answers:
    name = told.filename or os.path.basename(str(getattr(file, "name", ""))) or "download"
    metadata = Metadata(name, told.type or guess_type(name))
    descriptor = None
    try:
        descriptor = os.dup(file.fileno())
    except (
        OSError,
        AttributeError,
    ):  # no file of the system's: of what tells no version, a tag that nobody will see again
        data = file.getbuffer() if isinstance(file, io.BytesIO) else None
        etag = secrets.token_hex(16) if data is None else hashlib.sha256(data).hexdigest()[:32]
        entry = Entry(name, file.seek(0, os.SEEK_END), etag, time.time(), metadata)
        del data  # or the file could not be closed
    else:
        file.close()
        entry = entry_of(metadata, os.fstat(descriptor), name)
    entry = replace(
        entry,
        etag=told.etag or entry.etag,
        modified=entry.modified if told.modified is None else told.modified,
    )
    opened = (
        _Held(file, entry)
        if descriptor is None
        else DiskReader(entry, descriptor, _budget, _readers)
    )
    headers = object_headers(entry) | _disposition(name, told)
    return lambda request: object_response(request, opened, headers)


def _disposition(filename: str, told: Told) -> dict[str, str]:
    return {"content-disposition": format_disposition("inline", filename)} if told.inline else {}


class _Held:
    """Something in memory, or made by a program, that can be read from its middle: an object held open."""

    reopenable = True

    def __init__(self, file: BinaryIO, entry: Entry) -> None:
        self.entry, self._file = entry, file
        self.length: int | None = entry.size
        self._reading = threading.Lock()  # a read whose task was cancelled goes on in its thread

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        at, end = start, self.entry.size if stop is None else stop
        while at < end:
            piece = await asyncio.to_thread(self._read, at, min(PIECE, end - at))
            if not piece:
                raise SourceFailed(f"{self.entry.key!r} became shorter while it was read")
            at += len(piece)
            yield piece

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _read(self, at: int, size: int) -> bytes:
        with self._reading:
            self._file.seek(at)
            return self._file.read(size)

    def _close(self) -> None:
        with self._reading:
            self._file.close()


def _flowing(given: BodyInput, told: Told, close: Callable[[], None] = lambda: None) -> Answers:
    name = told.filename or given.name or "download"
    entry = Entry(
        name,
        given.length or 0,
        "",
        time.time(),
        Metadata(name, told.type or given.type or guess_type(name)),
    )
    headers = object_headers(entry) | _disposition(name, told) | {"accept-ranges": "none"}
    del headers["last-modified"], headers["etag"]
    if told.etag is not None:
        headers["etag"] = f'"{told.etag}"'
    if given.length is not None:
        headers["content-length"] = str(given.length)

    async def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        async for chunk in aexact(given, given.length):
            yield chunk

    async def aclose() -> None:
        close()

    return lambda request: StreamedResponse(body, headers, close=aclose)
