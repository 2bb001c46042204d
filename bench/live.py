"""The rows of a Flask view that passes a form's file on.

The unchanged view with our one line, without it, and the pipe.

Both transfers are limited to one rate, so that neither hides the other; then both run unlimited.
Memory and temporary files are the highest values during the timed transfer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace

from bench.contenders import GUNICORN, Contender
from bench.relay import PIPE_NOW, relay_rounds
from bench.relay_rows import Sides, paced_rounds
from bench.results import Result, Wanted, by_label, mib, noted, values
from bench.rounds import Bench, Sent
from bench.table import RATE, SECONDS, TIMES, Row, compare, ratios, spread

__all__ = ["LIVE", "PLAIN", "live_rows"]

MOST = 2 << 30  # bytes of the file
ROUNDS = 3  # each moves the file a dozen times
# bytes a second of each transfer; two busy processors could not keep up with 200 MB/s
SIDE_RATE = 100e6
GOAL = 0.55  # of the seconds that two steps take: half, and a tenth of that for what cannot overlap

_VIEW = tuple("flask_live_app:app" if word == "flask_app:app" else word for word in GUNICORN)
LIVE = Contender(
    "gunicorn + Flask with Sluiceway(app)", _VIEW, "form", "/books", "passes on as it comes",
    fsync=False, method="POST",
    env={"LIVE": "1"}, ours=True,
)  # fmt: skip
PLAIN = Contender(
    "the same view without that line (two steps)", _VIEW, "form", "/books",
    "the whole file first, in a temp file",
    fsync=False, method="POST",
)  # fmt: skip


def live_rows(bench: Bench, wanted: Wanted) -> Result:
    size, result = min(MOST, 2 * bench.size), Result()
    short = replace(bench, rounds=min(bench.rounds, ROUNDS), look=True)
    peers = wanted((PLAIN, PIPE_NOW))
    sides = paced_rounds(short, [LIVE, *peers], bench.source(size), SIDE_RATE, result)
    result.rows += paced_rows(sides, peers, size)
    series = relay_rounds(replace(short, look=False), [(one, size) for one in (LIVE, *peers)])
    mine, unpaced = (
        values(series, LIVE),
        f"a form's file of {mib(size)} through a Flask view, as fast as it goes",
    )
    result.rows += [
        compare(f"{unpaced}; {one.name}", mine, by_label(series, (one,)), None, RATE)
        for one in peers
    ]
    measured, failed = noted(series)
    result.data = {"both sides limited": asdict(sides), "as fast as it goes": measured}
    result.failed += failed
    return result


def paced_rows(sides: Sides, peers: Sequence[Contender], size: int) -> list[Row]:
    """Rows of the time against each peer, then of memory and temporary files of all."""
    title = (
        f"both sides at {SIDE_RATE / 1e6:g} MB/s, a form's file of {mib(size)} through a Flask view"
    )
    rows = [
        paced_row(f"{title}: time; {peer.name}", sides, peer, GOAL if peer is PLAIN else None)
        for peer in peers
    ]
    ours, *others = (f"{name}: {peaks(sent)}" for name, sent in sides.sent.items())
    rates = ours.removeprefix(f"{LIVE.label}: ")
    return [
        *rows,
        Row(f"{title}: memory", rates, "; ".join(others) or "not measured", "-", "reported", None),
    ]


def paced_row(title: str, sides: Sides, peer: Contender, goal: float | None) -> Row:
    text = "reported" if goal is None else f"<= {goal:g}x"
    if not sides.alone:
        return Row(title, "not measured", "not measured", "-", text, None)
    mine, theirs = sides.seconds(LIVE.label), sides.seconds(peer.label)
    ours = f"{spread(mine, SECONDS)}; the slower side alone {spread(sides.alone, SECONDS)}"
    paired = ratios(mine, theirs)
    met = None if goal is None else statistics.median(paired) <= goal
    return Row(title, ours, spread(theirs, SECONDS), spread(paired, TIMES), text, met)


def peaks(sent: Sequence[Sent]) -> str:
    """Returns the highest values of all rounds."""
    if not sent:
        return "not measured"
    return (
        f"peak RSS {mib(max(one.peak_rss for one in sent))}, temp files "
        f"{mib(max(one.peak_temp or 0 for one in sent))}"
    )
