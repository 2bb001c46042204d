"""The rows of the table: the contenders and the goals of each. It starts no process itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from bench import memory, slow, small
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
from bench.process import Failed
from bench.stored import MIB
from bench.table import COUNT, MILLISECONDS, RATE, Row, compare, spread
from bench.throughput import Bench, Series, transfer_rounds

__all__ = ["ROWS", "Result", "Wanted"]

RSS_GOAL = 8 * MIB
SLOW_GOAL = 24 << 10  # bytes of resident memory per slow upload
BESIDE_GOAL = 2.0
SMALL_ROUNDS = 3
MEMORY_ROUNDS = 2  # ten times the size each; peaks hardly differ between runs
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
    return next(
        (one.values for one in series if one.contender is contender and not one.failed), None
    )


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


def upload_rows(bench: Bench, wanted: Wanted) -> Result:
    plain, synced = wanted(RAWS), with_fsync(wanted(RAWS))
    series = transfer_rounds(bench, [OURS_NONE, OURS_SHA, *plain, *synced])
    none, sha = values(series, OURS_NONE), values(series, OURS_SHA)
    without, with_sync = by_label(series, plain), by_label(series, synced)
    rows = [
        compare(
            "raw upload, durable, --digest none; peers without fsync", none, without, 2.0, RATE
        ),
        compare(
            "raw upload, durable, default digest (sha-256); peers without fsync",
            sha,
            without,
            1.4,
            RATE,
        ),
        compare(
            "raw upload, durable, --digest none; peers with fsync", none, with_sync, None, RATE
        ),
        compare(
            "raw upload, durable, default digest; peers with fsync", sha, with_sync, None, RATE
        ),
    ]
    return Result(rows, *noted(series))


def form_rows(bench: Bench, wanted: Wanted) -> Result:
    plain, synced = wanted(FORMS), with_fsync(wanted(FORMS))
    series = transfer_rounds(bench, [OURS_FORM, OURS_NONE, *plain, *synced])
    form, raw = values(series, OURS_FORM), values(series, OURS_NONE)
    without, with_sync = by_label(series, plain), by_label(series, synced)
    own = {"Sluiceway raw": raw} if raw else {}
    rows = [
        compare(
            "multipart upload, durable, --digest none; against our own raw", form, own, 0.85, RATE
        ),
        compare(
            "multipart upload, durable, --digest none; peers without fsync",
            form,
            without,
            1.8,
            RATE,
        ),
        compare(
            "multipart upload, durable, --digest none; peers with fsync",
            form,
            with_sync,
            None,
            RATE,
        ),
    ]
    return Result(rows, *noted(series))


def download_rows(bench: Bench, wanted: Wanted) -> Result:
    ours, *peers = DOWNLOADS
    asked = wanted(tuple(peers))
    series = transfer_rounds(bench, [ours, *asked])
    mine = values(series, ours)
    nginx = [peer for peer in asked if peer.name.startswith("nginx")]
    others = [peer for peer in asked if peer not in nginx]
    rows = [compare("download; against nginx sendfile", mine, by_label(series, nginx), 1.0, RATE)]
    rows += [
        compare(
            "download; against Starlette FileResponse", mine, by_label(series, others), None, RATE
        )
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


def small_rows(bench: Bench, wanted: Wanted) -> Result:
    plain, synced = wanted(RAWS), with_fsync(wanted(RAWS))
    short = replace(bench, rounds=min(bench.rounds, SMALL_ROUNDS))
    series = small.measure(short, [OURS_NONE, OURS_SHA, *plain, *synced])
    title = f"{small.SIZE >> 10} KiB uploads a second, {small.CONNECTIONS} connections, durable"
    rows = []
    for ours in (OURS_NONE, OURS_SHA):
        mine, words = values(series, ours), f"{title}, digest {ours.digest}"
        rows.append(
            compare(f"{words}; peers with fsync", mine, by_label(series, synced), None, COUNT)
        )
        rows.append(
            compare(f"{words}; peers without fsync", mine, by_label(series, plain), None, COUNT)
        )
    return Result(rows, *noted(series))


ROWS: dict[str, Callable[[Bench, Wanted], Result]] = {
    "upload": upload_rows,
    "form": form_rows,
    "download": download_rows,
    "memory": memory_rows,
    "slow": slow_rows,
    "small": small_rows,
}
