"""The group `table`: every method in every deployment, at each size, in turn within each round.

What was stored is read back and compared by sha-256 after each run. Profiles are of runs of their
own, never of timed ones. A timed server is fresh and carried one warm-up; it writes a real file on
the disk that is measured.
"""

from __future__ import annotations

import pstats
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.contenders import start
from bench.process import Failed
from bench.rounds import Bench, Series
from bench.send import form_envelope
from bench.sources_peers import CELLS, OWN, Cell
from bench.stored import MIB, check_same, empty, sha256_of
from bench.table import grid, spread_number
from bench.throughput import transfer_rounds
from bench.transfer import UPLOAD_NAME, run_client

__all__ = ["HEAD", "profile_cells", "table_group", "table_lines"]

HEAD = (
    "size",
    "method",
    "deployment",
    "seconds",
    "MB/s",
    "server CPU s/GB",
    "peak RSS",
    "peak temp files",
)
LINES = 40  # of a profile's table


def table_group(
    bench: Bench, sizes: Sequence[int], cells: Sequence[Cell] = CELLS
) -> tuple[str, dict[str, object], list[str]]:
    """The table as Markdown, every single value, and what failed."""
    rows: list[Sequence[str]] = []
    data: dict[str, object] = {}
    failed: list[str] = []
    for size in sizes:
        bench.say(f"  {size / MIB:,.0f} MiB:")
        series = transfer_rounds(
            replace(bench, size=size, look=True), [one.contender for one in cells]
        )
        rows += table_lines(size, cells, series)
        data[str(size)] = {
            one.contender.label: {"runs": one.notes, "failed": one.failed} for one in series
        }
        failed += [
            f"{size / MIB:,.0f} MiB, {one.contender.label}: {one.failed}"
            for one in series
            if one.failed
        ]
        bench.source(size).unlink()  # the next size is bigger
    return grid(HEAD, rows), data, failed


def table_lines(size: int, cells: Sequence[Cell], series: Sequence[Series]) -> list[Sequence[str]]:
    """One line a cell, by method; medians, seconds and MB/s with the least and the most."""
    lines: list[Sequence[str]] = []
    for one, found in zip(cells, series, strict=True):
        words = (f"{size / MIB:,.0f} MiB", one.method, one.deployment)
        if found.failed or not found.notes:
            lines.append((*words, f"failed: {found.failed}", "-", "-", "-", "-"))
            continue
        seconds = [note["seconds"] for note in found.notes]
        cpu = statistics.median(note["server_cpu"] / note["bytes"] * 1e9 for note in found.notes)
        rss, temp = (
            max(note[key] for note in found.notes) / MIB for key in ("peak_rss", "peak_temp")
        )
        rates = [size / value / 1e6 for value in seconds]
        lines.append(
            (
                *words,
                spread_number(seconds, 3),
                spread_number(rates, 0),
                f"{cpu:.2f}",
                f"{rss:,.1f} MiB",
                f"{temp:,.1f} MiB",
            )
        )
    return lines


def profile_cells(
    bench: Bench, sizes: Sequence[int], out: Path, cells: Sequence[Cell] = CELLS
) -> list[str]:
    """Each run once more, inside a profiler; one text a run in `out`.

    Says which could not be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for size in sizes:
        for one in cells:
            try:
                path = profile_once(replace(bench, size=size), one, out)
                bench.say(f"  {path.name}")
            except (Failed, OSError, ValueError, EOFError, subprocess.TimeoutExpired) as error:
                failed.append(f"profile of {one.contender.label}, {size / MIB:,.0f} MiB: {error}")
                bench.say(f"  {failed[-1]}")
        bench.source(size).unlink()
    return failed


def profile_once(bench: Bench, one: Cell, out: Path) -> Path:
    """In the app, around the view.

    Of `sluiceway serve`, which has none, the whole process from its start to its end.
    """
    source, place = bench.source(bench.size), bench.place()
    path = out / f"{one.stem}_{kind_and_bytes(one, bench.size)}-bytes.txt"
    path.unlink(missing_ok=True)
    contender = replace(
        one.contender, env={**one.contender.env, "PROFILE": str(out.resolve() / one.stem)}
    )
    whole = place / "whole.prof"
    if one.deployment == OWN:
        command = ("{bin}/python", "-m", "cProfile", "-o", str(whole), *one.contender.command)
        contender = replace(contender, command=command)
    with start(contender, bench.binaries, place) as (server, to):
        run_client(server.port, contender, source, UPLOAD_NAME)
    if one.deployment == OWN:
        with path.open("w") as text:
            text.write(
                "The whole process from its start to its end; waiting for events counts for "
                "whoever waited.\n\n"
            )
            pstats.Stats(str(whole), stream=text).sort_stats("tottime").print_stats(LINES)
    check_same(to, bench.size, sha256_of(source))
    empty(place)
    if not path.exists():
        raise Failed("no profile was written")
    return path


def kind_and_bytes(one: Cell, size: int) -> str:
    """Content type and bytes of the body: a form is longer than its file."""
    if one.contender.how == "raw":
        return f"application-octet-stream_{size}"
    envelope = form_envelope(one.contender.path, UPLOAD_NAME, size)
    before = envelope.before.partition(b"\r\n\r\n")[2]
    return f"multipart-form-data_{len(before) + size + len(envelope.after)}"
