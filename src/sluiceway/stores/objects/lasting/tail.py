"""The bytes of an upload behind its last part, durable in small objects until a part has them.

Each object is more than twice as large as the next one: a new one absorbs smaller ones before it.
So a byte is written a few times, whatever the sender's pace, and the objects are few. Names are
never used twice: what a dead process still writes replaces nothing.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Sequence

from sluiceway.errors import StoreFailed
from sluiceway.stores.contract import Metadata
from sluiceway.stores.objects.bucket import READ_BLOCK, REPLACE_ANY, Bucket
from sluiceway.stores.objects.lasting.state import Piece

__all__ = ["Tail"]

_DESCRIBED = Metadata(filename="")


class Tail:
    """`pieces` are those that exist, without a gap; their keys begin with `prefix`.

    `life`: how long new ones stay, as `format_life` writes it.
    """

    def __init__(
        self, bucket: Bucket, prefix: str, draft: str, life: str, pieces: Sequence[Piece]
    ) -> None:
        self._bucket, self._prefix, self._draft = bucket, prefix, draft
        self._names = (f"{life}.{uuid.uuid4().hex[:12]}-{number}" for number in itertools.count())
        self.pieces: list[Piece] = list(pieces)
        self.written: set[str] = {piece.name for piece in pieces}  # objects that are still there

    @property
    def end(self) -> int:
        """Bytes of the upload up to the end of the last piece; 0 for none."""
        return self.pieces[-1].end if self.pieces else 0

    async def add(self, body: bytearray, start: int, size: int, whole: bool = False) -> None:
        """Keep the first `size` bytes of `body`, which begins at byte `start` of the upload.

        `whole`: in one new object, whatever stands before.
        """
        end = start + size
        at = max(start, self.end)
        absorbed = len(self.pieces)
        while absorbed and (whole or self.pieces[absorbed - 1].size <= 2 * (end - at)):
            absorbed -= 1
            at = self.pieces[absorbed].start
        piece = Piece(next(self._names), at, end - at)
        with memoryview(body)[at - start : size] as view:
            await self._bucket.put(
                self._prefix + piece.name, view, _DESCRIBED, self._draft, REPLACE_ANY
            )
        self.written.add(piece.name)
        self.pieces[absorbed:] = [piece]

    def drop_before(self, offset: int) -> None:
        """Parts have the bytes before `offset`."""
        self.pieces = [piece for piece in self.pieces if piece.end > offset]

    def cut(self, offset: int) -> None:
        """Bytes from `offset` on do not count."""
        self.pieces = [
            Piece(piece.name, piece.start, min(piece.size, offset - piece.start))
            for piece in self.pieces
            if piece.start < offset
        ]

    async def read(self, start: int) -> AsyncIterator[bytes]:
        """The bytes of the pieces from `start` on. Raises NotFound where one is gone."""
        for piece in self.pieces:
            at = max(start, piece.start)
            while at < piece.end:
                stop = min(at + READ_BLOCK, piece.end)
                span = (at - piece.start, stop - piece.start)
                response = await self._bucket.get(self._prefix + piece.name, span)
                try:
                    data = await self._bucket.run(b"".join, response.blocks)
                finally:
                    response.close()
                if len(data) != stop - at:
                    raise StoreFailed("The kept bytes of an upload are shorter than they were")
                yield data
                at = stop

    def forget(self, needed: Sequence[Piece]) -> list[str]:
        """The keys of objects that neither the upload nor `needed` has; they may be deleted."""
        names = {piece.name for piece in (*self.pieces, *needed)}
        free = self.written - names
        self.written &= names
        return [self._prefix + name for name in sorted(free)]
