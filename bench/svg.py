"""Line charts as SVG text: panels below one another over one x axis, readable in light and dark.

It measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "Panel", "chart", "ticks"]

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP, BOTTOM = 760, 64, 20, 86, 150, 54, 84  # pixels
STYLE = """\
<style>
  .paper{fill:#ffffff} text{font:13px system-ui,sans-serif;fill:#1f2933}
  .title{font-size:17px;font-weight:600}
  .small{font-size:11px;fill:#52606d} .grid{stroke:#d9dfe5;stroke-width:1}
  .line{fill:none;stroke-width:2.5;stroke-linejoin:round}
  .c0{stroke:#0b7a63} .c1{stroke:#b5491a;stroke-dasharray:7 3}
  @media (prefers-color-scheme:dark){
    .paper{fill:#12181f} text{fill:#e6ebf0} .small{fill:#a3b1bf} .grid{stroke:#2c3843}
    .c0{stroke:#4fd6b4} .c1{stroke:#ff9d66}
  }
</style>"""


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in the panel's units.

    `kind` chooses the colour, and a dash, so that colour is not all.
    """

    name: str
    kind: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot with its own y axis, from zero."""

    label: str
    lines: Sequence[Line]


def ticks(most: float, about: int = 5) -> list[float]:
    """Round steps from 0 up to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _panel(panel: Panel, top: float, x_most: float, x_ticks: Sequence[float]) -> list[str]:
    marks = ticks(max((y for line in panel.lines for _, y in line.points), default=0.0) * 1.05, 4)
    inner = WIDTH - LEFT - RIGHT

    def place(x: float, y: float) -> str:
        return f"{LEFT + inner * x / x_most:.1f},{top + PANEL - PANEL * y / marks[-1]:.1f}"

    out = [f'<text x="{LEFT}" y="{top - 10}">{escape(panel.label)}</text>']
    for mark in marks:
        y = top + PANEL - PANEL * mark / marks[-1]
        out.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
        out.append(
            f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>'
        )
    for mark in x_ticks:
        x = LEFT + inner * mark / x_most
        out.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + PANEL}"/>')
        out.append(
            f'<text class="small" x="{x:.1f}" y="{top + PANEL + 16}" '
            f'text-anchor="middle">{mark:g}</text>'
        )
    for line in panel.lines:
        path = " ".join(place(x, y) for x, y in line.points)
        out.append(f'<polyline class="line c{line.kind}" points="{path}"/>')
    return out


def chart(title: str, panels: Sequence[Panel], x_label: str, captions: Sequence[str]) -> str:
    """The whole SVG; the legend is taken from the first panel's lines."""
    x_ticks = ticks(max(x for panel in panels for line in panel.lines for x, _ in line.points), 8)
    height = TOP + len(panels) * (PANEL + GAP) + BOTTOM - GAP + 16 * len(captions)
    out = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}">'
        ),
        STYLE,
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
    ]
    x = float(LEFT)
    for line in panels[0].lines:
        out.append(
            f'<line class="line c{line.kind}" x1="{x:.0f}" y1="47" x2="{x + 30:.0f}" y2="47"/>'
        )
        out.append(f'<text x="{x + 38:.0f}" y="51">{escape(line.name)}</text>')
        x += 70 + 7.4 * len(line.name)
    top = TOP
    for panel in panels:
        out += _panel(panel, top, x_ticks[-1], x_ticks)
        top += PANEL + GAP
    bottom = top - GAP + 36
    out.append(
        f'<text x="{WIDTH / 2:.0f}" y="{bottom}" text-anchor="middle">{escape(x_label)}</text>'
    )
    for number, caption in enumerate(captions, 1):
        out.append(
            f'<text class="small" x="{LEFT}" '
            f'y="{bottom + 8 + 16 * number}">{escape(caption)}</text>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"
