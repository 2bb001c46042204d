"""64 KiB uploads a second over 16 keep-alive connections.

Ours and the peers, interleaved, each on a fresh disk with a journal, every stored file checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from bench.contenders import Contender, start
from bench.journaled import fresh_disk
from bench.process import Failed
from bench.rounds import Bench, Sent, Series, paired_rounds
from bench.stored import sha256_of, stored_files
from bench.transfer import ROOT
from bench.usage import Others

__all__ = ["CONNECTIONS", "SIZE", "measure"]

SIZE = 64 << 10
CONNECTIONS = 16
SECONDS = 2.0
QUICK_SECONDS = 0.3
WARM_SECONDS = 0.5
BESIDE_ROUNDS = 3  # peers without fsync are reported, not held to a goal


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


def once(bench: Bench, contender: Contender, digest: str) -> Sent:
    """Uploads of one fresh, warmed-up server to a fresh disk, each of them there, whole."""
    seconds = QUICK_SECONDS if bench.quick else SECONDS
    warm_path = contender.path.replace("{name}", "warm-{name}")
    with fresh_disk(bench) as (disk, where):
        with start(contender, bench.binaries, disk / "place") as (server, to):
            warm = burst(bench, server.port, contender, warm_path, WARM_SECONDS)
            others, cpu = Others(), server.cpu()
            measured = burst(bench, server.port, contender, contender.path, seconds)
            cpu, share, peak = server.cpu() - cpu, others.share(), server.peak()
        found = stored_files(to)
        answered = round(warm["answered"] + measured["answered"])
        if len(found) != answered:
            raise Failed(f"{len(found)} stored files, {answered} answered")
        if any(sha256_of(path) != digest for path in found):
            raise Failed("a stored file differs from the sent one")
    return Sent(
        measured["seconds"],
        round(measured["answered"]),
        cpu,
        peak,
        sender_cpu=measured["cpu"],
        others=share,
        more={"median": measured["median"], "p99": measured["p99"], "disk": where},
    )


def measure(bench: Bench, contenders: Sequence[Contender]) -> list[Series]:
    """Uploads a second of every contender in every round."""
    digest = sha256_of(bench.source(SIZE))

    def text(sent: Sent) -> str:
        return (
            f"{sent.rate:,.0f} a second, ms each: server {sent.server_cpu / sent.bytes * 1e3:.2f}, "
            f"sender {(sent.sender_cpu or 0) / sent.bytes * 1e3:.2f}; latency median "
            f"{sent.more['median'] * 1e3:.1f} ms, p99 {sent.more['p99'] * 1e3:.1f} ms"
        )

    return paired_rounds(
        bench,
        contenders,
        lambda one: once(bench, one, digest),
        most=lambda one: bench.rounds if one.ours or one.fsync else BESIDE_ROUNDS,
        text=text,
    )
