"""What a group of rows gives back, and rows made from series: bytes a second, processor seconds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.contenders import Contender
from bench.rounds import Sent, Series
from bench.stored import MIB
from bench.table import PER_GB, RATE, Row, Unit, at_most, best_of, compare

__all__ = [
    "RSS_GOAL",
    "Result",
    "Wanted",
    "by_label",
    "cost_row",
    "cost_versus",
    "costs_of",
    "mib",
    "noted",
    "values",
    "versus",
]

RSS_GOAL = 8 * MIB
Wanted = Callable[[tuple[Contender, ...]], tuple[Contender, ...]]  # the selected peers


@dataclass(slots=True)
class Result:
    """The results of one group: table rows, every single value for the JSON, and the failures."""

    rows: list[Row] = field(default_factory=list)
    data: dict[str, object] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def mib(value: float) -> str:
    return f"{value / MIB:.1f} MiB"


def values(series: Sequence[Series], contender: Contender) -> list[float] | None:
    """One contender's values, or None if it failed or was not there."""
    found = _found(series, contender)
    return found.values if found else None


def by_label(series: Sequence[Series], peers: Sequence[Contender]) -> dict[str, list[float]]:
    return {
        one.contender.label: one.values
        for one in series
        if one.contender in peers and not one.failed
    }


def noted(series: Sequence[Series]) -> tuple[dict[str, object], list[str]]:
    data: dict[str, object] = {
        one.contender.label: {
            "values": one.values, "each": one.notes, "failed": one.failed,
            "fsync": one.contender.fsync,
            "digest": one.contender.digest, "writes": one.contender.writes,
        }
        for one in series
    }  # fmt: skip
    return data, [f"{one.contender.label}: {one.failed}" for one in series if one.failed]


def versus(
    title: str,
    series: Sequence[Series],
    ours: Contender,
    peers: Sequence[Contender],
    goal: float | None,
    unit: Unit = RATE,
    cost: Unit = PER_GB,
) -> Row:
    """Ours against the best of `peers`: what was done a second, and what it cost both."""
    mine, theirs = _found(series, ours), by_label(series, peers)
    best = best_of({label: found for label, found in theirs.items() if found})
    other = next((one for one in series if best is not None and one.contender.label == best), None)
    both = [one for one in (mine, other) if one is not None and one.sent]
    return compare(
        title,
        mine.values if mine else None,
        theirs,
        goal,
        unit,
        cost="; against: ".join(_costs(one.sent, cost) for one in both) or "-",
        marked=_marked(both),
    )


def cost_row(title: str, series: Sequence[Series], ours: Contender, goal: float) -> Row:
    """The server's own processor seconds a GB, held to a goal."""
    mine = _found(series, ours)
    each = costs_of(series, ours)
    marked = _marked([mine] if mine else [])
    return at_most(f"{title}: processor time of the server", each, goal / 1e9, PER_GB, marked)


def cost_versus(
    title: str,
    series: Sequence[Series],
    ours: Contender,
    peer: Contender,
    goal: float | None,
    unit: Unit = PER_GB,
) -> Row:
    """The server's processor seconds a GB, or an upload, against one peer's, in pairs."""
    both = [_found(series, ours), _found(series, peer)]
    mine, theirs = (costs_of(series, one) for one in (ours, peer))
    return compare(
        f"{title}: processor time of the server",
        mine,
        {peer.label: theirs} if theirs else {},
        goal,
        unit,
        less=True,
        marked=_marked([one for one in both if one]),
    )


def costs_of(series: Sequence[Series], contender: Contender) -> list[float] | None:
    """The server's processor seconds a byte in each round; None where it was not measured."""
    found = _found(series, contender)
    return [one.server_cpu / one.bytes for one in found.sent] if found else None


def _found(series: Sequence[Series], contender: Contender) -> Series | None:
    return next((one for one in series if one.contender is contender and not one.failed), None)


def _costs(sent: Sequence[Sent], unit: Unit) -> str:
    """Medians of everyone who took part."""
    each = {
        "server": [one.server_cpu / one.bytes for one in sent],
        "sender": [one.sender_cpu / one.bytes for one in sent if one.sender_cpu is not None],
        "sink": [one.sink_cpu / one.bytes for one in sent if one.sink_cpu is not None],
    }
    words = [f"{who} {unit.number(statistics.median(cpu))}" for who, cpu in each.items() if cpu]
    return f"{', '.join(words)}{unit.name}"


def _marked(series: Sequence[Series]) -> str:
    """How many rounds others disturbed: a round counts once, whoever was disturbed in it."""
    worst = max((one.marked for one in series), default=0)
    rounds = max((len(one.sent) for one in series), default=0)
    return f"{worst} of {rounds} rounds" if worst else "-"
