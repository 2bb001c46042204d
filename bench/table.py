"""Numbers into rows: paired ratios, goals met or not, Markdown.

It measures nothing and knows no server.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "COUNT",
    "MILLISECONDS",
    "RATE",
    "SECONDS",
    "TIMES",
    "Row",
    "Unit",
    "best_of",
    "compare",
    "grid",
    "markdown",
    "ratios",
    "spread",
    "spread_number",
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
    return [mine / other for mine, other in zip(ours, peer, strict=False)]


def best_of(peers: dict[str, list[float]]) -> str | None:
    """The peer with the highest median."""
    return max(peers, key=lambda name: statistics.median(peers[name]), default=None)


def compare(
    row: str,
    ours: list[float] | None,
    peers: dict[str, list[float]],
    goal: float | None,
    unit: Unit,
) -> Row:
    """A row where more is better: ours against the best of `peers`.

    The ratio is the median of the paired ratios.
    """
    text = "reported" if goal is None else f">= {goal:g}x"
    best = best_of(peers)
    ours_text = spread(ours, unit) if ours else "not measured"
    peer_text = f"{best}: {spread(peers[best], unit)}" if best is not None else "not measured"
    if not ours or best is None:
        return Row(row, ours_text, peer_text, "-", text, None)
    paired = ratios(ours, peers[best])
    met = None if goal is None else statistics.median(paired) >= goal
    return Row(row, ours_text, peer_text, spread(paired, TIMES), text, met)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of any columns; a cell's own bars are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """The bench's table."""
    cells = []
    for row in rows:
        met = {
            True: "yes",
            False: "**no**",
            None: "-" if row.goal == "reported" else "not measured",
        }[row.met]
        cells.append((row.row, row.ours, row.best_peer, row.ratio, row.goal, met))
    return grid(("row", "ours", "best peer", "ratio", "goal", "met?"), cells)
