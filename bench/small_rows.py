"""The rows of small uploads: held to uvicorn + Starlette, with what it makes durable named."""

from __future__ import annotations

from bench import small
from bench.contenders import OURS_NONE, OURS_SHA, RAWS, with_folder_fsync, with_fsync
from bench.results import Result, Wanted, noted, versus
from bench.rounds import Bench
from bench.table import COUNT, COUNTED_COST

__all__ = ["small_rows"]


def small_rows(bench: Bench, wanted: Wanted) -> Result:
    """64 KiB each: the same durability as ours, less of it, and none."""
    starlette = wanted(RAWS[:1])
    file, folder = with_fsync(starlette), tuple(with_folder_fsync(one) for one in starlette)
    plain, synced = wanted(RAWS), with_fsync(wanted(RAWS[1:]))
    series = small.measure(bench, [OURS_NONE, *file, *folder, OURS_SHA, *synced, *plain])
    title = f"{small.SIZE >> 10} KiB uploads, {small.CONNECTIONS} connections, durable"
    rows = []
    for ours, words, goals in (
        (OURS_NONE, f"{title}, digest none", (0.8, 1.0)),
        (OURS_SHA, f"{title}, sha-256", (None, None)),
    ):
        for peers, what, goal in (
            (file, "Starlette + fsync of the file", goals[0]),
            (folder, "Starlette + fsync of file and folder", goals[1]),
            (synced, "other peers + fsync of the file", None),
            (plain, "peers without fsync", None),
        ):
            rows.append(versus(f"{words}; {what}", series, ours, peers, goal, COUNT, COUNTED_COST))
    own = f"{title}, sha-256; our own digest none"
    rows.append(versus(own, series, OURS_SHA, (OURS_NONE,), 0.9, COUNT, COUNTED_COST))
    return Result(rows, *noted(series))
