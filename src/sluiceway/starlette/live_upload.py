"""A file of a form that still arrives, as Starlette's UploadFile: to read it is to read the socket.

What was read can be read again: from memory while it was no more than 1 MiB, else from a spool that
`spool` or an early `seek` fills. It must not know how forms are walked.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, BinaryIO, Self, cast

from starlette.datastructures import Headers, UploadFile

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.errors import BodyCut
from sluiceway.pipe.once import Once
from sluiceway.server.forms.saved_file import SavedFile
from sluiceway.server.forms.walk import FileBegan, FormItem, check_skipped
from sluiceway.starlette.blocking_file import BlockingFile
from sluiceway.starlette.replay import REPLAY_BYTES, Replay, Spool
from sluiceway.uploads.view_progress import FileProgress

__all__ = ["LiveUpload"]

SPOOL_PIECE = 256 << 10  # bytes that an iteration reads from a spool at a time


class LiveUpload(UploadFile):
    """A file of a form: its bytes are read from the client while they arrive.

    It has all of UploadFile, and is an asynchronous iterable of its bytes besides: `httpx` and
    `aiohttp` take it as the body of a request. Read it before you ask for the next part of the
    form. As a parameter of a FastAPI view, `file: LiveUpload` stands where `file: UploadFile`
    stood, and `add(app)` makes it live.

    Attributes:
        name: The field's name.
        filename: The name of the file as the client sent it. It is not a safe path.
        headers: Those of the part. Its media type is also `content_type`.
        size: Its bytes if it is the form's last part, which is known only at its end; None if the
            length of the form is unknown. Of a spooled file: its bytes.
        progress: What watchers see of it; None unless the request is watched.

    Example:
        @app.post("/books")
        async def add_book(title: Annotated[str, Form()], file: LiveUpload) -> None:
            await client.put(f"{BACKEND}/{title}", content=file)
    """

    # Not in `__dict__`, which FastAPI writes into its 422 when a form's model is not valid.
    __slots__ = (
        "_at",
        "_at_end",
        "_at_spool",
        "_blocking",
        "_closed",
        "_ended",
        "_failure",
        "_held",
        "_items",
        "_loop",
        "_once",
        "_place",
        "_replay",
        "_spool",
        "_thread",
        "progress",
    )

    name: str
    filename: str
    headers: Headers

    def __init__(self, items: AsyncIterator[FormItem], began: FileBegan) -> None:
        # not UploadFile's: it wants the whole file
        self.name, self.filename, self.size = began.name, began.filename, began.size
        self.headers = Headers(raw=began.raw_headers())
        self._max_mem_size = 0
        self._items = items
        self._replay = Replay()
        self._spool: Spool | None = None
        self._held, self._at = b"", 0  # the piece that came last, and how much of it was read
        self._place = 0  # of the reader, before there is a spool
        self._ended = self._closed = False
        self._failure: Exception | None = None  # of a spool: what it took is lost
        self._once = Once(f"The file {began.filename!r}")
        self._blocking: BlockingFile | None = None
        self._thread = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        # set by the form: looks at what follows the file; notes that the file is spooled, and why
        self._at_end: Callable[[], Awaitable[None]] | None = None
        self._at_spool: Callable[[str], None] = lambda _: None
        # Of a request that is watched; `Form` and `Sized` look for it.
        self.progress: FileProgress | None = None
        register_with_aiohttp(type(self))

    @classmethod
    def spooled(cls, name: str, file: UploadFile) -> Self:
        """A file that the framework has spooled already.

        Args:
            name: The field's name.
            file: The framework's own.
        """

        async def nothing() -> AsyncIterator[FormItem]:
            return
            yield b""

        began = FileBegan(name, file.filename or "", file.content_type or "", file.size)
        upload = cls(nothing(), began)
        upload.headers = file.headers
        upload._ended, upload._spool = True, Spool(0, file.file)
        return upload

    @property
    def position(self) -> int:
        """Bytes from its beginning to the next one that is read."""
        if self._spool is not None and not self._spool.file.closed:
            return self._spool.begins + self._spool.file.tell()
        return self._place

    @property
    def left(self) -> int | None:
        """Bytes that are left to read, as far as `size` is right."""
        return None if self.size is None else self.size - self.position

    @property
    def live(self) -> bool:
        """Whether reading still reads the connection."""
        return self._spool is None and not self._ended

    forward_only = live  # code that only needs its bytes should not rely on `size`

    @property
    def file(self) -> BinaryIO:  # type: ignore[override]
        """An ordinary binary file, for code in a thread: a view with plain `def`.

        In the event loop it can be used after `await spool()`.
        """
        if self._spool is not None:
            return cast("BinaryIO", self._spool.file)
        if self._blocking is None:
            if self._loop is None:
                raise io.UnsupportedOperation("This file was made outside of an event loop")
            self._blocking = BlockingFile(self, self._loop, self._thread)
        return cast("BinaryIO", self._blocking)

    async def read(self, size: int = -1) -> bytes:
        """Read exactly `size` bytes, fewer only at the end.

        Args:
            size: Bytes; negative for everything, which needs memory for all of it.

        Raises:
            BodyCut: The client sent less than the whole form.
            BadForm: The form is malformed.
            TooSlow: No byte came for 60 seconds.
            DigestMismatch: The body does not have the digest that the request promised.
            WrongOrder: A field follows that had to stand before this file.
            SourceSpent: A large read after the end, as of a body that is sent a second time.
        """
        if self._spool is not None:
            return await self.read_some(size)
        got = bytearray()
        while size < 0 or len(got) < size:
            data = await self.read_some(size - len(got) if size >= 0 else None)
            if not data:
                break
            got += data
        return self._once.read(bytes(got), size)

    async def read_some(self, size: int | None = None) -> bytes:
        """What is there: at most `size` bytes, none only at the end.

        Args:
            size: Bytes; None for a piece as it came.

        Raises as `read`, but never SourceSpent.
        """
        if self.progress is None:
            return await self._read_some(size)
        self.progress.begin_read(self.position)
        data = await self._read_some(size)
        self.progress.take(self.position)
        return data

    def kept(self, size: int | None = None) -> None:
        """Say how much of the file is kept, for those who watch its upload.

        `save`, and an HTTP library that sends the file on, say it themselves.

        Args:
            size: Bytes from the file's beginning; None for all that was read.
        """
        if self.progress is not None:
            self.progress.keep(self.position if size is None else size)

    async def _read_some(self, size: int | None) -> bytes:
        if self._spool is not None:
            return await self._spool.read(SPOOL_PIECE if size is None else size)
        replay = self._replay
        if replay.complete and self._place < replay.ends:
            data = replay.read(self._place, REPLAY_BYTES if size is None else size)
        else:
            if self._at == len(self._held):
                self._held, self._at = await self._fetch(), 0
            end = len(self._held) if size is None else self._at + size
            # the bytes object itself, not a copy, where all of it is asked for
            data = self._held[self._at : end]
            self._at += len(data)
            replay.take(data)
        self._place += len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes as they arrive, in pieces that are not empty.

        Raises as `read`, and SourceSpent when all of the file was read before: an HTTP client that
        sends it a second time would send nothing. `seek(0)` begins anew.
        """
        self._once.begin()
        while data := await self.read_some():
            self._once.mark_read()
            yield data
        self._once.mark_ended()

    async def seek(self, offset: int, whence: int = 0) -> int:  # type: ignore[override]
        """Go to another place of the file.

        Back is free while no more than 1 MiB was read. Before that, any other place spools the
        file: the rest is read from the client into memory, above 1 MiB into a temporary file.
        After that, only forward is possible, and skips.

        Args:
            offset: Bytes.
            whence: As for Python's files: 0 from the beginning, 1 from here, 2 from the end.

        Returns:
            The new place.

        Raises:
            io.UnsupportedOperation: The bytes there went by; call `spool` before reading.
            BodyCut: As all that `read` raises, when it reads on.
        """
        if self._spool is None and (offset, whence) != (0, 1):
            target = offset if whence == 0 else self._place + offset
            if whence == 2 or not self._reachable(target):
                self._at_spool(f"seek({offset}, {whence})")
                await self.spool()
            elif target > self._place:
                await self._skip_to(target)
            else:
                self._place = target
        self._once = Once(f"The file {self.filename!r}")
        if self._spool is not None:
            return await self._spool.seek(offset, whence)
        return self._place

    async def spool(self) -> None:
        """Read the rest from the client into memory, above 1 MiB into a temporary file.

        From then on the file can be read at any place, as UploadFile can, also through `file`.
        What went by before is not in it; call it before you read more than 1 MiB.

        Raises:
            OSError: The temporary file cannot be written.
            BodyCut: As all that `read` raises.
        """
        if self._spool is not None:
            return
        replay = self._replay
        spool = Spool(0 if replay.complete else self._place)
        try:
            if replay.complete:
                await spool.write(replay.read(0, REPLAY_BYTES))
            await spool.write(self._held[self._at :])
            while piece := await self._fetch():
                await spool.write(piece)
            size = spool.begins + spool.file.tell()
            await spool.seek(self._place, 0)
        except BaseException as error:
            spool.file.close()
            self._failure = error if isinstance(error, Exception) else BodyCut()
            raise
        self._spool, self.size, self._held = spool, size, b""
        replay.close()

    async def write(self, data: bytes) -> None:
        """As UploadFile's: spools the file, and writes at its place."""
        await self.spool()
        if self._spool is not None:
            await self._spool.write(data)

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rest of the file under a path.

        Args:
            path: Where the file appears when it is complete and synchronised with the disk, not
                before.

        Raises:
            OSError: It cannot be written there. Otherwise as `read`.
        """
        saved = SavedFile(path)
        try:
            await asyncio.to_thread(saved.open)
            async for data in self:
                if await asyncio.to_thread(saved.write, data, self.progress is not None):
                    self.kept()
            await asyncio.to_thread(saved.publish)
            self.kept()
        except BaseException:
            saved.discard()
            raise

    async def close(self) -> None:
        """Give up what was kept of it. The rest is skipped when the next part is asked for."""
        self._closed = True
        self._replay.close()
        if self._spool is not None:
            await asyncio.to_thread(self._spool.file.close)

    def _reachable(self, target: int) -> bool:
        """Whether a seek needs no spool. Raises io.UnsupportedOperation if none would help."""
        if self._replay.complete:
            return 0 <= target <= self._replay.ends
        if target < self._place:
            raise io.UnsupportedOperation(
                f"The first bytes of {self.filename!r} went by: more than {REPLAY_BYTES >> 20} MiB "
                "of the file was read while it arrived. Call `await file.spool()` before reading"
            )
        return True

    async def _skip_to(self, target: int) -> None:
        while self._place < target and await self.read_some(target - self._place):
            pass

    async def _fetch(self) -> bytes:
        """The next piece from the client; none at the end."""
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise io.UnsupportedOperation("The file is closed")
        if self._ended:
            return b""
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None
        if isinstance(item, bytes):
            return item
        if self._at_end is not None:
            await self._at_end()
        self._ended = True
        return b""

    async def _skip(self) -> None:
        """Read to the end and forget. Raises TooLarge."""
        skipped = 0
        if self._spool is None:
            self._replay.close()
            skipped, self._held = len(self._held) - self._at, b""
            self._at = 0
            while data := await self._fetch():
                skipped += len(data)
                check_skipped(skipped, self.name, self.filename or "")

    # FastAPI's: how the parameter looks in OpenAPI, and how a form's value becomes it

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "function-after",
            "function": {"type": "no-info", "function": cls._from_form},
            "schema": {"type": "is-instance", "cls": UploadFile},
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        # OpenAPI 3.0 knows the first, JSON Schema 2020-12 the second
        return {
            "type": "string",
            "format": "binary",
            "contentMediaType": "application/octet-stream",
        }

    @classmethod
    def _from_form(cls, value: UploadFile) -> LiveUpload:
        """Itself; or made of one that FastAPI has spooled, in an app without `add`."""
        return value if isinstance(value, LiveUpload) else cls.spooled("", value)
