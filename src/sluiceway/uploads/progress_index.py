"""The index of the shared board: from the hash of an upload's id to its slot, whichever process has it.

Each process's part of the slots has buckets of its own, which only that process writes; all read all. No lock: a reader that is
led from one bucket's chain into another's, because a slot was used again meanwhile, begins anew. A search through the whole board
took a fifth of a millisecond, ten times a second for each watcher of an upload that never came.
"""

from __future__ import annotations

import mmap
import struct

__all__ = ["ProgressIndex"]

NAME = 16  # bytes at the beginning of a slot: the hash of the id, zeros where none was
TRIES = 8  # how often a reader begins anew; each time a slot must have been used again at the very moment

_LINK = struct.Struct(
    "I"
)  # a slot's number plus one; 0 is the end of a chain. Native and aligned: nobody reads half of it


class ProgressIndex:
    """`slots` of `size` bytes each in shared memory, as many links behind them."""

    def __init__(self, memory: mmap.mmap, slots: int, size: int, parts: int, part: int) -> None:
        self._map, self._slot_size, self._parts, self._part = memory, size, parts, part
        self._share = slots // parts  # slots of a part, and its buckets
        self._heads = slots * size  # where the buckets begin
        self._build()

    @staticmethod
    def size(slots: int, size: int) -> int:
        """Bytes of memory for the slots and their index."""
        return slots * size + slots * _LINK.size

    def add(self, record: int) -> None:
        """Our own slot, after it was filled."""
        head = self._head(self._name(record), self._part)
        self._put(self._next(record), self._get(head))
        self._put(head, record + 1)

    def remove(self, record: int) -> None:
        """Our own slot, before it is filled anew. One that is in no chain is left as it is."""
        at = self._head(self._name(record), self._part)
        for _ in range(self._share + 1):
            link = self._get(at)
            if link == record + 1:
                self._put(at, self._get(self._next(record)))
                return
            if not link:
                return
            at = self._next(link - 1)

    def find(self, name: bytes) -> int | None:
        for part in range(self._parts):
            record = self._search(name, part)
            if record is not None:
                return record
        return None

    def _search(self, name: bytes, part: int) -> int | None:
        head = self._head(name, part)
        for _ in range(TRIES):
            link = self._get(head)
            for _ in range(self._share):
                if not link or self._head(self._name(link - 1), part) != head:
                    break
                if self._name(link - 1) == name:
                    return link - 1
                link = self._get(self._next(link - 1))
            if not link:
                return None
        return None

    def _build(self) -> None:
        """What a dead process left of our part may be cut in the middle of a change."""
        begin = self._part * self._share
        for record in range(begin, begin + self._share):
            self._put(self._heads + record * _LINK.size, 0)
        for record in range(begin, begin + self._share):
            if any(self._name(record)):
                self.add(record)

    def _name(self, record: int) -> bytes:
        return self._map[record * self._slot_size : record * self._slot_size + NAME]

    def _head(self, name: bytes, part: int) -> int:
        """The names are hashes already."""
        return (
            self._heads
            + (part * self._share + int.from_bytes(name[:4], "little") % self._share) * _LINK.size
        )

    def _next(self, record: int) -> int:
        return (record + 1) * self._slot_size - _LINK.size

    def _get(self, at: int) -> int:
        (link,) = _LINK.unpack_from(self._map, at)
        return int(link)

    def _put(self, at: int, link: int) -> None:
        _LINK.pack_into(self._map, at, link)
