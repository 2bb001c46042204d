"""Every algorithm that can be checked, as a running hash. Knows no headers, loops or threads.

Older headers name older algorithms. They guard against accidents, where MD5 and CRC-32 are good
enough. A file of its own, because `wire` reads it and must not load an event loop.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sluiceway.pipe.source import Buffer

__all__ = ["CHECKED", "Hashing", "digest_of"]


class Hashing(Protocol):
    """A hash that is fed as bytes arrive."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class _Sum32:
    """One of zlib's checksums as a hash: four bytes, big-endian."""

    def __init__(self, add: Callable[[Buffer, int], int], start: int) -> None:
        self._add, self._value = add, start

    def update(self, data: Buffer, /) -> None:
        self._value = self._add(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4)


_KINDS = {
    "md5": "md5",
    "sha": "sha1",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
}

# By the names that IANA registers for the algorithms of Digest; crc32 is not among them.
CHECKED: Mapping[str, Callable[[], Hashing]] = {
    **{name: partial(hashlib.new, kind, usedforsecurity=False) for name, kind in _KINDS.items()},
    "adler": partial(_Sum32, zlib.adler32, 1),
    "crc32": partial(_Sum32, zlib.crc32, 0),
}


def digest_of(name: str, data: Buffer) -> bytes:
    """Return the digest of bytes in memory."""
    running = CHECKED[name]()
    running.update(data)
    return running.digest()
