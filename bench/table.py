"""Numbers into rows: paired ratios, goals reached or short, Markdown.

It measures nothing and knows no server.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = [
    "COUNT",
    "COUNTED_COST",
    "MILLISECONDS",
    "PER_GB",
    "RATE",
    "SECONDS",
    "TIMES",
    "Row",
    "Unit",
    "at_most",
    "best_of",
    "compare",
    "grid",
    "markdown",
    "ratios",
    "spread",
    "spread_number",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class Unit:
    """How a value is written: divided by `scale`, with `digits` after the point, then the name."""

    name: str
    scale: float
    digits: int

    def number(self, value: float) -> str:
        return f"{value / self.scale:,.{self.digits}f}"


RATE = Unit(" GB/s", 1e9, 2)
COUNT = Unit("/s", 1, 0)
MILLISECONDS = Unit(" ms", 1e-3, 0)
SECONDS = Unit(" s", 1, 2)
TIMES = Unit("x", 1, 2)
PER_GB = Unit(" s/GB", 1e-9, 2)  # of processor seconds a byte
COUNTED_COST = Unit(" ms each", 1e-3, 2)  # of processor seconds an upload


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `met` is None where a row has no goal, or where it could not be measured.
    """

    row: str
    ours: str
    best_peer: str
    ratio: str
    goal: str
    met: bool | None
    cost: str = field(default="-", compare=False)  # processor seconds, ours and the peer's
    marked: str = field(default="-", compare=False)  # rounds that others disturbed
    value: float | None = field(default=None, compare=False)  # what is held against the goal
    target: float | None = field(default=None, compare=False)  # the goal as a number


def spread(values: Sequence[float], unit: Unit) -> str:
    """median (min-max), always all three."""
    median, least, most = (
        unit.number(value) for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median}{unit.name} ({least}-{most})"


def spread_number(values: Sequence[float], digits: int) -> str:
    """The same without a unit, for a column that names it."""
    return spread(values, Unit("", 1, digits))


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Ours over the peer's, round by round: what disturbed a round disturbed both.

    A peer may have run fewer rounds.
    """
    return [mine / other for mine, other in zip(ours, peer, strict=False) if other]


def best_of(peers: dict[str, list[float]]) -> str | None:
    """The peer with the highest median."""
    return max(peers, key=lambda name: statistics.median(peers[name]), default=None)


def compare(
    row: str,
    ours: list[float] | None,
    peers: dict[str, list[float]],
    goal: float | None,
    unit: Unit,
    *,
    less: bool = False,
    cost: str = "-",
    marked: str = "-",
) -> Row:
    """A row of ours against the best of `peers`, where more is better unless `less` says so.

    The ratio is the median of the paired ratios. With `less`, give one peer only.
    """
    text = "reported" if goal is None else f"{'<=' if less else '>='} {goal:g}x"
    best = best_of({name: values for name, values in peers.items() if values})
    ours_text = spread(ours, unit) if ours else "not measured"
    peer_text = f"{best}: {spread(peers[best], unit)}" if best is not None else "not measured"
    paired = ratios(ours or [], peers[best] if best is not None else [])
    if not paired:
        return Row(row, ours_text, peer_text, "-", text, None, cost, marked)
    value = statistics.median(paired)
    met = None if goal is None else value <= goal if less else value >= goal
    ratio = spread(paired, TIMES)
    return Row(row, ours_text, peer_text, ratio, text, met, cost, marked, value, goal)


def at_most(row: str, ours: list[float] | None, goal: float, unit: Unit, marked: str = "-") -> Row:
    """A row whose own median must not be above `goal`."""
    text = f"<= {unit.number(goal)}{unit.name}"
    if not ours:
        return Row(row, "not measured", "-", "-", text, None)
    value = statistics.median(ours)
    shown = spread(ours, unit)
    return Row(row, shown, "-", "-", text, value <= goal, "-", marked, value, goal)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of any columns; a cell's own bars are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def verdict(row: Row) -> str:
    """Whether the goal is reached; if not, by how much it is missed."""
    if row.met is None:
        return "-" if row.goal == "reported" else "not measured"
    if row.met:
        return "reached"
    if row.value is None or not row.target:
        return "**short**"
    return f"**short by {abs(1 - row.value / row.target):.1%}**"


def markdown(rows: Sequence[Row]) -> str:
    """The bench's table."""
    head = ("row", "ours", "measured against", "ratio", "processor time", "goal", "result")
    cells = []
    for row in rows:
        result = verdict(row) + (f"; disturbed: {row.marked}" if row.marked != "-" else "")
        cells.append((row.row, row.ours, row.best_peer, row.ratio, row.cost, row.goal, result))
    return grid(head, cells)
