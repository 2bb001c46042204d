"""Older headers with a digest of the body: Content-MD5, Digest, OC-Checksum, X-Checksum-* and
others.

Each names an algorithm and a value, in hexadecimal digits or base64. A digest that cannot be
checked here, also for want of a library, is refused, never ignored: its sender would believe that
the bytes are protected. Text only; `pipe.digests` does the hashing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from sluiceway.errors import BadDigest, BadRequest
from sluiceway.pipe.hashes import ALGORITHMS, is_available
from sluiceway.wire.headers.digests import MOST_DIGEST_HEADER, Promise, SentDigest, parse_digests

__all__ = ["CHECKSUM_FIELDS", "expected_of", "is_checksum_field", "promises_digest"]

# Header -> its algorithm; None: the value names the algorithm.
_FIELDS: Mapping[str, str | None] = {
    "content-md5": "md5",  # RFC 1864
    "digest": None,  # RFC 3230: sha-256=BASE64, md5=BASE64
    "oc-checksum": None,  # ownCloud, Nextcloud: SHA1:HEX MD5:HEX
    "upload-checksum": None,  # tus: sha1 BASE64
    "x-amz-content-sha256": "sha-256",
    "x-bz-content-sha1": "sha",
    "x-checksum": None,
    "x-content-md5": "md5",
    "x-content-sha256": "sha-256",
    "x-goog-hash": None,  # md5=BASE64,crc32c=BASE64
    "x-ms-blob-content-md5": "md5",
    "x-ms-content-crc64": "crc64",
}
REMEMBERED = 64  # characters of a field's name that is remembered
_PREFIXES = ("x-checksum-", "x-amz-checksum-")  # the algorithm follows
_NO_VALUES = frozenset(
    ["x-checksum-algorithm", "x-checksum-type", "x-amz-checksum-algorithm", "x-amz-checksum-type"]
)
CHECKSUM_FIELDS: frozenset[str] = frozenset(
    [*_FIELDS, "content-digest", "repr-digest"]
)  # and all that begin with one of _PREFIXES

_SAYS_NOTHING = frozenset(
    ["unsigned-payload", "do_not_verify"]
)  # Amazon's and Backblaze's words for no digest
_ALIASES = {
    "adler32": "adler",
    "sha1": "sha",
    "sha-1": "sha",
    "sha256": "sha-256",
    "sha384": "sha-384",
    "sha512": "sha-512",
}
# Hexadecimal digits -> algorithm, for a value that names none.
_BY_LENGTH = {
    2 * ALGORITHMS[name].size: name for name in ("md5", "sha", "sha-256", "sha-384", "sha-512")
}
_MEMBER = re.compile(r"([A-Za-z0-9-]+)\s*[=:\s]\s*(\S+)")


def is_checksum_field(name: str) -> bool:
    """Whether a header's name, in lower case, is one that this file reads."""
    return (name in CHECKSUM_FIELDS or name.startswith(_PREFIXES)) and name not in _NO_VALUES


def promises_digest(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether `expected_of` finds anything in these field lines: most requests promise nothing."""
    return any(len(name) > REMEMBERED or _is_read(name) for name, _ in lines)


@lru_cache(512)
def _is_read(name: bytes) -> bool:
    text = name.decode("latin-1").lower()
    return text == "trailer" or is_checksum_field(text)


def expected_of(fields: Mapping[str, str]) -> dict[str, bytes]:
    """Return the digests that a body must have, by algorithm, from its headers.

    Names are in lower case, and lines of one name are joined by a comma.

    Raises BadDigest for a value that cannot be read, for an algorithm that is not checked here and
    stands alone in its header, and for a digest announced for a trailer; BadRequest for two headers
    that contradict each other.
    """
    promises = parse_digests(fields.get("content-digest"), fields.get("repr-digest"))
    for name, value in fields.items():
        if is_checksum_field(name) and name not in ("content-digest", "repr-digest"):
            promises += _promises(name, value)
    expected: dict[str, bytes] = {}
    for promise in promises:
        if expected.setdefault(promise.algorithm, promise.value) != promise.value:
            raise BadRequest(
                f"Two headers give different {promise.algorithm} digests; a whole body has one"
            )
    announced = [name.strip().lower() for name in fields.get("trailer", "").split(",")]
    if late := [name for name in announced if is_checksum_field(name)]:
        raise BadDigest(
            f"{late[0]} is announced for a trailer, which is not read here; send it before the body"
        )
    return expected


def _promises(header: str, text: str) -> Iterator[Promise]:
    if len(text) > MOST_DIGEST_HEADER:
        raise BadDigest(
            f"{header} has more than {MOST_DIGEST_HEADER} characters",
            invalid_digests=[{"header": header}],
        )
    unknown: list[str] = []
    found = 0
    for algorithm, value in _members(header, text):
        if value.lower() in _SAYS_NOTHING:
            found += 1
        elif not is_available(algorithm):
            unknown.append(algorithm)
        else:
            found += 1
            yield Promise(algorithm, SentDigest(_value(header, algorithm, value), header))
    if not found:
        names = ", ".join(dict.fromkeys(unknown))
        raise BadDigest(
            f"{header} asks for a check by {names or 'nothing'}, which is not supported here;"
            " send Content-Digest: sha-256=:BASE64:, or X-Checksum-Sha256 with hexadecimal digits",
            unsupported_algorithms=[{"algorithm": name, "header": header} for name in unknown],
        )


def _members(header: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of an algorithm, by its canonical name, and a value."""
    prefix = next((prefix for prefix in _PREFIXES if header.startswith(prefix)), None)
    named = header.removeprefix(prefix) if prefix else _FIELDS[header]
    if named is not None:
        for value in dict.fromkeys(
            part.strip() for part in text.split(",")
        ):  # the same line sent twice is one value
            yield _ALIASES.get(named, named), value
        return
    for item in text.split(","):
        if header == "x-checksum" and len(item.strip()) in _BY_LENGTH:
            yield _BY_LENGTH[len(item.strip())], item.strip()
            continue
        pairs = _MEMBER.findall(item)
        if not pairs or _MEMBER.sub("", item).strip():
            raise BadDigest(
                f"{header} cannot be read; send Content-Digest: sha-256=:BASE64: instead",
                invalid_digests=[
                    {"algorithm": "", "header": header, "reason": "no pair of algorithm and value"}
                ],
            )
        for algorithm, value in pairs:
            yield _ALIASES.get(algorithm.lower(), algorithm.lower()), value


def _value(header: str, algorithm: str, text: str) -> bytes:
    """Read hexadecimal digits or base64; their lengths differ."""
    size, text = ALGORITHMS[algorithm].size, text.strip('"')
    try:
        value = (
            bytes.fromhex(text)
            if len(text) == 2 * size and "=" not in text
            else base64.b64decode(text, validate=True)
        )
    except (ValueError, binascii.Error):
        value = b""
    if len(value) != size:
        reason = f"must be {size} bytes, in base64 or as {2 * size} hexadecimal digits"
        raise BadDigest(
            f"{algorithm} in {header} {reason}",
            invalid_digests=[{"algorithm": algorithm, "header": header, "reason": reason}],
        )
    return value
