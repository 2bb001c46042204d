"""Rounds of one transfer at a time.

A B C A B C …, each on a fresh, warmed-up server, each checked byte by byte.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.contenders import Contender, start
from bench.process import Failed, Server
from bench.stored import MIB, check_same, clean_place, make_source, sha256_of, stored_files
from bench.watch import watching

__all__ = ["Bench", "Sent", "Series", "run_client", "send", "transfer_rounds"]

ROOT = Path(__file__).parent.parent
WARM_UP = 64 * MIB  # enough to fault in buffers, load modules and settle allocators
CLIENT_SECONDS = 1800
# peers with fsync are reported, not held to a goal: the first rounds are enough, and save minutes
BESIDE_ROUNDS = 3
UPLOAD_NAME = "upload.bin"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of one run share."""

    work: Path  # on the disk that is measured
    binaries: Path  # .venv-bench/bin
    size: int
    rounds: int
    say: Callable[[str], None]
    look: bool = False  # at temporary files, and at second processes' memory, while a transfer runs

    def source(self, size: int) -> Path:
        return make_source(self.work / f"source-{size}", size)


@dataclass(frozen=True, slots=True)
class Sent:
    """One timed transfer."""

    seconds: float
    bytes: int
    server_cpu: float  # seconds
    peak_rss: int  # bytes, of a server that carried the warm-up and this transfer
    # bytes of temporary files open at one time; None where nobody looked
    peak_temp: int | None = None

    @property
    def rate(self) -> float:
        return self.bytes / self.seconds


@dataclass(slots=True)
class Series:
    """A contender's value in every round (the index is the round), or why there is none."""

    contender: Contender
    values: list[float]
    failed: str | None = None
    notes: list[dict[str, Any]] | None = None


def run_client(
    port: int, contender: Contender, source: Path, name: str, *more: str, repeat: int = 1
) -> dict[str, Any]:
    """What the client process tells of one transfer.

    Raises Failed with the server's own words when it refuses.
    """
    command = [
        sys.executable, "-m", "bench.send", contender.how, "--port", str(port), "--method",
        contender.method,
        "--path", contender.path.format(name=name), "--filename", name, "--source", str(source),
        "--repeat", str(repeat),
        *more,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    try:
        measured: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"the client ended with: {done.stderr.strip()[-300:]}") from None
    if done.returncode:
        raise Failed(f"answered {measured['status']}: {measured['answer'][:200]}")
    if measured["bytes"] != source.stat().st_size * repeat:
        raise Failed(
            f"{measured['bytes']} bytes went over, {source.stat().st_size * repeat} expected"
        )
    return measured


def send(
    server: Server,
    contender: Contender,
    source: Path,
    name: str,
    *more: str,
    repeat: int = 1,
    digest: bool = False,
    look: bool = False,
) -> Sent:
    """One transfer by the client process, and what it cost the server.

    `more` are further words for the client.
    """
    cpu, words = server.cpu(), [*more, *(["--hash"] if digest else [])]
    with watching(server) if look else nullcontext() as peaks:
        measured = run_client(server.port, contender, source, name, *words, repeat=repeat)
    if digest and measured["sha-256"] != sha256_of(source):
        raise Failed("the downloaded bytes differ from the source's")
    if peaks is None:
        return Sent(measured["seconds"], measured["bytes"], server.cpu() - cpu, server.peak())
    return Sent(measured["seconds"], measured["bytes"], server.cpu() - cpu, peaks.rss, peaks.temp)


def upload_once(bench: Bench, contender: Contender, source: Path, digest: str) -> Sent:
    place = clean_place(bench.work / "place")
    with start(contender, bench.binaries, place) as (server, to):
        send(server, contender, bench.source(min(WARM_UP, bench.size)), "warm.bin")
        for path in stored_files(to):
            path.unlink()
        os.sync()
        sent = send(server, contender, source, UPLOAD_NAME, look=bench.look)
    check_same(to, sent.bytes, digest)
    clean_place(place)
    return sent


def download_once(bench: Bench, contender: Contender, source: Path, digest: str) -> Sent:
    """Each contender serves a hard link to one source: the same inode, the same page cache."""
    place = clean_place(bench.work / "place")
    warm = bench.source(min(WARM_UP, bench.size))
    with start(contender, bench.binaries, place) as (server, to):
        os.link(source, to / "source.bin")
        os.link(warm, to / "warm.bin")
        send(server, contender, warm, "warm.bin")
        os.sync()
        sent = send(server, contender, source, "source.bin")
        send(
            server, contender, source, "source.bin", digest=True
        )  # the same trip again, untimed and hashed
    clean_place(place)
    return sent


def transfer_rounds(bench: Bench, contenders: Sequence[Contender]) -> list[Series]:
    """Bytes a second of every contender in every round; who fails once is out, with the reason."""
    source = bench.source(bench.size)
    digest = sha256_of(source)
    all_series = [Series(contender, [], notes=[]) for contender in contenders]
    for number in range(1, bench.rounds + 1):
        for series in all_series:
            beside = series.contender.fsync and not series.contender.ours
            if series.failed or (beside and number > BESIDE_ROUNDS):
                continue
            once = download_once if series.contender.how == "get" else upload_once
            try:
                sent = once(bench, series.contender, source, digest)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                series.failed = str(error)
                bench.say(f"  round {number}: {series.contender.label}: FAILED: {error}")
                continue
            series.values.append(sent.rate)
            if series.notes is not None:
                series.notes.append(asdict(sent))
            bench.say(
                f"  round {number}: {series.contender.label}: {sent.rate / 1e9:.2f} GB/s, server "
                "CPU"
                f" {sent.server_cpu / sent.bytes * 1e9:.2f} s/GB, peak RSS "
                f"{sent.peak_rss / MIB:.0f} MiB"
            )
    return all_series
