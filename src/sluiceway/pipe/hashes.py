"""Every algorithm that can be counted and checked, as a running hash, and the choice among them.

Knows no headers or threads.

Older headers name older algorithms. They guard against accidents, where MD5 and CRC-32 are good
enough. CRC64NVME and BLAKE3 come from libraries of extras, which are loaded when a hash is made.
A file of its own, because `wire` reads it and must not load an event loop.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from sluiceway.errors import BadDigest, BadRequest

if TYPE_CHECKING:
    from sluiceway.pipe.source import Buffer

__all__ = [
    "ALGORITHMS",
    "CHOICES",
    "CRC64NVME",
    "DEFAULT_CHOICE",
    "DIGEST_HELP",
    "SHA256",
    "Algorithm",
    "DigestChoice",
    "Hashing",
    "digest_of",
    "digest_pairs",
    "is_available",
    "is_digest",
    "named_digests",
    "new_hash",
]

SHA256 = "sha-256"
CRC64NVME = "crc64nvme"

_DIGITS = re.compile(r"[0-9a-f]+")


class Hashing(Protocol):
    """A hash that is fed as bytes arrive."""

    def update(self, data: Buffer, /) -> object: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A digest's algorithm.

    Args:
        size: Bytes of a digest.
        load: Returns the maker of a running hash. Raises ImportError without the library.
        extra: The extra that installs the library; "" for Python's own.
        inline: Bytes that are hashed on the event loop: 40 microseconds, less than a change of
            threads costs.
    """

    size: int
    load: Callable[[], Callable[[], Hashing]]
    extra: str = ""
    inline: int = 64 << 10


class _Sum:
    """A checksum as a hash: big-endian bytes."""

    __slots__ = ("_add", "_size", "_value")

    def __init__(self, add: Callable[[Buffer, int], int], start: int, size: int) -> None:
        self._add, self._value, self._size = add, start, size

    def update(self, data: Buffer, /) -> None:
        self._value = self._add(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size)


def _load_crc64nvme() -> Callable[[], Hashing]:
    from awscrt.checksums import crc64nvme

    return partial(_Sum, crc64nvme, 0, 8)


def _load_blake3() -> Callable[[], Hashing]:
    from blake3 import blake3

    return blake3


def _own(size: int, kind: str) -> Algorithm:
    return Algorithm(size, lambda: partial(hashlib.new, kind, usedforsecurity=False))


# By the names that IANA registers for the algorithms of Digest; the last three are not among them.
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "md5": _own(16, "md5"),
        "sha": _own(20, "sha1"),
        SHA256: _own(32, "sha256"),
        "sha-384": _own(48, "sha384"),
        "sha-512": _own(64, "sha512"),
        "adler": Algorithm(4, lambda: partial(_Sum, zlib.adler32, 1, 4)),
        "crc32": Algorithm(4, lambda: partial(_Sum, zlib.crc32, 0, 4)),
        CRC64NVME: Algorithm(8, _load_crc64nvme, "crc64nvme", 1 << 20),
        "blake3": Algorithm(32, _load_blake3, "blake3", 256 << 10),
    }
)

# Those that `--digest` offers, and that stores keep and responses name: the strongest first.
CHOICES: tuple[str, ...] = (SHA256, "sha-512", "blake3", CRC64NVME)


def new_hash(name: str) -> Hashing:
    """Return a running hash.

    Raises BadDigest for an unknown algorithm, BadRequest where its library is not installed.
    """
    if name not in ALGORITHMS:
        raise BadDigest(f"Unknown digest {name!r}; use one of {', '.join(CHOICES)}")
    return _maker(name)()


@cache
def is_available(name: str) -> bool:
    """Whether the algorithm is known, and its library can be loaded here."""
    try:
        new_hash(name)
    except BadRequest:
        return False
    return True


def digest_of(name: str, data: Buffer) -> bytes:
    """Return the digest of bytes in memory."""
    running = new_hash(name)
    running.update(data)
    return running.digest()


def is_digest(name: object, digits: object) -> bool:
    """Whether `digits` are a digest that stores keep, by one of CHOICES, in hexadecimal digits."""
    return (
        name in CHOICES
        and isinstance(digits, str)
        and len(digits) == 2 * ALGORITHMS[str(name)].size
        and _DIGITS.fullmatch(digits) is not None
    )


def digest_pairs(found: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    """The digests that stores keep, in hexadecimal digits, in order of their names.

    What only checks a body, such as MD5, is left out.
    """
    return tuple(sorted((name, found[name].hex()) for name in found if name in CHOICES))


def named_digests(digests: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """The members of a JSON object that describes a file: one for each algorithm, named after it.

    `sha-256` is always there, None where it was not counted.
    """
    return {SHA256: None, **dict(digests)}


@cache
def _maker(name: str) -> Callable[[], Hashing]:
    algorithm = ALGORITHMS[name]
    try:
        return algorithm.load()
    except ImportError as error:
        raise BadRequest(
            f"{name} needs a library that is not installed: "
            f"pip install 'sluiceway[{algorithm.extra}]'"
        ) from error


DIGEST_HELP = (
    f"{', '.join(CHOICES[:-1])} or {CHOICES[-1]}, several with commas; auto: {SHA256} where the "
    f"client or the destination asks for it, else {CRC64NVME} if it is installed; or none."
)


@dataclass(frozen=True, slots=True)
class DigestChoice:
    """The algorithms to count for every file; `is_auto`: those that somebody asks for.

    Example:
        DigestChoice.parse("auto").to_count(asked=["sha-256"])
    """

    algorithms: tuple[str, ...] = (SHA256,)
    is_auto: bool = False

    @classmethod
    def parse(cls, text: str) -> DigestChoice:
        """Read the value of the option.

        Raises BadRequest for an unknown name, and for a library that is not installed, with the
        extra that installs it.
        """
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if names == ("none",):
            return cls(())
        if names == ("auto",):
            is_available(CRC64NVME)  # loads the library now, and not at the first upload
            return cls((), is_auto=True)
        if not names or any(name not in CHOICES for name in names):
            raise BadRequest(
                f"--digest must be one or more of {', '.join(CHOICES)}, with commas, or auto or "
                f"none alone, not {text!r}"
            )
        for name in names:
            new_hash(name)
        return cls(names)

    def to_count(self, promised: Iterable[str] = (), asked: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the algorithms to count for one file.

        `promised`: of digests that the bytes must have. `asked`: what the client or the destination
        asks for; only `auto` heeds it, as far as it is installed.
        """
        promised = tuple(promised)
        if not self.is_auto:
            return (
                tuple(dict.fromkeys((*promised, *self.algorithms))) if promised else self.algorithms
            )
        names = (*promised, *filter(is_available, asked))
        if not any(name in CHOICES for name in names) and is_available(CRC64NVME):
            names = (*names, CRC64NVME)
        return tuple(dict.fromkeys(names))


DEFAULT_CHOICE = DigestChoice()
