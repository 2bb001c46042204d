"""Small pieces of a slow sender, gathered until a thread writes them through the page cache."""

from __future__ import annotations

from sluiceway.pipe.source import Buffer

__all__ = ["BUFFER", "GatheredPieces"]

BUFFER: int = 64 << 10  # bytes that are gathered before a thread writes them
MOST_PIECES = 64  # then they are joined: each object costs sixty bytes, and a piece may be one byte


class GatheredPieces:
    """The pieces in their order; `size` is their bytes."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []
        self.size: int = 0

    @property
    def is_full(self) -> bool:
        return self.size > BUFFER

    def add(self, data: Buffer) -> None:
        self._pieces.append(data)
        self.size += len(data)
        if len(self._pieces) > MOST_PIECES:
            self._pieces = [b"".join(self._pieces)]

    def joined(self) -> Buffer:
        """All bytes. They stay until `clear`: a write that fails has lost none."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def clear(self) -> None:
        self._pieces, self.size = [], 0
