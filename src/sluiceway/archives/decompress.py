"""Decompresses a stream while it arrives: gzip, bzip2 or xz by its first bytes; other bytes as they
are.

Each step returns at most STEP bytes, and a stream that expands too far is refused: a few KiB can
hold gigabytes. A stream that was cut is an error, never an end. Knows nothing of what the bytes
are.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Protocol

from sluiceway.errors import SourceFailed, TooLarge, Unsupported
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["decompress"]

STEP = 1 << 20  # bytes that one step may return; each one is a switch to a thread
INPUT = 64 << 10  # bytes that one step may take
# Bytes of an xz stream's dictionary; `xz -9` needs 65 MiB, a hostile head asks for 4 GiB.
XZ_MEMORY = 96 << 20
MAGIC = 6  # bytes that identify the format

_REFUSED = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x9d": "compress",
    b"Rar!": "RAR",
}
# Raised by the three libraries for data that they cannot read.
_BROKEN = (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError)


class _Decoder(Protocol):
    """The interface of bz2's and lzma's decompressors; `_Gzip` has it, too."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


async def decompress(
    chunks: AsyncIterator[Buffer], display_name: str, ratio: int, free: int
) -> AsyncGenerator[Buffer, None]:
    """Yield the chunks, decompressed where they are compressed.

    Above `free` bytes, the output may be `ratio` times the input. Raises TooLarge, Unsupported for
    another compression, SourceFailed for damaged or cut data.
    """
    first = b""
    try:
        while len(first) < MAGIC and (chunk := await anext(chunks, None)) is not None:
            first += bytes(chunk)
        for magic, what in _REFUSED.items():
            if first.startswith(magic):
                raise Unsupported(
                    f"{display_name} is {what}; tar is read plain or packed with gzip, bzip2 or xz"
                )
        make = _decoder(first)
        if make is None:
            if first:
                yield first
            del first
            async for chunk in chunks:
                yield chunk
            return
        expansion = _Expansion(make, display_name, ratio, free)
        async for piece in expansion.all(first, chunks):
            yield piece
    finally:
        await close_stream(chunks)


def _decoder(first: bytes) -> Callable[[], _Decoder] | None:
    if first.startswith(b"\x1f\x8b"):
        return _Gzip
    if first.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if first.startswith(b"\xfd7zXZ\0"):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    return None


class _Gzip:
    """One member of a gzip file, its checksum included."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._full = False  # the last step returned all it might: there may be more inside

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._zlib.eof or self._full or self._zlib.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        made = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._full = len(made) == max_length
        return made


class _Expansion:
    """Compressed streams, one or several in a row, as pigz and `cat` write them."""

    def __init__(
        self, make: Callable[[], _Decoder], display_name: str, ratio: int, free: int
    ) -> None:
        self._make, self._display_name, self._ratio, self._free = make, display_name, ratio, free
        self._decoder: _Decoder | None = None  # None: between two streams
        self._input = self._output = 0  # bytes

    async def all(
        self, first: bytes, chunks: AsyncIterator[Buffer]
    ) -> AsyncGenerator[Buffer, None]:
        async for piece in self._some(first):
            yield piece
        async for chunk in chunks:
            for at in range(0, len(chunk), INPUT):
                async for piece in self._some(bytes(chunk[at : at + INPUT])):
                    yield piece
        if self._decoder is not None:
            raise SourceFailed(f"{self._display_name} ends in the middle of its compressed data")

    async def _some(self, data: bytes) -> AsyncGenerator[Buffer, None]:
        self._input += len(data)
        while True:
            if self._decoder is None:
                data = data.lstrip(b"\0")  # tapes and block devices are padded with zeros
                if not data:
                    return
                self._decoder = self._make()
            piece = await in_thread(partial(self._step, self._decoder, data))
            self._output += len(piece)
            if self._output > self._free and self._output > self._input * self._ratio:
                raise TooLarge(
                    f"{self._display_name} expands to more than {self._ratio} times its size."
                    " If that is right, decompress it first: xz -dc x.tar.xz | sluiceway copy - …"
                    " --unpack tar"
                )
            if piece:
                yield piece
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data
                self._decoder = None
            elif self._decoder.needs_input:
                return

    def _step(self, decoder: _Decoder, data: bytes) -> bytes:
        try:
            return decoder.decompress(data, STEP)
        except (MemoryError, *_BROKEN) as error:
            # xz says "Memory usage limit exceeded".
            if isinstance(error, MemoryError) or "memory" in str(error).lower():
                raise TooLarge(
                    f"{self._display_name} needs more than {XZ_MEMORY >> 20} MiB of memory"
                    " to be decompressed"
                ) from error
            raise SourceFailed(
                f"{self._display_name} is damaged: its compressed data cannot be read ({error})"
            ) from error
