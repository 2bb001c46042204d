"""The rows of sending.

Our Form against requests_toolbelt's MultipartEncoder, both through requests, to a sink that counts.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from bench.process import Failed
from bench.relay import check_taken, sinking
from bench.results import RSS_GOAL, Result, Wanted, mib
from bench.rounds import Bench
from bench.stored import MIB, sha256_of
from bench.table import RATE, Row, compare
from bench.transfer import CLIENT_SECONDS, ROOT

__all__ = ["sending_rows"]

GOAL = 3.0
PIECES = 10  # the large form holds the source ten times
NAMES = {"ours": "sluiceway.Form", "toolbelt": "requests_toolbelt.MultipartEncoder"}


def sent_once(
    bench: Bench, how: str, source: Path, times: int = 1, digest: str = ""
) -> dict[str, Any]:
    """One form by a fresh client process to a fresh sink; with `digest`, hashed there."""
    with sinking() as sink:
        sink.tell("hash" if digest else "count")
        url = f"http://127.0.0.1:{sink.port}/take"
        command = [
            str(bench.binaries / "python"),
            "-m",
            "bench.peers.form_client",
            how,
            url,
            str(source),
            "--times",
            str(times),
        ]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
        )
        if done.returncode:
            raise Failed(f"{NAMES[how]}: {done.stderr.strip()[-300:]}")
        measured: dict[str, Any] = json.loads(done.stdout)
        taken = sink.report()
        if taken["body"] < measured["bytes"]:
            raise Failed(f"{NAMES[how]}: the sink got less than was sent")
        if digest:
            check_taken(taken, source.stat().st_size, digest)
    return measured


def sending_rows(bench: Bench, _: Wanted | None = None) -> Result:
    """Bytes a second of both, in turn, and our client's peak memory with 10 MiB and with more."""
    source, result = bench.source(bench.size), Result()
    rates: dict[str, list[float]] = {how: [] for how in NAMES}
    try:
        for number in range(1, bench.rounds + 1):
            for how, found in rates.items():
                digest = sha256_of(source) if number == 1 else ""
                if digest:
                    sent_once(bench, how, source, digest=digest)
                measured = sent_once(bench, how, source)
                found.append(measured["bytes"] / measured["seconds"])
                bench.say(
                    f"  round {number}: {NAMES[how]}: {found[-1] / 1e9:.3f} GB/s, peak RSS "
                    f"{mib(measured['peak_rss'])}"
                )
        small, large = (
            sent_once(bench, "ours", *what)["peak_rss"]
            for what in ((bench.source(10 * MIB), 1), (source, PIECES))
        )
    except (Failed, OSError, ValueError, subprocess.TimeoutExpired) as error:
        result.failed.append(str(error))
        bench.say(f"  FAILED: {error}")
        return result
    result.data = {**rates, "peak_rss": {"small": small, "large": large}}
    result.rows = [
        compare("a form sent with requests", rates["ours"], {NAMES["toolbelt"]: rates["toolbelt"]},
        GOAL, RATE),
        Row(
            f"peak RSS of a client sending a form of {PIECES * bench.size / 2**30:g} GiB against "
            "10 MiB",
            f"{mib(small)} -> {mib(large)}", "not measured", f"+{mib(large - small)}",
            f"difference <= {mib(RSS_GOAL)}",
            large - small <= RSS_GOAL,
        ),
    ]  # fmt: skip
    medians = (
        f"{NAMES[how]} {statistics.median(found) / 1e9:.3f} GB/s" for how, found in rates.items()
    )
    bench.say(f"  medians: {', '.join(medians)}")
    return result
