"""Peak memory: a fresh server takes one upload of 10 MiB, another one of 10 GiB.

Their peaks are compared.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

from bench.contenders import Contender, start
from bench.rounds import Bench
from bench.stored import MIB, check_same, empty, sha256_of
from bench.transfer import send

__all__ = ["Peaks", "measure"]

SMALL = 10 * MIB
PIECES = 10  # the large upload is the source sent ten times as one body


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak resident bytes (VmHWM of all processes) per round, of a small and a large upload."""

    small: list[int]
    large: list[int]
    large_size: int

    @property
    def difference(self) -> float:
        """The median over the rounds of large minus small, in bytes."""
        return statistics.median(
            [big - little for big, little in zip(self.large, self.small, strict=True)]
        )


def peak_of(bench: Bench, contender: Contender, size: int, repeat: int, digest: str) -> int:
    place = bench.place()
    with start(contender, bench.binaries, place) as (server, to):
        sent = send(server, contender, bench.source(size), "upload.bin", repeat=repeat)
        peak = server.peak()
    check_same(to, sent.bytes, digest)
    empty(place)
    os.sync()
    return peak


def measure(bench: Bench, contender: Contender, rounds: int = 3) -> Peaks:
    """Measure 10 MiB and ten times the bench's size, in turn.

    A slow contender gets one large upload.
    """
    small_digest = sha256_of(bench.source(SMALL))
    large_digest = sha256_of(bench.source(bench.size), PIECES)
    small, large = [], []
    for number in range(1, rounds + 1):
        small.append(peak_of(bench, contender, SMALL, 1, small_digest))
        large.append(peak_of(bench, contender, bench.size, PIECES, large_digest))
        bench.say(
            f"  round {number}: {contender.label}: peak RSS {small[-1] / MIB:.1f} MiB with 10 MiB,"
            f" {large[-1] / MIB:.1f} MiB with {bench.size * PIECES / MIB:,.0f} MiB"
        )
    return Peaks(small, large, bench.size * PIECES)
