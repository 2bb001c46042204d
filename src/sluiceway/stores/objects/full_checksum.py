"""S3's CRC64NVME of a whole object: that of each part, and of all parts together.

The parts' values are combined, so that no byte is read a second time. S3 checks both, and keeps the
last one with the object. Values only; knows no requests.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluiceway.pipe.hashes import ALGORITHMS, CRC64NVME, SHA256
from sluiceway.stores.contract import Pairs

__all__ = [
    "BEGIN",
    "FULL_OBJECT",
    "SentPart",
    "checksum_members",
    "combined",
    "combined_crc",
    "decoded",
    "kept_digests",
]

# boto3's names of what a response tells of a whole object -> algorithm.
_MEMBERS = {"ChecksumCRC64NVME": CRC64NVME, "ChecksumSHA256": SHA256}
_ALGORITHM = {"ChecksumAlgorithm": "CRC64NVME"}
FULL_OBJECT = {"ChecksumType": "FULL_OBJECT"}
BEGIN = _ALGORITHM | FULL_OBJECT  # of a multipart upload


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that S3 has. `crc64nvme` is None where S3 did not confirm it.

    `counted` is the same as it was counted here, where it was.
    """

    number: int
    tag: str
    size: int
    crc64nvme: bytes | None = None
    counted: bytes | None = None


def checksum_members(digests: Pairs, knows_crc64nvme: bool) -> dict[str, str]:
    """The checksum of an object that is written in one request: S3 takes one, the strongest."""
    known = dict(digests)
    for member, name in reversed(_MEMBERS.items()):
        if name in known and (name != CRC64NVME or knows_crc64nvme):
            return {member: base64.b64encode(bytes.fromhex(known[name])).decode()}
    return {}


def combined(parts: Sequence[SentPart]) -> bytes | None:
    """The CRC64NVME of all bytes; None where that of a part is missing."""
    known = [(part.crc64nvme, part.size) for part in parts if part.crc64nvme is not None]
    return combined_crc(known) if len(known) == len(parts) else None


def combined_crc(crcs: Iterable[tuple[bytes, int]]) -> bytes:
    """The CRC64NVME of consecutive bytes, from those of pieces and their sizes."""
    from awscrt.checksums import combine_crc64nvme

    value = 0
    for crc, size in crcs:
        value = combine_crc64nvme(value, int.from_bytes(crc), size)
    return value.to_bytes(ALGORITHMS[CRC64NVME].size)


def kept_digests(response: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the whole object that S3 keeps, in hexadecimal digits.

    A response with a range may have the checksum of a part, and a COMPOSITE one is made of those of
    the parts.
    """
    if response.get("ContentRange") or response.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return {}
    found = {name: decoded(response.get(member)) for member, name in _MEMBERS.items()}
    return {
        name: value.hex()
        for name, value in found.items()
        if value is not None and len(value) == ALGORITHMS[name].size
    }


def decoded(value: object) -> bytes | None:
    """Base64 as S3 has it; None for anything else, also for "…-3", the checksum of checksums."""
    try:
        return base64.b64decode(str(value or ""), validate=True) or None
    except (ValueError, binascii.Error):
        return None
