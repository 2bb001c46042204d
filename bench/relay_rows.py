"""Rows of the relay: nginx, the usual peers, overlapping transfers, and a stalled destination."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import relay_stall
from bench.contenders import Contender
from bench.process import Failed
from bench.relay import (
    NGINX_BUFFERED,
    NGINX_SMALL,
    NGINX_UNBUFFERED,
    PIPE,
    PIPE_4000,
    PIPE_NOW,
    RELAY_FORM,
    RELAY_NONE,
    RELAY_SHA,
    RELAY_STALL,
    RELAY_STORY,
    TWO_STEP,
    direct_once,
    relay_once,
    relay_rounds,
)
from bench.results import Result, Wanted, cost_versus, mib, noted, values, versus
from bench.rounds import Bench, Sent
from bench.stored import MIB, sha256_of
from bench.table import RATE, SECONDS, TIMES, Row, compare, ratios, spread

__all__ = ["Sides", "paced_rounds", "relay_groups"]

STORY = 256 * MIB
STORY_ROUNDS = 3
PIPED = MIB  # about 100,000 chunks: more only takes longer
GATHERED = 32 * MIB
SIDE_RATE = 50e6  # bytes a second of each side
OVERLAP_GOAL = 1.05
BUDGET = 64 * MIB  # --memory-budget, as it is by itself
STALL_GOAL = BUDGET * 1.1
PEER_STALL = 10.0  # seconds: enough to fill a peer's memory


def relay_rows(bench: Bench, wanted: Wanted) -> Result:
    """1 GiB raw against nginx, and a form against our own raw."""
    unbuffered, small, buffered = (
        wanted((peer,)) for peer in (NGINX_UNBUFFERED, NGINX_SMALL, NGINX_BUFFERED)
    )
    everyone = [RELAY_NONE, *unbuffered, RELAY_SHA, RELAY_FORM, *small, *buffered]
    series = relay_rounds(bench, [(one, bench.size) for one in everyone])
    none, sha = "passing on raw, digest none", "passing on raw, sha-256"
    form = "passing on form to form, digest none"
    rows = [
        versus(f"{none}; nginx with 1 MiB buffer", series, RELAY_NONE, unbuffered, 1.0),
        *(cost_versus(none, series, RELAY_NONE, peer, 1.05) for peer in unbuffered),
        versus(f"{none}; nginx unbuffered as it comes", series, RELAY_NONE, small, None),
        versus(f"{none}; nginx buffered", series, RELAY_NONE, buffered, None),
        versus(f"{sha}; nginx with 1 MiB buffer", series, RELAY_SHA, unbuffered, 0.6),
        versus(f"{form}; our own raw", series, RELAY_FORM, (RELAY_NONE,), 0.9),
    ]
    return Result(rows, *noted(series))


def story_rows(bench: Bench, wanted: Wanted) -> Result:
    """A form's file forwarded raw: ours, and the peers of the sources. Slow ones get less data."""
    short = replace(bench, rounds=min(bench.rounds, STORY_ROUNDS))
    whole, sizes = min(STORY, bench.size), {}
    less = ((PIPE, min(PIPED, whole)), (PIPE_4000, min(GATHERED, whole)))
    for peer, size in ((TWO_STEP, whole), *less, (PIPE_NOW, whole)):
        if wanted((peer,)):
            sizes[peer.label] = (peer, size)
    series = relay_rounds(short, [(RELAY_STORY, whole), *sizes.values()])
    mine, rows = values(series, RELAY_STORY), []
    for peer, size in sizes.values():
        title, theirs = (
            f"a form's file of {mib(whole)} passed on; {peer.name}",
            values(series, peer),
        )
        ours = (
            f"{spread([whole / rate for rate in mine], SECONDS)} for {mib(whole)}"
            if mine
            else "not measured"
        )
        their_text = (
            f"{spread([size / rate for rate in theirs], SECONDS)} for {mib(size)}"
            if theirs
            else "not measured"
        )
        ratio = f"{spread(ratios(mine, theirs), TIMES)} the bytes/s" if mine and theirs else "-"
        rows.append(Row(title, ours, their_text, ratio, "reported", None))
    if not rows:
        rows = [compare(f"a form's file of {mib(whole)} passed on", mine, {}, None, RATE)]
    return Result(rows, *noted(series))


@dataclass(slots=True)
class Sides:
    """The values of each round by contender; a round counts only if all its runs succeeded."""

    alone: list[float]  # the slower side
    sent: dict[str, list[Sent]]

    def seconds(self, name: str) -> list[float]:
        return [one.seconds for one in self.sent[name]]

    def overlap(self, name: str) -> list[float]:
        return ratios(self.seconds(name), self.alone)


