"""The group `why`.

How slow lines, profilers, slow clocks and uWSGI's settings each are, and which of them made the
difference.

Every case is measured in turn within each round; the sentences below the table are computed from
its medians. A view that throws its bytes away says how many it took; what the others stored is read
back and compared.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from bench.contenders import start
from bench.process import Failed
from bench.rounds import Bench, Sent
from bench.sources_cases import PROFILERS, PUBLISHED, SERVERS, SETTINGS, Case, cases
from bench.stored import MIB, check_same, empty, sha256_of
from bench.table import grid, spread_number
from bench.transfer import UPLOAD_NAME, run_client
from bench.watch import watching

__all__ = ["HEAD", "Measured", "findings", "why_group", "why_lines"]

HEAD = (
    "view",
    "server",
    "profiler",
    "MiB sent",
    "seconds",
    "s/GB",
    "server CPU s/GB",
    "peak temp files",
)
WARM_UP = MIB  # enough to load modules: lines are too slow for more
DEV, ROUTER = SERVERS
DIRECT = next(iter(SETTINGS))
NONE, PLAIN, SYSCALL, SLOW = PROFILERS
FIXED, LINES, TODAY = "fixed reads", "lines, 2019", "lines, today"


@dataclass(slots=True)
class Measured:
    """A case and its runs, or why there are none."""

    case: Case
    sent: list[Sent] = field(default_factory=list)
    failed: str = ""

    @property
    def cost(self) -> float:
        """Seconds a byte, the median."""
        return statistics.median(one.seconds / one.bytes for one in self.sent)


def once(bench: Bench, one: Case, digest: str) -> Sent:
    source, place = bench.source(bench.size), bench.place()
    contender = one.contender
    if "PROFILE" in contender.env:
        contender = replace(contender, env={**contender.env, "PROFILE": str(place / "profile")})
    with start(contender, bench.binaries, place) as (server, to):
        run_client(
            server.port, contender, bench.source(min(WARM_UP, bench.size)), UPLOAD_NAME
        )  # overwritten by the next
        cpu = server.cpu()
        with watching(server) as peaks:
            measured = run_client(server.port, contender, source, UPLOAD_NAME)
        sent = Sent(
            measured["seconds"], measured["bytes"], server.cpu() - cpu, peaks.rss, peaks.temp
        )
    if measured["answer"].strip() != str(bench.size):
        raise Failed(f"the view took {measured['answer'].strip()!r} of {bench.size} bytes")
    if one.stores:
        check_same(to, bench.size, digest)
    empty(place)
    return sent


def why_group(bench: Bench, nginx: bool) -> tuple[str, dict[str, object], list[str]]:
    """Table and sentences as Markdown, every single value, and what failed.

    `bench.size` is what a share of 1 carries.
    """
    every = [Measured(one) for one in cases(nginx)]
    sizes = {one.case.key: max(MIB, int(bench.size * one.case.share) // MIB * MIB) for one in every}
    digests = {size: sha256_of(bench.source(size)) for size in set(sizes.values())}
    for number in range(1, bench.rounds + 1):
        for one in every:
            size, label = sizes[one.case.key], one.case.contender.label
            if one.failed:
                continue
            try:
                one.sent.append(once(replace(bench, size=size), one.case, digests[size]))
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                one.failed = str(error)
                bench.say(f"  round {number}: {label}: FAILED: {error}")
                continue
            bench.say(
                f"  round {number}: {label}: {one.sent[-1].seconds:.3f} s for {size / MIB:g} MiB"
            )
    text = grid(HEAD, why_lines(every)) + "\n" + "".join(f"- {line}\n" for line in findings(every))
    data: dict[str, object] = {
        one.case.contender.label: {
            "runs": [asdict(sent) for sent in one.sent],
            "failed": one.failed,
        }
        for one in every
    }
    return text, data, [f"{one.case.contender.label}: {one.failed}" for one in every if one.failed]


def why_lines(every: Sequence[Measured]) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = []
    for one in every:
        if one.failed or not one.sent:
            lines.append((*one.case.key, "-", f"failed: {one.failed}", "-", "-", "-"))
            continue
        cpu = statistics.median(sent.server_cpu / sent.bytes * 1e9 for sent in one.sent)
        temp = max(sent.peak_temp or 0 for sent in one.sent) / MIB
        seconds = spread_number([sent.seconds for sent in one.sent], 3)
        cells = (
            f"{one.sent[0].bytes / MIB:g}",
            seconds,
            f"{one.cost * 1e9:,.2f}",
            f"{cpu:,.2f}",
            f"{temp:,.1f} MiB",
        )
        lines.append((*one.case.key, *cells))
    return lines


def findings(every: Sequence[Measured]) -> list[str]:
    """What the medians say, each sentence only where all it needs was measured."""
    costs = {one.case.key: one.cost for one in every if one.sent and not one.failed}

    def times(slow: tuple[str, str, str], quick: tuple[str, str, str]) -> str:
        if slow not in costs or quick not in costs:
            return "not measured"
        ratio = costs[slow] / costs[quick]
        return f"{ratio:,.2f} times" if ratio < 10 else f"{ratio:,.0f} times"

    paragraphs = []
    for server in SERVERS:
        fixed, lines = (FIXED, server, NONE), (LINES, server, NONE)
        paragraphs.append(
            f"{server}, no profiler: lines as in 2019 take {times(lines, fixed)} the seconds of "
            "fixed reads (which store the"
            " file; lines only throw it away), lines as Werkzeug takes them today "
            f"{times((TODAY, server, NONE), fixed)}."
        )
        paragraphs.append(
            f"{server}, lines as in 2019: cProfile takes {times((LINES, server, PLAIN), lines)} "
            "the seconds of no profiler,"
            f" with a clock that is a system call {times((LINES, server, SYSCALL), lines)},"
            f" {SLOW.removeprefix('cProfile, ')}: {times((LINES, server, SLOW), lines)}."
            f" Fixed reads with that clock: {times((FIXED, server, SLOW), fixed)}."
        )
    paragraphs.append(
        "uWSGI against the development server, lines as in 2019:"
        f" {times((LINES, ROUTER, NONE), (LINES, DEV, NONE))} the seconds without a profiler,"
        f" {times((LINES, ROUTER, PLAIN), (LINES, DEV, PLAIN))} with cProfile in both,"
        f" {times((LINES, ROUTER, SLOW), (LINES, DEV, SLOW))} with the slow clock in both, and"
        f" {times((LINES, ROUTER, SLOW), (LINES, DEV, PLAIN))} when only uWSGI's clock is slow"
        f" (published: {PUBLISHED[1] / PUBLISHED[0]:.1f} times). Lines as Werkzeug takes them "
        "today, no profiler:"
        f" {times((TODAY, ROUTER, NONE), (TODAY, DEV, NONE))}."
    )
    here, there = costs.get((LINES, DEV, PLAIN)), costs.get((LINES, ROUTER, SLOW))
    if here and there:
        paragraphs.append(
            f"256 MiB of such lines in cProfile at these paces: {here * 256 * MIB:.1f} s in the "
            "development server"
            f" (published: {PUBLISHED[0]} s), {there * 256 * MIB:.1f} s in uWSGI with the slow "
            "clock"
            f" (published: {PUBLISHED[1]} s)."
        )
    paragraphs.append(
        f"The http router: {times((FIXED, ROUTER, NONE), (FIXED, DIRECT, NONE))} the seconds of "
        "--http-socket (fixed reads)."
    )
    paragraphs += [
        f"{name}: {times((FIXED, name, NONE), (FIXED, DIRECT, NONE))} the seconds of plain "
        "--http-socket with fixed"
        f" reads, {times((LINES, name, NONE), (LINES, DIRECT, NONE))} with lines as in 2019."
        for name in list(SETTINGS)[1:]
        if (FIXED, name, NONE) in costs
    ]
    return [*paragraphs, *cure(costs)]


def cure(costs: dict[tuple[str, str, str], float]) -> list[str]:
    """The fastest setting of uWSGI with fixed reads, against the published run."""
    known = {
        key: cost
        for key, cost in costs.items()
        if key[0] == FIXED and key[1] != DEV and key[2] == NONE
    }
    bad = (LINES, ROUTER, SLOW)
    if not known or bad not in costs:
        return []
    best = min(known, key=lambda key: known[key])
    quick, slow = 1 / known[best] / 1e6, 1 / costs[bad] / 1e6
    return [
        (
            f"The cure: fixed reads, no profiler. The fastest here was {best[1]}: {quick:,.0f} "
            f"MB/s, against {slow:,.1f} MB/s"
            f" of lines as in 2019 in cProfile with the slow clock: {quick / slow:,.0f} times as "
            "fast."
        )
    ]
