"""A compressed stream read while it arrives: gzip, bzip2 and xz, told apart by their first bytes; anything else as it is.

Each step gives at most STEP bytes, whatever ten bytes of input stand for, and a stream that swells beyond all measure is refused:
a few KiB can be made to hold gigabytes. A stream that was cut is an error, never an end.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from sluiceway.errors import SourceFailed, TooLarge, Unsupported
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer

__all__ = ["unsqueezed"]

STEP = 1 << 20  # bytes one step may give: a thread's hop for each
INPUT = 64 << 10  # bytes one step may take
XZ_MEMORY = (
    96 << 20
)  # bytes an xz stream may ask for its dictionary; `xz -9` asks for 65 MiB, a hostile head for 4 GiB
MAGIC = 6  # bytes that tell what it is

_REFUSED = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x9d": "compress",
    b"Rar!": "RAR",
}
_BROKEN = (
    zlib.error,
    lzma.LZMAError,
    OSError,
    ValueError,
    EOFError,
)  # what the three raise for data they cannot read


class _Decoder(Protocol):
    """bz2's and lzma's decompressors; gzip's is made to look like them."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


async def unsqueezed(
    chunks: AsyncIterator[Buffer], display_name: str, ratio: int, free: int
) -> AsyncGenerator[Buffer, None]:
    """The chunks, decompressed where they are compressed. Above `free` bytes they may be `ratio` times what came in.

    Raises TooLarge, Unsupported for what is compressed in another way, SourceFailed for what is damaged or cut.
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
        stretched = _Stretched(make, display_name, ratio, free)
        async for piece in stretched.all(first, chunks):
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
        self._full = False  # the last step gave all it might: there may be more inside

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


class _Stretched:
    """Compressed streams, one or several behind each other as pigz and `cat` make them."""

    def __init__(
        self, make: Callable[[], _Decoder], display_name: str, ratio: int, free: int
    ) -> None:
        self._make, self._display_name, self._ratio, self._free = make, display_name, ratio, free
        self._decoder: _Decoder | None = None  # None: between two streams
        self._came = self._made = 0

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
        self._came += len(data)
        while True:
            if self._decoder is None:
                data = data.lstrip(b"\0")  # tapes and block devices are filled up with zeros
                if not data:
                    return
                self._decoder = self._make()
            piece = await asyncio.to_thread(self._step, self._decoder, data)
            self._made += len(piece)
            if self._made > self._free and self._made > self._came * self._ratio:
                raise TooLarge(
                    f"{self._display_name} swells to more than {self._ratio} times its size. Where that is right, unpack it before: "
                    "xz -dc x.tar.xz | sluiceway copy - … --unpack tar"
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
        except MemoryError as error:
            raise TooLarge(
                f"{self._display_name} asks for more than {XZ_MEMORY >> 20} MiB of memory to be unpacked"
            ) from error
        except _BROKEN as error:
            if "memory" in str(error).lower():  # xz: "Memory usage limit exceeded"
                raise TooLarge(
                    f"{self._display_name} asks for more than {XZ_MEMORY >> 20} MiB of memory to be unpacked"
                ) from error
            raise SourceFailed(
                f"{self._display_name} is damaged: its compressed data cannot be read ({error})"
            ) from error
