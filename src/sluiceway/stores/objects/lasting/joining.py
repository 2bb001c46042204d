"""Bytes of one upload to S3 into another one, inside of the bucket where they are whole parts.

S3 copies only from objects: the upload that is joined becomes a hidden one. Its parts are copied as
parts, with their checksums; what is too small for a part, or not at a part's edge, is read and
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.stores.objects.full_checksum import SentPart, combined_crc

__all__ = ["MOST_COPIED", "Run", "next_edge", "run_from"]

MOST_COPIED = 1 << 30  # bytes of one copy: answered before a proxy times out


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive parts that are copied as one.

    `counted` is the CRC64NVME of their bytes, where it is known.
    """

    size: int
    counted: bytes | None


def run_from(parts: Sequence[SentPart], at: int, end: int) -> Run | None:
    """The longest run that begins at byte `at` and ends at byte `end` or before; None for none."""
    start, found = 0, list[SentPart]()
    for part in parts:
        stop = start + part.size
        if start > at and not found:
            return None
        if start >= at:
            if stop > end or stop - at > MOST_COPIED:
                break
            found.append(part)
        start = stop
    if not found:
        return None
    known = [(one.counted, one.size) for one in found if one.counted is not None]
    crc = combined_crc(known) if len(known) == len(found) else None
    return Run(sum(one.size for one in found), crc)


def next_edge(parts: Sequence[SentPart], at: int) -> int:
    """Where the part ends that byte `at` is in."""
    stop = 0
    for part in parts:
        stop += part.size
        if stop > at:
            break
    return stop
