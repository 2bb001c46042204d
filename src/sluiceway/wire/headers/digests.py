"""Content-Digest, Repr-Digest and Want-* (RFC 9530): digests that a peer or this side promises.

Only the two algorithms that RFC 9530 calls active. Knows their names and lengths; `pipe.digests`
hashes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from sluiceway.errors import BadDigest
from sluiceway.pipe.hashes import ALGORITHMS, SHA256, is_available

__all__ = [
    "MOST_DIGEST_HEADER",
    "STANDARD",
    "WANTED",
    "Promise",
    "SentDigest",
    "format_digest",
    "mismatched_digest",
    "parse_digests",
]

STANDARD = (SHA256, "sha-512")  # RFC 9530 calls these two active
_LENGTHS = {name: ALGORITHMS[name].size for name in STANDARD}  # bytes
MOST_DIGEST_HEADER = 2048  # characters; all eight registered algorithms together need 350

WANTED = "sha-256=10, sha-512=5"  # a Want-Content-Digest or Want-Repr-Digest value: what to send us


class SentDigest(bytes):
    """The value of a digest, with the header that it came in."""

    header: str

    def __new__(cls, value: bytes, header: str) -> Self:
        made = super().__new__(cls, value)
        made.header = header
        return made


@dataclass(frozen=True, slots=True)
class Promise:
    """The bytes will hash to `value`."""

    algorithm: str
    value: bytes


def parse_digests(content_digest: str | None, repr_digest: str | None) -> list[Promise]:
    """Return the promises that can be checked, before the body is read.

    An empty field is a dictionary without members, and promises nothing (RFC 9651 3.2). An unknown
    algorithm beside a known one is ignored. Raises BadDigest with the member `invalid_digests` for
    a malformed field or a value of the wrong length, `unsupported_algorithms` where a field holds
    no known algorithm: its sender would believe that the bytes are protected.
    """
    promises: list[Promise] = []
    for header, value in (("Content-Digest", content_digest), ("Repr-Digest", repr_digest)):
        if value is not None and value.strip(" "):
            promises += _promises(header, value)
    return promises


def format_digest(algorithm: str, value: bytes) -> str:
    """Write one member as a field value: sha-256=:base64:."""
    if len(value) != _LENGTHS.get(algorithm):
        raise BadDigest(f"{algorithm} of {len(value)} bytes is not a valid digest")
    return f"{algorithm}=:{base64.b64encode(value).decode('ascii')}:"


def mismatched_digest(algorithm: str, value: bytes) -> dict[str, str]:
    """What a problem says of a digest that the bytes do not have: as a structured field has it,
    whichever header brought it. One of an earlier request was of the whole file."""
    return {
        "algorithm": algorithm,
        "provided_digest": f":{base64.b64encode(value).decode('ascii')}:",
        "header": value.header if isinstance(value, SentDigest) else "Repr-Digest",
    }


def _promises(header: str, value: str) -> list[Promise]:
    members = _dictionary(value)
    if not members:
        raise BadDigest(
            f"{header} cannot be read; write it as sha-256=:BASE64:",
            invalid_digests=[
                {
                    "algorithm": "",
                    "header": header,
                    "reason": "not a dictionary of structured fields",
                }
            ],
        )
    promises: list[Promise] = []
    for algorithm, member in members.items():
        digest = _bare(member)
        if algorithm not in _LENGTHS:
            continue
        if not isinstance(digest, bytes) or len(digest) != _LENGTHS[algorithm]:
            reason = f"must be {_LENGTHS[algorithm]} bytes in base64 between colons"
            raise BadDigest(
                f"{algorithm} in {header} {reason}",
                invalid_digests=[{"algorithm": algorithm, "header": header, "reason": reason}],
            )
        promises.append(Promise(algorithm, SentDigest(digest, header)))
    if not promises:
        raise BadDigest(
            f"{header} has no digest that can be checked; send {_instead(header, members)}",
            unsupported_algorithms=[
                {"algorithm": algorithm, "header": header} for algorithm in members
            ],
        )
    return promises


def _instead(header: str, algorithms: Iterable[str]) -> str:
    """What works: an algorithm that RFC 9530 does not have, or calls unsafe, has another header."""
    known = [name for name in algorithms if name in ALGORITHMS and is_available(name)]
    fields = [f"X-Checksum-{name.capitalize()}: HEXADECIMAL" for name in known]
    return " or ".join([*fields, f"{header}: sha-256=:BASE64:"])


def _dictionary(value: str) -> Mapping[str, object] | None:
    if len(value) > MOST_DIGEST_HEADER or not value.isascii():
        return None
    import http_sf  # here: copies start a tenth sooner without it

    try:
        parsed = http_sf.parse(value.encode("ascii"), tltype="dictionary")
    except (
        ValueError,
        ArithmeticError,
    ):  # StructuredFieldError is a ValueError; dates beyond the calendar overflow
        return None
    return parsed if isinstance(parsed, dict) else None


def _bare(member: object) -> object:
    """Return a member without its parameters."""
    return member[0] if isinstance(member, tuple) else member
