"""A raw body of known size for any HTTP client, and the counting that holds bodies to their length.

A body with a length gives exactly so many bytes, or it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.client.bodies.inputs import BodyInput, Content, body_input
from sluiceway.client.bodies.open_files import SentBytes
from sluiceway.errors import BadRequest, SourceFailed
from sluiceway.pipe.source import Buffer

__all__ = ["OnSent", "Sized", "acounted", "aexact", "counted", "each", "exact"]

OnSent = Callable[[int, int | None], object]


class Sized:
    """A raw body of known size for any HTTP client, sent with Content-Length and without chunks.

    Give it to requests (`data=`), httpx (`content=`), urllib3 (`body=`) or aiohttp (`data=`),
    together with its `headers`. Iterating it raises SourceFailed when the source has more or fewer
    bytes, so that the request fails instead of hanging or looking complete.

    Args:
        source: A path, a binary file (read from its current position), bytes, an iterable of
            bytes, or a URL. A source that is read with `await` needs an asynchronous client
            (httpx: `content=aiter(body)`).
        size: Its length in bytes.
        on_progress: Called as `on_progress(sent, size)` with bytes that the HTTP library took.

    Raises:
        BadRequest: The source cannot be sent, or its own length is not `size`.
        SourceFailed: The source cannot be read.
        PeerFailed: The URL does not answer.

    Example:
        body = sluiceway.Sized(process.stdout, 1_000_000)
        requests.put(url, data=body, headers=body.headers)
    """

    def __init__(self, source: Content, size: int, on_progress: OnSent | None = None) -> None:
        self._input, self._on_progress = body_input(source, size), on_progress
        self.len = size  # where requests looks
        # requests takes a length of 0 for none and sends chunks, which exclude a Content-Length.
        self.headers: dict[str, str] = {"Content-Length": str(size)} if size else {}
        register_with_aiohttp(type(self))

    def __iter__(self) -> Iterator[bytes]:
        return counted(exact(self._input, self.len), self.len, self._on_progress)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return acounted(aexact(self._input, self.len), self.len, self._on_progress)


class _Exact:
    """One counted reading. Raises SourceFailed for one byte more or less than `length`."""

    def __init__(self, name: str, length: int | None) -> None:
        self._name, self._length, self._count = name or "The source", length, 0
        self._last = b""

    def piece(self, piece: Buffer) -> bytes:
        """Return the piece as bytes, because some HTTP libraries take no views.

        The last one is withheld: with it, the body would be complete for the server.
        """
        if isinstance(piece, str):
            raise BadRequest(f"{self._name} gives text; open it with mode 'rb', or encode the text")
        view = memoryview(piece)
        self._count += view.nbytes
        if self._length is not None and self._count > self._length:
            raise SourceFailed(
                f"{self._name} gives more than its {self._length} bytes; nothing more is sent"
            )
        data = piece if isinstance(piece, bytes) else bytes(view)
        if self._count == self._length and data:
            self._last = data
            return b""
        return data

    def end(self) -> bytes:
        """Return the withheld piece."""
        if self._length is not None and self._count < self._length:
            raise SourceFailed(
                f"{self._name} ended after {self._count} of {self._length} bytes; "
                "the server did not get the whole"
            )
        return self._last


def exact(source: BodyInput, length: int | None) -> Iterator[bytes]:
    """Yield the bytes of an input. The last ones come when it is sure that no more follow."""
    reading = _Exact(source.name, length)
    progress: SentBytes | None = getattr(source, "progress", None)
    for data in _pieces(reading, source):
        yield data
        if progress is not None:
            progress.sent(len(data))


def _pieces(reading: _Exact, source: BodyInput) -> Iterator[bytes]:
    for piece in source.pieces():
        if data := reading.piece(piece):
            yield data
    if data := reading.end():
        yield data


async def aexact(source: BodyInput, length: int | None) -> AsyncIterator[bytes]:
    """`exact` for an event loop: blocking reads run in threads."""
    reading = _Exact(source.name, length)
    # Asked here, not in a thread that reads: here it is seen which library sends.
    progress: SentBytes | None = getattr(source, "progress", None)
    apieces = getattr(source, "apieces", None)
    pieces = each(_pieces(reading, source)) if apieces is None else _apieces(reading, apieces())
    async for data in pieces:
        yield data
        if progress is not None:
            progress.sent(len(data))


async def _apieces(reading: _Exact, pieces: AsyncIterator[Buffer]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if data := reading.piece(piece):
            yield data
    if data := reading.end():
        yield data


async def each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces in an event loop; each is made in a thread."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def counted(
    pieces: Iterable[bytes], length: int | None, on_progress: OnSent | None
) -> Iterator[bytes]:
    """Yield the pieces; `on_progress` gets the number of bytes that the HTTP library took."""
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(sent, length)


async def acounted(
    pieces: AsyncIterator[bytes], length: int | None, on_progress: OnSent | None
) -> AsyncIterator[bytes]:
    """`counted` for an event loop."""
    sent = 0
    async for piece in pieces:
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(sent, length)
