"""The rows of the table: the contenders and the goals of each. It starts no process itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from bench import memory, slow
from bench.at_once import at_once_rows, relay_at_once_rows
from bench.contenders import (
    DOWNLOADS,
    FORMS,
    OURS_FORM,
    OURS_NONE,
    OURS_SHA,
    RAWS,
    Contender,
    with_fsync,
)
from bench.limits import DIRECT, HASHED
from bench.process import Failed
from bench.results import RSS_GOAL, Result, Wanted, cost_row, mib, noted, versus
from bench.rounds import Bench
from bench.small_rows import small_rows
from bench.stored import MIB
from bench.table import MILLISECONDS, Row, spread
from bench.throughput import transfer_rounds

__all__ = ["ROWS"]

SLOW_GOAL = 24 << 10  # bytes of resident memory per slow upload
BESIDE_GOAL = 2.0
DOWNLOAD_ROUNDS = 9
MEMORY_ROUNDS = 2  # ten times the size each; peaks hardly differ between runs


def upload_rows(bench: Bench, wanted: Wanted) -> Result:
    """One raw upload, held to the limits of disk and hash, and to the peers."""
    plain, synced = wanted(RAWS), with_fsync(wanted(RAWS))
    contenders = [OURS_NONE, DIRECT, OURS_SHA, HASHED, *plain, *synced]
    series = transfer_rounds(bench, contenders)
    none, sha = "raw upload, durable, digest none", "raw upload, durable, sha-256"
    rows = [
        cost_row(none, series, OURS_NONE, 0.45),
        versus(f"{none}; the disk's own limit", series, OURS_NONE, (DIRECT,), 0.95),
        versus(f"{none}; peers with fsync", series, OURS_NONE, synced, 3.0),
        versus(f"{none}; peers without fsync", series, OURS_NONE, plain, 2.0),
        cost_row(sha, series, OURS_SHA, 1.15),
        versus(f"{sha}; receive + hash alone", series, OURS_SHA, (HASHED,), 0.85),
        versus(f"{sha}; peers with fsync", series, OURS_SHA, synced, None),
        versus(f"{sha}; peers without fsync", series, OURS_SHA, plain, 1.4),
    ]
    return Result(rows, *noted(series))


def form_rows(bench: Bench, wanted: Wanted) -> Result:
    plain, synced = wanted(FORMS), with_fsync(wanted(FORMS))
    series = transfer_rounds(bench, [OURS_FORM, OURS_NONE, *plain, *synced])
    form = "form upload, durable, digest none"
    rows = [
        versus(f"{form}; our own raw", series, OURS_FORM, (OURS_NONE,), 0.95),
        versus(f"{form}; form peers without fsync", series, OURS_FORM, plain, 3.0),
        versus(f"{form}; form peers with fsync", series, OURS_FORM, synced, 3.0),
    ]
    return Result(rows, *noted(series))


def download_rows(bench: Bench, wanted: Wanted) -> Result:
    """Rates of single downloads scatter more than those of uploads: more rounds."""
    ours, *peers = DOWNLOADS
    asked = wanted(tuple(peers))
    rounds = bench.rounds if bench.quick else max(bench.rounds, DOWNLOAD_ROUNDS)
    series = transfer_rounds(replace(bench, rounds=rounds), [ours, *asked])
    nginx = [peer for peer in asked if peer.name.startswith("nginx")]
    others = [peer for peer in asked if peer not in nginx]
    rows = [
        versus("download; nginx sendfile", series, ours, nginx, 1.0),
        versus("download; Starlette FileResponse", series, ours, others, None),
    ]
    return Result(rows, *noted(series))


def memory_rows(bench: Bench, wanted: Wanted) -> Result:
    result = Result()
    goal = "difference <= 8 MiB"
    peers = list(wanted(FORMS[:1]))
    title = f"peak RSS, {bench.size * memory.PIECES / 2**30:g} GiB upload against 10 MiB"
    measured: dict[str, memory.Peaks] = {}
    for contender, rounds in [
        (OURS_NONE, MEMORY_ROUNDS),
        (OURS_FORM, 1),
        *((peer, 1) for peer in peers),
    ]:
        try:
            peaks = memory.measure(bench, contender, min(rounds, bench.rounds))
        except (Failed, OSError) as error:
            result.failed.append(f"{contender.label}: {error}")
            bench.say(f"  {contender.label}: FAILED: {error}")
            continue
        measured[contender.label] = peaks
        result.data[contender.label] = asdict(peaks)
    for contender, name in ((OURS_NONE, "raw"), (OURS_FORM, "multipart")):
        mine, other = measured.get(contender.label), measured.get(peers[0].label) if peers else None
        best = (
            f"{peers[0].label}: {mib(other.small[0])} -> {mib(other.large[0])}"
            if other
            else "not measured"
        )
        if mine is None:
            result.rows.append(Row(f"{title}, {name}", "not measured", best, "-", goal, None))
            continue
        median = f"{mib(statistics.median(mine.small))} -> {mib(statistics.median(mine.large))}"
        met = mine.difference <= RSS_GOAL
        result.rows.append(
            Row(f"{title}, {name}", median, best, f"+{mib(mine.difference)}", goal, met)
        )
    return result


def slow_rows(bench: Bench, wanted: Wanted) -> Result:
    result = Result()
    peers = list(wanted(RAWS[:1]))  # the only peer here that holds 1,000 requests in one process
    measured: dict[str, slow.Slow] = {}
    for contender in [OURS_SHA, *peers]:
        try:
            measured[contender.label] = slow.measure(bench, contender)
        except (Failed, OSError, ValueError) as error:
            result.failed.append(f"{contender.label}: {error}")
            bench.say(f"  {contender.label}: FAILED: {error}")
            continue
        result.data[contender.label] = asdict(measured[contender.label])
    mine, other = measured.get(OURS_SHA.label), measured.get(peers[0].label) if peers else None
    result.rows.append(slow_memory_row(mine, other, peers))
    result.rows.append(beside_row(bench, mine, other, peers))
    return result


def slow_memory_row(
    mine: slow.Slow | None, other: slow.Slow | None, peers: Sequence[Contender]
) -> Row:
    def each(run: slow.Slow) -> str:
        text = f"{run.bytes_each / 1024:.1f} KiB"
        text += f"; only {run.alive} alive" if run.alive < slow.COUNT else ""
        text += f"; {run.unread} bytes left unread" if run.unread >= slow.COUNT * slow.PIECE else ""
        return text + (f"; {run.appeared} cut-off uploads became files" if run.appeared else "")

    ours = each(mine) if mine else "not measured"
    best = f"{peers[0].label}: {each(other)}" if other else "not measured"
    ratio = (
        f"{mine.bytes_each / other.bytes_each:.2f}x"
        if mine and other and other.bytes_each > 0
        else "-"
    )
    met = None if mine is None else mine.honest and mine.bytes_each <= SLOW_GOAL
    return Row("1,000 uploads at 1 KiB/s: RSS per upload", ours, best, ratio, "<= 24 KiB", met)


def beside_row(
    bench: Bench, mine: slow.Slow | None, other: slow.Slow | None, peers: Sequence[Contender]
) -> Row:
    def text(run: slow.Slow) -> str:
        return f"{spread(run.beside, MILLISECONDS)}, alone {spread(run.alone, MILLISECONDS)}"

    title = f"{min(slow.NORMAL, bench.size) // MIB} MiB upload beside them, against alone"
    best = f"{peers[0].label}: {text(other)}" if other else "not measured"
    if mine is None:
        return Row(title, "not measured", best, "-", "<= 2x", None)
    ratio = statistics.median(mine.beside) / statistics.median(mine.alone)
    return Row(
        title,
        text(mine),
        best,
        f"{ratio:.2f}x its own",
        "<= 2x",
        mine.honest and ratio <= BESIDE_GOAL,
    )


ROWS: dict[str, Callable[[Bench, Wanted], Result]] = {
    "upload": upload_rows,
    "form": form_rows,
    "download": download_rows,
    "memory": memory_rows,
    "slow": slow_rows,
    "small": small_rows,
    "at-once": at_once_rows,
    "relay-at-once": relay_at_once_rows,
}
