"""Compares this version with an earlier one.

Both run in turn within every round, so a disturbance affects both.

The earlier one is a checkout, such as a `git worktree` of a commit. Its wheel gets an environment
of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import small
from bench.contenders import DOWNLOADS, OURS_FORM, OURS_NONE, OURS_SHA, Contender
from bench.copies_earlier import copies_against_earlier
from bench.relay import RELAY_FORM, RELAY_NONE, RELAY_SHA, relay_rounds
from bench.results import Result, Wanted, cost_versus, noted, values, versus
from bench.rounds import Bench, Series
from bench.table import COUNT, COUNTED_COST, RATE, Row, compare
from bench.throughput import transfer_rounds

__all__ = ["earlier_rows", "earlier_small_rows", "make_earlier"]

UPLOADS = (OURS_NONE, OURS_SHA, OURS_FORM)
RELAYS = (RELAY_NONE, RELAY_SHA, RELAY_FORM)


def make_earlier(checkout: Path, place: Path, say: Callable[[str], None]) -> Path:
    """Install the earlier version into an environment below `place`; returns its command."""
    environment = place / "earlier-venv"
    say(f"installing the version of {checkout}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    pip = [
        str(environment / "bin" / "python"),
        "-m",
        "pip",
        "-qq",
        "--disable-pip-version-check",
        "install",
    ]
    subprocess.run(
        [*pip, "--constraint", str(checkout / "constraints.txt"), str(checkout)],
        check=True,
        cwd=checkout,
    )
    return environment / "bin" / "sluiceway"


def earlier_small_rows(bench: Bench, wanted: Wanted, command: Path | None) -> Result:
    """Small uploads: how many a second, and the processor time of one, against the earlier
    version."""
    if command is None:
        return Result()
    before = _earlier(OURS_NONE, command)
    series = small.measure(bench, [OURS_NONE, before])
    title = f"{small.SIZE >> 10} KiB uploads, {small.CONNECTIONS} connections, durable"
    return Result(
        [
            versus(f"{title}; against the earlier version", series, OURS_NONE, (before,), None,
            COUNT, COUNTED_COST),
            cost_versus(title, series, OURS_NONE, before, None, COUNTED_COST),
        ],
        *noted(series),
    )  # fmt: skip


def earlier_rows(bench: Bench, wanted: Wanted, command: Path | None) -> Result:
    """This version against the earlier one: each way of a large file, and the command `copy`."""
    if command is None:
        return Result()
    result = Result()
    downloads = DOWNLOADS[:1]
    pairs = [(now, _earlier(now, command)) for now in (*UPLOADS, *downloads)]
    _add(result, pairs, transfer_rounds(bench, [one for pair in pairs for one in pair]))
    relays = [(now, _earlier(now, command)) for now in RELAYS]
    _add(
        result, relays, relay_rounds(bench, [(one, bench.size) for pair in relays for one in pair])
    )
    copies = copies_against_earlier(bench, command)
    result.rows += copies.rows
    result.data |= copies.data
    result.failed += copies.failed
    return result


def _earlier(now: Contender, command: Path) -> Contender:
    return replace(now, name=f"earlier {now.name}", command=(str(command), *now.command[1:]))


def _add(result: Result, pairs: list[tuple[Contender, Contender]], series: list[Series]) -> None:
    for now, before in pairs:
        previous = values(series, before)
        result.rows.append(
            _row(now, values(series, now), {"the earlier version": previous} if previous else {})
        )
    data, failed = noted(series)
    result.data |= data
    result.failed += failed


def _row(now: Contender, mine: list[float] | None, earlier: dict[str, list[float]]) -> Row:
    what = {"get": "download", "raw": "raw", "form": "form"}[now.how]
    way = "passing on" if now in RELAYS else "upload" if now.how != "get" else "of one file"
    return compare(
        f"{way} {what}, {now.name}; against the earlier version", mine, earlier, None, RATE
    )
