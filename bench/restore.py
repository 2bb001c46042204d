"""The rows of a restore.

Many objects from a real S3 server to a folder, against rclone, and to our own server, against
boto3 and requests in as many threads. Whole commands, in turn, each into a place of its own; what
arrived is counted.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import PEERS
from bench.process import Failed, free_port, serving
from bench.results import Result, Wanted
from bench.rounds import Bench
from bench.stored import MIB, empty
from bench.table import Row, Unit, compare

__all__ = ["restore_rows"]

OBJECTS, QUICK_OBJECTS = 1000, 30
SMALLEST, LARGEST = 1 << 10, 8 * MIB
JOBS = 4
GOAL = 1.0
BUCKET, PREFIX = "bench", "backup/"
LIMIT = 600.0  # seconds for one command
RCLONE, SCRIPT = "rclone copy", "boto3 and requests, threads"
PER_SECOND = Unit(" objects/s", 1, 0)

Command = Callable[[str], list[str]]  # where to -> what to start


def restore_rows(bench: Bench, wanted: Wanted, objects: int = OBJECTS) -> Result:
    """Objects a second of each in each round."""
    result, place = Result(), bench.place()
    objects = min(objects, QUICK_OBJECTS) if bench.quick else objects
    largest = min(LARGEST, bench.size)
    try:
        with _swift(bench, place) as endpoint, _server(bench, place / "kept") as url:
            env = {**os.environ, **_env(endpoint)}
            count = _stock(bench, place / "stock", env, objects, largest)
            ours = [
                str(bench.binaries / "sluiceway"),
                "copy",
                "-r",
                "-q",
                "--jobs",
                str(JOBS),
                f"s3://{BUCKET}/{PREFIX}",
            ]
            rclone, script = (
                _rclone(bench, endpoint),
                [str(bench.binaries / "python"), str(PEERS / "boto_requests.py")],
            )
            script += [endpoint, BUCKET, PREFIX]
            folder = {"ours": lambda to: [*ours, to]} | (
                {} if rclone is None else {RCLONE: lambda to: [*rclone, to]}
            )
            served: dict[str, Command] = {
                "ours": lambda to: [*ours, to],
                SCRIPT: lambda to: [*script, to, str(JOBS)],
            }
            for title, commands, target, kept in (
                ("a folder", folder, f"{place / 'to'}/", place / "to"),
                ("an HTTP server", served, f"{url}/files/", place / "kept"),
            ):
                result.rows.append(
                    _measure(bench, result, f"S3 to {title}", commands, target, kept, env, count)
                )
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"restore: {error}")
        bench.say(f"  FAILED: {error}")
    finally:
        empty(place)
    return result


def _measure(
    bench: Bench,
    result: Result,
    title: str,
    commands: dict[str, Command],
    target: str,
    kept: Path,
    env: dict[str, str],
    count: int,
) -> Row:
    rates: dict[str, list[float]] = {who: [] for who in commands}
    for number in range(bench.rounds + 1):
        for who, command in commands.items():
            name = f"{number}-{list(commands).index(who)}"
            began = time.monotonic()
            done = subprocess.run(
                command(f"{target}{name}/"),
                check=False,
                env=env,
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
            seconds = time.monotonic() - began
            if done.returncode:
                raise Failed(f"{who}: {done.stderr[-500:]}")
            there = sum(path.is_file() for path in (kept / name).rglob("*"))
            if there != count:
                raise Failed(f"{who} brought {there} of {count} objects")
            empty(kept / name)
            if number:  # the first warms up
                rates[who].append(count / seconds)
    result.data[title] = rates
    medians = (f"{who} {statistics.median(found):.0f}/s" for who, found in rates.items())
    bench.say(f"  {title}: {', '.join(medians)}")
    peers = {who: found for who, found in rates.items() if who != "ours"}
    return compare(
        f"restore of {count} objects, {title}, {JOBS} at once",
        rates["ours"],
        peers,
        GOAL,
        PER_SECOND,
    )


def _rclone(bench: Bench, endpoint: str) -> list[str] | None:
    program = bench.binaries / "rclone"
    if not program.exists():
        bench.say("  rclone is not installed: not measured")
        return None
    settings = f"provider=Other,env_auth=true,force_path_style=true,endpoint='{endpoint}'"
    remote = f":s3,{settings}:{BUCKET}/{PREFIX}"
    return [
        str(program),
        "copy",
        "--config",
        "",
        "--transfers",
        str(JOBS),
        "--checkers",
        str(JOBS),
        remote,
    ]


def _env(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test:tester",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


def _stock(bench: Bench, folder: Path, env: dict[str, str], objects: int, largest: int) -> int:
    """Sizes evenly over the powers of two: most objects are small, most bytes are in large ones."""
    chance = random.Random(1)
    for number in range(objects):
        path = folder / f"{number % 17:02}" / f"{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            chance.randbytes(round(SMALLEST * (largest / SMALLEST) ** chance.random()))
        )
    command = [
        str(bench.binaries / "python"),
        str(PEERS / "s3_stock.py"),
        env["AWS_ENDPOINT_URL"],
        BUCKET,
        PREFIX,
        str(folder),
    ]
    subprocess.run(command, check=True, env=env, capture_output=True, timeout=LIMIT)
    return objects


@contextmanager
def _swift(bench: Bench, place: Path) -> Iterator[str]:
    """Ended by the end of its input."""
    command = [str(bench.binaries / "python"), str(PEERS / "swift.py"), str(place / "swift")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        line = process.stdout.readline().strip() if process.stdout is not None else ""
        if not line:
            raise Failed("the S3 server did not start")
        yield line
    finally:
        process.communicate(timeout=60)


@contextmanager
def _server(bench: Bench, root: Path) -> Iterator[str]:
    root.mkdir(parents=True)
    port = free_port()
    command = [str(bench.binaries / "sluiceway"), "serve", "--to", str(root), "--port", str(port)]
    with serving(command, {}, root.parent, port):
        yield f"http://127.0.0.1:{port}"
