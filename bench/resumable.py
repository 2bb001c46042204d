"""Resumable uploads over tus: one large PATCH, and small uploads in two requests each.

No peer here makes durable what it acknowledges; ours writes each offset down, and syncs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from bench import slow
from bench.contenders import OURS_NONE, UVICORN, Contender, start
from bench.process import Failed, waiting_bytes
from bench.results import Result, Wanted, noted, versus
from bench.rounds import Bench, Sent, paired_rounds
from bench.small import CONNECTIONS, SIZE
from bench.stored import empty, new_place, sha256_of
from bench.table import COUNT, COUNTED_COST, Row
from bench.transfer import CLIENT_SECONDS, ROOT, WARM_UP
from bench.usage import Others

__all__ = ["resumable_rows", "tus_client"]

SLOW_GOAL = 24 << 10  # bytes
SECONDS, QUICK_SECONDS = 2.0, 0.3
OURS = replace(
    OURS_NONE, name="Sluiceway, tus, durable, digest none", path="/files", method="PATCH"
)
PEERS = (
    Contender(
        "@tus/server, file store",
        ("node", "{peers}/tus_node.mjs", "{bin}/../npm/node_modules", "{port}", "{to}"),
        "raw", "/files", "a write stream", fsync=False, can_fsync=False, method="PATCH",
    ),
    Contender(
        "tuspyserver on uvicorn",
        tuple("tuspy_app:app" if word == "starlette_app:app" else word for word in UVICORN),
        "raw", "/files/", "chunks as they come", fsync=False, can_fsync=False, method="PATCH",
    ),
)  # fmt: skip


def resumable_rows(bench: Bench, wanted: Wanted) -> Result:
    """One PATCH of the size of a transfer, and 64 KiB uploads."""
    peers = wanted(PEERS)
    large = paired_rounds(bench, [OURS, *peers], lambda each: _one(bench, each))
    small = paired_rounds(bench, [OURS, *peers], lambda each: _many(bench, each), text=_counted)
    words = f"{SIZE >> 10} KiB, created and sent, {CONNECTIONS} connections"
    rows = [
        versus("tus PATCH, one at a time; peers without fsync", large, OURS, peers, 2.0),
        versus(f"tus, {words}; peers without fsync", small, OURS, peers, None, COUNT, COUNTED_COST),
        _slow(bench),
    ]
    return Result(rows, *noted([*large, *small]))


def _slow(bench: Bench) -> Row:
    """Resident memory of each of 1,000 uploads whose PATCH brings 1 KiB a second."""
    slow.raise_open_files()
    steady = slow.QUICK_STEADY if bench.quick else slow.STEADY
    place = bench.place()
    with start(OURS, bench.binaries, place) as (server, _):
        tus_client("one", server.port, OURS, str(bench.source(slow.FIRST)))
        time.sleep(1)
        idle = server.rss()
        words = ["--port", str(server.port), "--path", OURS.path, "--create", OURS.path]
        client = subprocess.Popen(
            [sys.executable, "-m", "bench.trickle", *words, "--count", str(slow.COUNT)],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with client:
            if client.stdout is None or client.stdin is None or not client.stdout.readline():
                raise Failed("the slow client ended early")
            time.sleep(steady)
            unread, loaded = waiting_bytes(server.port), server.rss()
            client.stdin.close()
            report = json.loads(client.stdout.readline())
    empty(place)
    each = (loaded - idle) / slow.COUNT
    honest = report["alive"] == slow.COUNT and unread < slow.COUNT * slow.PIECE
    text = f"{each / 1024:.1f} KiB; {report['alive']} alive, {unread} bytes left unread"
    bench.say(f"  1,000 slow resumable uploads: {text}")
    title = "1,000 resumable uploads at 1 KiB/s: RSS per upload"
    return Row(title, text, "-", "-", "<= 24 KiB", honest and each <= SLOW_GOAL)


def _one(bench: Bench, contender: Contender) -> Sent:
    source, warm = bench.source(bench.size), bench.source(min(WARM_UP, bench.size))
    place = bench.place()
    with start(contender, bench.binaries, place) as (server, to):
        tus_client("one", server.port, contender, str(warm))
        bench.settle()
        others, cpu = Others(), server.cpu()
        measured = tus_client("one", server.port, contender, str(source))
        cpu, share, peak = server.cpu() - cpu, others.share(), server.peak()
        digest = sha256_of(source)
        if not any(
            path.stat().st_size == bench.size and sha256_of(path) == digest
            for path in to.rglob("*")
            if path.is_file()
        ):
            raise Failed("the stored file differs from the sent one")
    empty(place)
    return Sent(
        measured["seconds"],
        measured["bytes"],
        cpu,
        peak,
        sender_cpu=measured["cpu"],
        others=share,
    )


def _many(bench: Bench, contender: Contender) -> Sent:
    seconds = str(QUICK_SECONDS if bench.quick else SECONDS)
    place = new_place(bench.work)
    with start(contender, bench.binaries, place) as (server, to):
        body = str(bench.source(SIZE))
        warm = tus_client("many", server.port, contender, body, "--seconds", "0.5")
        others, cpu = Others(), server.cpu()
        measured = tus_client("many", server.port, contender, body, "--seconds", seconds)
        cpu, share, peak = server.cpu() - cpu, others.share(), server.peak()
        whole = sum(
            path.is_file() and path.stat().st_size == SIZE and path.suffix != ".sqlite"
            for path in to.rglob("*")
        )
        answered = round(warm["answered"] + measured["answered"])
        if whole < answered:
            raise Failed(f"{whole} stored files, {answered} answered")
    empty(place)
    return Sent(
        measured["seconds"],
        round(measured["answered"]),
        cpu,
        peak,
        sender_cpu=measured["cpu"],
        others=share,
        more={"median": measured["median"], "p99": measured["p99"]},
    )


def _counted(sent: Sent) -> str:
    return (
        f"{sent.rate:,.0f} a second, ms each: server {sent.server_cpu / sent.bytes * 1e3:.2f}; "
        f"latency median {sent.more['median'] * 1e3:.1f} ms, p99 {sent.more['p99'] * 1e3:.1f} ms"
    )


def tus_client(what: str, port: int, contender: Contender, body: str, *more: str) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "bench.tus_client", what, "--port", str(port), "--path",
        contender.path, "--body", body, *more,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["no answer"])[-1][:300])
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
