"""A set of fingerprints that takes 32 to 64 bytes each, so a million objects fit in 64 MiB.

Knows nothing of what the fingerprints stand for.
"""

from __future__ import annotations

import hashlib

__all__ = ["FingerprintSet", "fingerprint"]

WIDTH = 16  # bytes; among a billion keys, two are alike once in 10^20 times
FIRST_SLOTS = 1024
_EMPTY = bytes(WIDTH)


def fingerprint(*parts: str) -> bytes:
    """Stands for these texts; other texts, or the same ones cut elsewhere, have another one."""
    digest = hashlib.blake2b(digest_size=WIDTH)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()


class FingerprintSet:
    """A hash table of fixed slots, at most half full, without a Python object for each entry."""

    def __init__(self) -> None:
        self._slots = FIRST_SLOTS
        self._table = bytearray(FIRST_SLOTS * WIDTH)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, entry: bytes) -> bool:
        return self._table[(at := self._place(entry)) : at + WIDTH] == entry

    def add(self, entry: bytes) -> None:
        at = self._place(entry)
        if self._table[at : at + WIDTH] == entry:
            return
        self._table[at : at + WIDTH] = entry
        self._count += 1
        if self._count * 2 > self._slots:
            self._grow()

    def _place(self, entry: bytes) -> int:
        """The offset where it stands, or would."""
        slot = int.from_bytes(entry[:8]) % self._slots
        while True:
            at = slot * WIDTH
            found = self._table[at : at + WIDTH]
            if found in (entry, _EMPTY):
                return at
            slot = (slot + 1) % self._slots

    def _grow(self) -> None:
        old, self._slots = self._table, self._slots * 2
        self._table = bytearray(self._slots * WIDTH)
        for start in range(0, len(old), WIDTH):
            entry = bytes(old[start : start + WIDTH])
            if entry != _EMPTY:
                at = self._place(entry)
                self._table[at : at + WIDTH] = entry
