"""Rounds: every contender once in each, in an order that turns, each run when others are quiet.

A run while others used more than CALM of the machine is repeated, and the calmest is kept; what
stays above it marks its round.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.contenders import Contender
from bench.process import Failed
from bench.stored import MIB, make_source, new_place
from bench.usage import CALM, wait_for_calm

__all__ = ["Bench", "Sent", "Series", "described", "paired_rounds"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of one run share."""

    work: Path  # on the disk that is measured
    binaries: Path  # .venv-bench/bin
    size: int
    rounds: int
    say: Callable[[str], None]
    look: bool = False  # at temporary files, and at second processes' memory, while a transfer runs
    repeats: int = 0  # times a run is repeated at most because others disturbed it
    wait: float = 0.0  # seconds a run waits at most until others are quiet
    quick: bool = False  # every row with little, only to see that it runs

    def source(self, size: int) -> Path:
        return make_source(self.work / f"source-{size}", size)

    def place(self) -> Path:
        """A new folder: nothing is deleted between contenders (stored.py says why)."""
        self.settle()
        return new_place(self.work)

    def settle(self) -> None:
        """Write back what waits for it, so that no run pays for the one before it."""
        if not self.quick:
            os.sync()


@dataclass(frozen=True, slots=True)
class Sent:
    """One timed run. Processor seconds are user and system, of whole process trees."""

    seconds: float
    bytes: int  # or another count of what was done: uploads, objects
    server_cpu: float
    peak_rss: int  # bytes, of a server that carried the warm-up and this transfer
    # bytes of temporary files open at one time; None where nobody looked
    peak_temp: int | None = None
    sender_cpu: float | None = None
    sink_cpu: float | None = None
    others: float = 0.0  # what others used meanwhile, as a share of the machine
    more: dict[str, Any] = field(default_factory=dict)  # what only this kind of run tells

    @property
    def rate(self) -> float:
        return self.bytes / self.seconds


@dataclass(slots=True)
class Series:
    """A contender's value in every round (the index is the round), or why there is none."""

    contender: Contender
    values: list[float]
    failed: str | None = None
    notes: list[dict[str, Any]] | None = None
    sent: list[Sent] = field(default_factory=list)

    @property
    def marked(self) -> int:
        """Rounds in which others disturbed this contender to the end."""
        return sum(one.others > CALM for one in self.sent)


def paired_rounds(
    bench: Bench,
    contenders: Sequence[Contender],
    once: Callable[[Contender], Sent],
    *,
    most: Callable[[Contender], int] | None = None,
    text: Callable[[Sent], str] | None = None,
) -> list[Series]:
    """Run `once` for every contender in every round; who fails once is out, with the reason.

    `most` limits the rounds of a contender. `text` describes a run; by itself in bytes.
    """
    every = [Series(contender, [], notes=[]) for contender in contenders]
    for number in range(1, bench.rounds + 1):
        turn = (number - 1) % len(every) if every else 0
        for series in every[turn:] + every[:turn]:
            if series.failed or (most is not None and number > most(series.contender)):
                continue
            head = f"  round {number}: {series.contender.label}"
            try:
                sent = _calmest(bench, partial(once, series.contender), head)
            except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
                series.failed = str(error)
                bench.say(f"{head}: FAILED: {error}")
                continue
            series.sent.append(sent)
            series.values.append(sent.rate)
            if series.notes is not None:
                series.notes.append(asdict(sent))
            bench.say(f"{head}: {(text or described)(sent)}{_mark(sent)}")
    return every


def described(sent: Sent) -> str:
    """A run in bytes a second, with the processor seconds of everyone in it."""
    each = {"server": sent.server_cpu, "sender": sent.sender_cpu, "sink": sent.sink_cpu}
    costs = ", ".join(
        f"{who} {cpu / sent.bytes * 1e9:.2f}" for who, cpu in each.items() if cpu is not None
    )
    return f"{sent.rate / 1e9:.2f} GB/s, s/GB: {costs}, peak RSS {sent.peak_rss / MIB:.0f} MiB"


def _calmest(bench: Bench, once: Callable[[], Sent], head: str) -> Sent:
    """The run that others disturbed least; the first calm one ends the repeats."""
    best: Sent | None = None
    for left in range(bench.repeats, -1, -1):
        wait_for_calm(bench.wait)
        sent = once()
        if best is None or sent.others < best.others:
            best = sent
        if best.others <= CALM:
            break
        if left:
            bench.say(f"{head}: others used {sent.others:.0%} of the machine: once more")
    if best is None:
        raise ValueError("a run is repeated less than no times")
    return best


def _mark(sent: Sent) -> str:
    return f"  (MARKED: others used {sent.others:.0%})" if sent.others > CALM else ""
