"""The group `sweep`.

A form's file pushed through a pipe in pieces as Werkzeug wrote them in 2018, gathered or not, and
ours.

The slow ones carry less data, which the table says; they are compared by bytes a second.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.contenders import Contender
from bench.live import LIVE
from bench.relay import PIPE, RELAY_STORY, relay_rounds
from bench.rounds import Bench, Series
from bench.stored import MIB
from bench.table import grid, spread_number

__all__ = ["HEAD", "sweep_group", "sweep_lines"]

HEAD = (
    "way",
    "MiB sent",
    "seconds",
    "MB/s",
    "times the unbuffered pipe",
    "server CPU s/GB",
    "peak RSS",
    "peak temp files",
)
WHOLE = 256 * MIB
# Bytes gathered at least before a write into the pipe, and what is sent: each takes some seconds.
THRESHOLDS = {0: MIB, 1_000: 16 * MIB, 4_000: 32 * MIB, 10_000: 32 * MIB}


def sweep_group(bench: Bench) -> tuple[str, dict[str, object], list[str]]:
    """The table as Markdown, every single value, and what failed."""
    whole = min(WHOLE, bench.size)
    ways = [(pipe(least), min(size, whole)) for least, size in THRESHOLDS.items()] + [
        (LIVE, whole),
        (RELAY_STORY, whole),
    ]
    series = relay_rounds(replace(bench, look=True), ways)
    data: dict[str, object] = {
        one.contender.label: {"runs": one.notes, "failed": one.failed} for one in series
    }
    failed = [f"{one.contender.label}: {one.failed}" for one in series if one.failed]
    return grid(HEAD, sweep_lines(series)), data, failed


def pipe(least: int) -> Contender:
    name = f"pipe, gathered to {least:,} bytes" if least else "pipe, unbuffered"
    return replace(PIPE, name=name, env={"THRESHOLD": str(least), "CUT": "1"})


def sweep_lines(series: Sequence[Series]) -> list[Sequence[str]]:
    """The first of the series is what the others are compared with."""
    lines: list[Sequence[str]] = []
    slowest = statistics.median(series[0].values) if series[0].values else 0.0
    for one in series:
        if one.failed or not one.notes:
            lines.append(
                (one.contender.label, "-", f"failed: {one.failed}", "-", "-", "-", "-", "-")
            )
            continue
        seconds = spread_number([note["seconds"] for note in one.notes], 3)
        cpu = statistics.median(note["server_cpu"] / note["bytes"] * 1e9 for note in one.notes)
        rss, temp = (
            max(note[key] for note in one.notes) / MIB for key in ("peak_rss", "peak_temp")
        )
        rates = spread_number([value / 1e6 for value in one.values], 1)
        more = f"{statistics.median(one.values) / slowest:,.1f}" if slowest else "-"
        cells = (
            f"{one.notes[0]['bytes'] / MIB:g}",
            seconds,
            rates,
            more,
            f"{cpu:,.2f}",
            f"{rss:,.1f} MiB",
            f"{temp:,.1f} MiB",
        )
        lines.append((one.contender.label, *cells))
    return lines
