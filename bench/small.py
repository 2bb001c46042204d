"""64 KiB uploads a second over 16 keep-alive connections.

Ours and the peers, interleaved, every stored file checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from bench.contenders import Contender, start
from bench.process import Failed
from bench.stored import clean_place, sha256_of, stored_files
from bench.throughput import ROOT, Bench, Series

__all__ = ["CONNECTIONS", "SIZE", "measure"]

SIZE = 64 << 10
CONNECTIONS = 16
SECONDS = 2.0
WARM_SECONDS = 0.5


def burst(
    bench: Bench, port: int, contender: Contender, path: str, seconds: float
) -> dict[str, float]:
    command = [
        sys.executable, "-m", "bench.burst", "--port", str(port), "--method", contender.method,
        "--path", path,
        "--body", str(bench.source(SIZE)), "--connections", str(CONNECTIONS), "--seconds",
        str(seconds),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["no answer"])[-1][:300])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def once(bench: Bench, contender: Contender, digest: str) -> dict[str, float]:
    """Uploads a second of one fresh, warmed-up server.

    Each answered upload must be there, whole.
    """
    place = clean_place(bench.work / "place")
    with start(contender, bench.binaries, place) as (server, to):
        warm = burst(
            bench,
            server.port,
            contender,
            contender.path.replace("{name}", "warm-{name}"),
            WARM_SECONDS,
        )
        measured = burst(bench, server.port, contender, contender.path, SECONDS)
    found = stored_files(to)
    if len(found) != warm["answered"] + measured["answered"]:
        raise Failed(
            f"{len(found)} stored files, {warm['answered'] + measured['answered']:.0f} answered"
        )
    if any(sha256_of(path) != digest for path in found):
        raise Failed("a stored file differs from the sent one")
    clean_place(place)
    return measured


def measure(bench: Bench, contenders: Sequence[Contender]) -> list[Series]:
    """Uploads a second of every contender in every round."""
    digest = sha256_of(bench.source(SIZE))
    all_series = [Series(contender, [], notes=[]) for contender in contenders]
    for number in range(1, bench.rounds + 1):
        for series in all_series:
            if series.failed:
                continue
            try:
                measured = once(bench, series.contender, digest)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                series.failed = str(error)
                bench.say(f"  round {number}: {series.contender.label}: FAILED: {error}")
                continue
            series.values.append(measured["answered"] / measured["seconds"])
            if series.notes is not None:
                series.notes.append(measured)
            bench.say(
                f"  round {number}: {series.contender.label}: {series.values[-1]:,.0f} a second,"
                f" latency median {measured['median'] * 1e3:.1f} ms, p99 "
                f"{measured['p99'] * 1e3:.1f} ms"
            )
    return all_series
