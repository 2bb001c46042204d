"""The row of PostgreSQL.

An upload from the network into tables, against a bare psycopg loop that inserts a local file.

Both into one server, in turn; what was stored is read back through ours and hashed.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bench.contenders import OURS_NONE, PEERS
from bench.process import Failed, Server, free_port, serving
from bench.results import Result, Wanted, mib
from bench.rounds import Bench
from bench.stored import MIB, empty
from bench.table import RATE, compare
from bench.transfer import send

__all__ = ["database_rows", "line_of", "program"]

SIZE = 256 * MIB  # a table grows by it in each round
GOAL = 0.9
TABLE = "benched"
LOOP = "a bare psycopg loop, a local file"


def database_rows(bench: Bench, wanted: Wanted) -> Result:
    """Bytes a second of both in each round."""
    size, result = min(SIZE, bench.size), Result()
    source, rates = bench.source(size), {"ours": list[float](), "loop": list[float]()}
    place = bench.place()
    try:
        with (
            _postgres(bench, place) as url,
            _ours(bench, url, place / "ours") as server,
            _loop(bench, url) as loop,
        ):
            for number in range(bench.rounds + 1):
                ours = send(
                    server, replace(OURS_NONE, path="/files/{name}"), source, f"upload-{number}"
                )
                print(source, file=loop.stdin, flush=True)
                seconds = float(line_of(loop))
                if number:  # the first warms up
                    rates["ours"].append(ours.rate)
                    rates["loop"].append(size / seconds)
                    bench.say(
                        f"  round {number}: Sluiceway {ours.rate / 1e6:.0f} MB/s, peak RSS "
                        f"{mib(ours.peak_rss)}; "
                        f"{LOOP} {size / seconds / 1e6:.0f} MB/s"
                    )
            send(
                server,
                replace(OURS_NONE, how="get", method="GET", path="/files/{name}"),
                source,
                "upload-1",
                digest=True,
            )
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"PostgreSQL: {error}")
        bench.say(f"  FAILED: {error}")
        return result
    finally:
        empty(place)
    result.data = dict(rates)
    title = f"raw upload of {mib(size)} into PostgreSQL, digest none"
    result.rows = [compare(title, rates["ours"], {LOOP: rates["loop"]}, GOAL, RATE)]
    medians = (f"{who} {statistics.median(found) / 1e6:.0f} MB/s" for who, found in rates.items())
    bench.say(f"  medians: {', '.join(medians)}")
    return result


@contextmanager
def program(bench: Bench, name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """One of the peers' programs, ended by the end of its input."""
    command = [str(bench.binaries / "python"), str(PEERS / name), *words]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise Failed("a program of the peers ended without a word")
    return line.strip()


@contextmanager
def _postgres(bench: Bench, place: Path) -> Iterator[str]:
    with program(bench, "postgres.py", str(place / "data")) as process:
        parts = urlsplit(line_of(process))
        yield urlunsplit(parts._replace(query=parts.query or "application_name=bench"))


@contextmanager
def _ours(bench: Bench, url: str, place: Path) -> Iterator[Server]:
    place.mkdir(parents=True)
    to, port = f"{url}&table={TABLE}", free_port()
    command = str(bench.binaries / "sluiceway")
    subprocess.run([command, "init", to], check=True, capture_output=True, timeout=60)
    with serving(
        [command, "serve", "--to", to, "--port", str(port), "--digest", "none"], {}, place, port
    ) as server:
        yield server


@contextmanager
def _loop(bench: Bench, url: str) -> Iterator[subprocess.Popen[str]]:
    with program(bench, "psycopg_loop.py", url) as process:
        yield process
