"""A raw body of known size for any HTTP client, and the counting that holds every body of ours to its length.

What promised a length gives exactly so many bytes or fails loudly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.client.bodies.inputs import BodyInput, Content, material
from sluiceway.errors import BadRequest, SourceFailed
from sluiceway.pipe.source import Buffer

__all__ = ["OnSent", "Sized", "acounted", "aexact", "counted", "each", "exact"]

OnSent = Callable[[int, int | None], object]


class Sized:
    """A body of `size` bytes from anything, also from what cannot tell its length, sent with Content-Length and without chunks.

    Give it to requests (`data=`), httpx (`content=`), urllib3 (`body=`) or aiohttp (`data=`), with its `headers`. A source
    that gives more or less raises SourceFailed, so that the request fails instead of hanging or passing for whole. What is read
    with `await` goes to asynchronous clients only (httpx: `content=aiter(body)`).
    """

    def __init__(self, source: Content, size: int, on_progress: OnSent | None = None) -> None:
        self._material, self._on_progress = material(source, size), on_progress
        self.len = size  # where requests looks
        # Requests takes a length of 0 for none and sends chunks; a Content-Length beside them would contradict them.
        self.headers: dict[str, str] = {"Content-Length": str(size)} if size else {}
        register_with_aiohttp(type(self))

    def __iter__(self) -> Iterator[bytes]:
        return counted(exact(self._material, self.len), self.len, self._on_progress)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return acounted(aexact(self._material, self.len), self.len, self._on_progress)


class _Exact:
    """One reading of a material, counted. Raises SourceFailed for one byte more or less than `length`."""

    def __init__(self, what: str, length: int | None) -> None:
        self._what, self._length, self._count = what or "The source", length, 0
        self._last = b""

    def piece(self, piece: Buffer) -> bytes:
        """As bytes: not every HTTP library takes views. The last one is kept back, or the body would be whole over there."""
        if isinstance(piece, str):
            raise BadRequest(
                f"{self._what} gives text; open it with mode 'rb', or encode what it gives"
            )
        view = memoryview(piece)
        self._count += view.nbytes
        if self._length is not None and self._count > self._length:
            raise SourceFailed(
                f"{self._what} gives more than the {self._length} bytes it was said to have; nothing more is sent"
            )
        data = piece if isinstance(piece, bytes) else bytes(view)
        if self._count == self._length and data:
            self._last = data
            return b""
        return data

    def end(self) -> bytes:
        """What was kept back."""
        if self._length is not None and self._count < self._length:
            raise SourceFailed(
                f"{self._what} ended after {self._count} of {self._length} bytes; what was sent is not the whole"
            )
        return self._last


def exact(source: BodyInput, length: int | None) -> Iterator[bytes]:
    """The bytes of a material, held to `length`: the last of them come when it is sure that no more follow."""
    held = _Exact(source.name, length)
    for piece in source.pieces():
        if data := held.piece(piece):
            yield data
    if data := held.end():
        yield data


async def aexact(source: BodyInput, length: int | None) -> AsyncIterator[bytes]:
    """The same for an event loop; what blocks is read in threads."""
    apieces = getattr(source, "apieces", None)
    if apieces is None:
        async for data in each(exact(source, length)):
            yield data
        return
    held = _Exact(source.name, length)
    async for piece in apieces():
        if data := held.piece(piece):
            yield data
    if data := held.end():
        yield data


async def each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same for an event loop: each piece is made in a thread."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def counted(pieces: Iterable[bytes], length: int | None, tell: OnSent | None) -> Iterator[bytes]:
    """The pieces; `tell` hears how many bytes the HTTP library has asked for beyond."""
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if tell is not None:
            tell(sent, length)


async def acounted(
    pieces: AsyncIterator[bytes], length: int | None, tell: OnSent | None
) -> AsyncIterator[bytes]:
    """The same for an event loop."""
    sent = 0
    async for piece in pieces:
        yield piece
        sent += len(piece)
        if tell is not None:
            tell(sent, length)
