"""The rows of 1, 4 and 16 uploads at once: the size in all stays the same.

Every stored file is read back and compared with its part of the source.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.contenders import OURS_NONE, OURS_SHA, RAWS, Contender, start
from bench.process import Failed, Server
from bench.relay import NGINX_UNBUFFERED, RELAY_NONE, sinking
from bench.results import Result, Wanted, cost_row, noted, versus
from bench.rounds import Bench, Sent, Series, described, paired_rounds
from bench.stored import MIB, empty, stored_files
from bench.table import Row
from bench.transfer import CLIENT_SECONDS, ROOT, WARM_UP, send
from bench.usage import Others

__all__ = ["at_once_rows", "fairness", "many_once", "relay_at_once_rows", "send_many"]

COUNTS = (1, 4, 16)
GOAL, COST_GOAL = 3.0, 0.5  # of four and of sixteen
STEP = 4096  # bytes between the beginnings of two uploads: no two have the same bytes
NGINX = RAWS[3]


def at_once_rows(bench: Bench, wanted: Wanted) -> Result:
    """Ours against nginx without fsync, one process each."""
    result = Result()
    for count in COUNTS:
        bench.say(f"  {count} at once:")
        peers = wanted((NGINX,))
        contenders = [OURS_NONE, OURS_SHA, *peers]
        series = _rounds(bench, contenders, count)
        title = f"{count} raw uploads at once, durable" if count > 1 else "one raw upload, durable"
        goal = GOAL if count > 1 else None
        none = f"{title}, digest none"
        rows = [versus(f"{none}; nginx without fsync", series, OURS_NONE, peers, goal)]
        if count > 1:
            rows.insert(0, cost_row(none, series, OURS_NONE, COST_GOAL))
        rows.append(versus(f"{title}, sha-256; nginx without fsync", series, OURS_SHA, peers, None))
        _take(result, series, rows, f"{count}")
    return result


def relay_at_once_rows(bench: Bench, wanted: Wanted) -> Result:
    """The same passed on, to one sink."""
    result = Result()
    for count in COUNTS:
        bench.say(f"  {count} at once:")
        peers = wanted((NGINX_UNBUFFERED,))
        series = _rounds(bench, [RELAY_NONE, *peers], count)
        title = f"{count} passed on at once" if count > 1 else "one passed on"
        row = versus(
            f"{title}, raw, digest none; nginx unbuffered", series, RELAY_NONE, peers, None
        )
        _take(result, series, [row], f"{count}")
    return result


def _rounds(bench: Bench, contenders: list[Contender], count: int) -> list[Series]:
    def text(sent: Sent) -> str:
        return f"{described(sent)}, fair within {sent.more['fair']:.1f}x"

    def once(one: Contender) -> Sent:
        run = many_relayed_once if one in (RELAY_NONE, NGINX_UNBUFFERED) else many_once
        return run(bench, one, count)

    return paired_rounds(bench, contenders, once, text=text)


def _take(result: Result, series: list[Series], rows: list[Row], name: str) -> None:
    data, failed = noted(series)
    result.rows += rows
    result.data[name] = data
    result.failed += failed


def sizes(bench: Bench, count: int) -> tuple[Path, int]:
    """The source, and the bytes of each of `count` uploads."""
    size = bench.size // count
    return bench.source(size + count * STEP), size


def many_once(bench: Bench, contender: Contender, count: int) -> Sent:
    """`count` uploads to a fresh, warm server; all are there, whole."""
    source, size = sizes(bench, count)
    place = bench.place()
    with start(contender, bench.binaries, place) as (server, to):
        send(server, contender, bench.source(min(WARM_UP, bench.size)), "warm.bin")
        warm = set(stored_files(to))
        bench.settle()
        sent = send_many(server, contender, source, count, size)
    _check(source, size, count, [path for path in stored_files(to) if path not in warm])
    empty(place)
    return sent


def many_relayed_once(bench: Bench, contender: Contender, count: int) -> Sent:
    """`count` uploads through a fresh, warm relay, counted by the sink."""
    source, size = sizes(bench, count)
    place = bench.place()
    with sinking() as sink, start(contender, bench.binaries, place, sink.port) as (server, _):
        send(server, contender, bench.source(min(WARM_UP, bench.size)), "warm.bin")
        sink.report()
        cpu = sink.cpu()
        sent = send_many(server, contender, source, count, size)
        cpu = sink.cpu() - cpu
        bodies = [sink.report()["body"] for _ in range(count)]
    if bodies != [size] * count:
        raise Failed(f"the sink got bodies of {sorted(set(bodies))} bytes, sent were {size}")
    empty(place)
    return replace(sent, sink_cpu=cpu)


def send_many(server: Server, contender: Contender, source: Path, count: int, size: int) -> Sent:
    """`count` uploads of `size` bytes, begun together by one client process."""
    command = [
        sys.executable, "-m", "bench.send_many", "--port", str(server.port),
        "--method", contender.method, "--path", contender.path, "--source", str(source),
        "--count", str(count), "--size", str(size), "--step", str(STEP),
    ]  # fmt: skip
    others, cpu = Others(), server.cpu()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    if done.returncode:
        raise Failed(f"the client ended with: {done.stderr.strip()[-300:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    if told["refused"]:
        raise Failed(f"refused: {'; '.join(told['refused'])[:300]}")
    return Sent(
        told["seconds"],
        count * size,
        server.cpu() - cpu,
        server.peak(),
        sender_cpu=told["cpu"],
        others=others.share(),
        more={"each": told["each"], "fair": fairness(told["each"])},
    )


def fairness(seconds: list[float]) -> float:
    """The slowest over the fastest of uploads that began together: 1 is fair."""
    return max(seconds) / min(seconds)


def _check(source: Path, size: int, count: int, found: list[Path]) -> None:
    if len(found) != count:
        raise Failed(f"{len(found)} stored files, {count} expected")
    with source.open("rb", buffering=0) as file:
        wanted = sorted(_digest(file.fileno(), number * STEP, size) for number in range(count))
    stored = []
    for path in found:
        with path.open("rb", buffering=0) as file:
            stored.append(_digest(file.fileno(), 0, path.stat().st_size))
    if sorted(stored) != wanted:
        raise Failed("a stored file differs from the sent one")


def _digest(descriptor: int, start: int, size: int) -> str:
    hasher, stop = hashlib.sha256(), start + size
    while start < stop:
        piece = os.pread(descriptor, min(MIB, stop - start), start)
        if not piece:
            break
        hasher.update(piece)
        start += len(piece)
    return hasher.hexdigest()
