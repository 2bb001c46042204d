"""A set that holds only digests: which objects are done, a million of them in 32 to 64 MiB. Knows nothing of what they are."""

from __future__ import annotations

import hashlib

__all__ = ["FingerprintSet", "fingerprint"]

WIDTH = 16  # bytes of a digest: two of a billion keys are alike once in 10^20 times
FIRST_SLOTS = 1024
_EMPTY = bytes(WIDTH)


def fingerprint(*parts: str) -> bytes:
    """What stands for these words; other words, and the same ones cut elsewhere, have another."""
    told = hashlib.blake2b(digest_size=WIDTH)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        told.update(b"%d:" % len(data))
        told.update(data)
    return told.digest()


class FingerprintSet:
    """Fingerprints in a table of fixed slots, at most half full, so that each costs 32 to 64 bytes and no object."""

    def __init__(self) -> None:
        self._slots = FIRST_SLOTS
        self._table = bytearray(FIRST_SLOTS * WIDTH)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, one: bytes) -> bool:
        return self._table[(at := self._place(one)) : at + WIDTH] == one

    def add(self, one: bytes) -> None:
        at = self._place(one)
        if self._table[at : at + WIDTH] == one:
            return
        self._table[at : at + WIDTH] = one
        self._count += 1
        if self._count * 2 > self._slots:
            self._grow()

    def _place(self, one: bytes) -> int:
        """Where it stands, or would."""
        slot = int.from_bytes(one[:8]) % self._slots
        while True:
            at = slot * WIDTH
            there = self._table[at : at + WIDTH]
            if there in (one, _EMPTY):
                return at
            slot = (slot + 1) % self._slots

    def _grow(self) -> None:
        old, self._slots = self._table, self._slots * 2
        self._table = bytearray(self._slots * WIDTH)
        for start in range(0, len(old), WIDTH):
            one = bytes(old[start : start + WIDTH])
            if one != _EMPTY:
                at = self._place(one)
                self._table[at : at + WIDTH] = one
