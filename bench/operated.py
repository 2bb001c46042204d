"""What an operator's view costs a small upload: a JSON log, metrics, and names with rights.

Held against the same server without any of it. Both run at once and take turns, many times a
round: the difference is a few percent, and a fresh start alone makes more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.contenders import OURS_NONE, OURS_SHA, Contender, start
from bench.journaled import fresh_disk
from bench.process import Failed, Server
from bench.results import Result, Wanted, noted
from bench.rounds import Bench, Sent, Series
from bench.small import CONNECTIONS, SIZE
from bench.table import COUNTED_COST, compare
from bench.transfer import ROOT
from bench.usage import Others

__all__ = ["operated_rows"]

GOAL = 1.02
TURNS, QUICK_TURNS = 20, 2  # bursts of each server in a round
SECONDS, QUICK_SECONDS = 0.5, 0.1
SECRET = "nr_GkaKH5vH_dZssubUuXWrT3yQAec52"  # of this bench alone
HASH = "9f14d8a9cdbb23e94d32645231bb653ab8195f72266eeffc18e76cc1f2584043"
OPERATED = (
    "--log-format", "json", "--metrics-port", "0", "--token-file", "{place}/tokens",
)  # fmt: skip
TOKENS = {"tokens": f"alice  sha256:{HASH}  upload,read,list\n"}


def operated_rows(bench: Bench, _wanted: Wanted) -> Result:
    """Processor time of each upload, in pairs."""
    result = Result()
    for digest in (OURS_NONE, OURS_SHA):
        bare = replace(
            digest,
            name=f"{digest.name}, bare",
            command=("{bin}/python", "{peers}/bare.py", *digest.command[1:], "--no-auth"),
        )
        full = replace(
            digest,
            name=f"{digest.name}, log + metrics + names",
            command=(*digest.command, *OPERATED),
            files=TOKENS,
        )
        series = _rounds(bench, (full, bare))
        ours, other = (
            [sent.server_cpu / sent.bytes for sent in one.sent if sent.bytes] for one in series
        )
        title = f"{SIZE >> 10} KiB uploads, {digest.name}: log, metrics and names, against none"
        peers = {bare.label: other}
        result.rows.append(compare(title, ours, peers, GOAL, COUNTED_COST, less=True))
        data, failed = noted(series)
        result.data |= data
        result.failed += failed
    return result


def _rounds(bench: Bench, pair: Sequence[Contender]) -> list[Series]:
    every = [Series(contender, [], notes=[]) for contender in pair]
    for number in range(1, bench.rounds + 1):
        try:
            both = _round(bench, pair)
        except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
            every[0].failed = str(error)
            bench.say(f"  round {number}: FAILED: {error}")
            break
        for series, sent in zip(every, both, strict=True):
            series.sent.append(sent)
            series.values.append(sent.rate)
            cost = sent.server_cpu / sent.bytes * 1e3
            label = f"  round {number}: {series.contender.label}"
            bench.say(f"{label}: {sent.bytes} uploads, {cost:.3f} ms of the server each")
    return every


def _round(bench: Bench, pair: Sequence[Contender]) -> list[Sent]:
    """Both servers, each on a fresh disk, in turns."""
    seconds, turns = (QUICK_SECONDS, QUICK_TURNS) if bench.quick else (SECONDS, TURNS)
    sums = [[0.0, 0.0, 0.0] for _ in pair]
    with ExitStack() as stack:
        servers: list[Server] = []
        for contender in pair:
            disk, _ = stack.enter_context(fresh_disk(bench))
            server, _ = stack.enter_context(start(contender, bench.binaries, disk / "place"))
            servers.append(server)
            _burst(bench, server, "warm", seconds)
        others = Others()
        for turn in range(turns):
            order = (0, 1) if turn % 2 else (1, 0)
            for at in order:
                cpu = servers[at].cpu()
                done = _burst(bench, servers[at], f"t{turn}", seconds)
                cpu = servers[at].cpu() - cpu
                for place, value in enumerate((done["answered"], done["seconds"], cpu)):
                    sums[at][place] += value
        share = others.share()
        peaks = [server.peak() for server in servers]
    return [
        Sent(spent, round(count), cpu, peak, others=share)
        for (count, spent, cpu), peak in zip(sums, peaks, strict=True)
    ]


def _burst(bench: Bench, server: Server, turn: str, seconds: float) -> dict[str, float]:
    command = [
        sys.executable, "-m", "bench.burst", "--port", str(server.port),
        "--path", f"/files/{turn}/{{name}}", "--token", SECRET,
        "--body", str(bench.source(SIZE)), "--connections", str(CONNECTIONS),
        "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["no answer"])[-1][:300])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