def paced_rounds(
    bench: Bench, contenders: Sequence[Contender], source: Path, rate: float, result: Result
) -> Sides:
    """Each side alone, then every contender, with both sides at `rate` bytes a second."""
    digest, sides = sha256_of(source), Sides([], {one.label: [] for one in contenders})
    for number in range(1, bench.rounds + 1):
        try:
            sending, taking = direct_once(source, rate, 0), direct_once(source, 0, rate)
            sent: list[Sent] = [relay_once(bench, one, source, digest, rate) for one in contenders]
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            result.failed.append(f"both sides limited, round {number}: {error}")
            bench.say(f"  round {number}: FAILED: {error}")
            continue
        sides.alone.append(max(sending, taking))
        for one, sent_run in zip(contenders, sent, strict=True):
            sides.sent[one.label].append(sent_run)
        each = ", ".join(
            f"{one.label} {sent_run.seconds:.3f} s"
            for one, sent_run in zip(contenders, sent, strict=True)
        )
        bench.say(f"  round {number}: sides alone {sending:.3f} s and {taking:.3f} s; {each}")
    return sides


def overlap_rows(bench: Bench, wanted: Wanted) -> Result:
    """Both sides limited to one rate: how much longer than the slower one the whole takes."""
    contenders = [RELAY_STORY, *wanted((TWO_STEP,))]
    source, result = bench.source(min(STORY, bench.size)), Result()
    sides = paced_rounds(
        replace(bench, rounds=min(bench.rounds, STORY_ROUNDS)),
        contenders,
        source,
        SIDE_RATE,
        result,
    )
    result.data = asdict(sides)
    result.rows.append(overlap_row(sides, contenders, source.stat().st_size))
    return result


def overlap_row(sides: Sides, contenders: Sequence[Contender], size: int) -> Row:
    title = (
        f"both sides at {SIDE_RATE / 1e6:g} MB/s, {mib(size)}: time against the slower side alone"
    )
    goal = f"<= {OVERLAP_GOAL:g}x"
    if not sides.alone:
        return Row(title, "not measured", "not measured", "-", goal, None)
    texts = [
        f"{spread(sides.seconds(one.label), SECONDS)}, {spread(sides.overlap(one.label), TIMES)}"
        for one in contenders
    ]
    mine = sides.overlap(contenders[0].label)
    ours = f"{texts[0]}; the slower side alone {spread(sides.alone, SECONDS)}"
    best = f"{contenders[1].name}: {texts[1]}" if len(contenders) > 1 else "not measured"
    return Row(
        title, ours, best, spread(mine, TIMES), goal, statistics.median(mine) <= OVERLAP_GOAL
    )


def stalled_rows(bench: Bench, wanted: Wanted, stall: float) -> Result:
    """Memory while a destination reads none of 100 uploads, and whether all of them arrive."""
    result = Result()
    measured: dict[str, relay_stall.Stalled] = {}
    size, peers = min(relay_stall.SIZE, bench.size), wanted((NGINX_UNBUFFERED,))
    for contender, seconds in [
        (RELAY_STALL, stall),
        *((peer, min(stall, PEER_STALL)) for peer in peers),
    ]:
        try:
            measured[contender.label] = relay_stall.measure(bench, contender, seconds, size=size)
        except (Failed, OSError, ValueError, subprocess.TimeoutExpired) as error:
            result.failed.append(f"{contender.label}: {error}")
            bench.say(f"  {contender.label}: FAILED: {error}")
            continue
        result.data[contender.label] = asdict(measured[contender.label])
    result.rows.append(
        stalled_row(
            measured.get(RELAY_STALL.label),
            [measured[peer.label] for peer in peers if peer.label in measured],
            stall,
        )
    )
    return result


def stalled_row(
    mine: relay_stall.Stalled | None, others: Sequence[relay_stall.Stalled], stall: float
) -> Row:
    count = relay_stall.COUNT

    def text(stalled: relay_stall.Stalled) -> str:
        words = f"{mib(stalled.idle_rss)} -> {mib(stalled.peak_rss)}"
        return words + (
            ""
            if stalled.right == count
            else f"; only {stalled.finished} finished, {stalled.right} right"
        )

    title = (
        f"a destination that reads nothing for {stall:g} s, {count} uploads under way: peak "
        "RSS against idle"
    )
    goal = f"<= {mib(STALL_GOAL)} more"
    best = (
        f"{NGINX_UNBUFFERED.name}, {others[0].stall:g} s: {text(others[0])}"
        if others
        else "not measured"
    )
    if mine is None:
        return Row(title, "not measured", best, "-", goal, None)
    met = mine.held <= STALL_GOAL and mine.right == count
    return Row(title, text(mine), best, f"+{mib(mine.held)}", goal, met)


def relay_groups(stall: float) -> dict[str, Callable[[Bench, Wanted], Result]]:
    """The groups by name.

    `stall` is how many seconds the destination of the last one stands still.
    """
    return {
        "relay": relay_rows,
        "story": story_rows,
        "overlap": overlap_rows,
        "stalled": lambda bench, wanted: stalled_rows(bench, wanted, stall),
    }
