"""The rows of digests: what each algorithm costs the server, in processor seconds a GB.

One raw upload into a folder for each in every round, in turn; every stored file is checked. The
figures are reported: a digest is a choice, not a goal.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.contenders import OURS_NONE, OURS_SHA, Contender, ours_raw
from bench.results import Result, Wanted, costs_of, noted
from bench.rounds import Bench, Series
from bench.table import PER_GB, Row, compare
from bench.throughput import transfer_rounds

__all__ = ["COUNTED", "digest_rows"]

COUNTED = (ours_raw("crc64nvme"), ours_raw("blake3"), OURS_SHA)


def digest_rows(bench: Bench, wanted: Wanted) -> Result:
    """No peer takes part."""
    series = transfer_rounds(bench, [OURS_NONE, *COUNTED])
    rows = [_row(series, one) for one in (OURS_NONE, *COUNTED)]
    return Result(rows, *noted(series))


def _row(series: Sequence[Series], ours: Contender) -> Row:
    """One algorithm's processor seconds against those without a digest, in pairs."""
    none = costs_of(series, OURS_NONE)
    return compare(
        f"raw upload, durable, digest {ours.digest}: processor time of the server",
        costs_of(series, ours),
        {OURS_NONE.label: none} if none and ours is not OURS_NONE else {},
        None,
        PER_GB,
        less=True,
    )
