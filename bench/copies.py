"""The rows of the client: whole commands of `copy` against curl and rclone, over HTTP.

One large file and many small ones, to a server and back, and from folder to folder. Everyone talks
to our server, but rclone to its own: it reads listings of no other kind and sends by WebDAV. Each
has as many files under way as it takes by itself. What arrived is counted or compared. Processor
time of sender and receiver apart.
"""

from __future__ import annotations

import filecmp
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.contenders import Contender
from bench.process import Failed, Server, free_port, serving
from bench.results import Result, Wanted, noted, versus
from bench.rounds import Bench, Sent, paired_rounds
from bench.stored import new_place
from bench.table import PER_GB, RATE, Unit
from bench.usage import Others

__all__ = [
    "FILES",
    "MANY_ROUNDS",
    "OURS",
    "QUICK_FILES",
    "CommandRun",
    "copy_rows",
    "count_files",
    "make_files",
    "our_server",
    "run_once",
]

FILES, QUICK_FILES = 10_000, 100
MANY_ROUNDS = 3  # rclone takes minutes for ten thousand files by WebDAV
LIMIT = 900.0  # seconds for one command
GOAL = 1.0
PER_SECOND = Unit(" files/s", 1, 0)
MS_EACH = Unit(" ms each", 1e-3, 2)


def _contender(name: str, writes: str, ours: bool = False, digest: str = "none") -> Contender:
    return Contender(
        name=name, command=(), how="command", path="", writes=writes, fsync=ours, ours=ours,
        digest=digest,
    )  # fmt: skip


DURABLE = "fsync of file and folder before the name"
OURS = _contender("sluiceway copy", DURABLE, ours=True, digest="sha-256")
# Like with like: curl counts no digest.
OURS_NONE = _contender("sluiceway copy --digest none", DURABLE, ours=True)
CURL = _contender("curl", "no fsync, no digest")
CURL_PARALLEL = _contender("curl --parallel", "no fsync, no digest")
RCLONE = _contender("rclone copy, its own server", "no fsync, no digest over HTTP")
RCLONE_FOLDERS = _contender("rclone copy", "no fsync; compares digests by reading both sides")


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One contender's command, made for a fresh target; `arrived` says how much is there."""

    who: Contender
    command: Callable[[Path], list[str]]
    server: Server
    arrived: Callable[[Path], int]


def copy_rows(bench: Bench, wanted: Wanted) -> Result:
    """Pairs of rows: one file up and down, many files up, down and between folders."""
    result, place = Result(), bench.place()
    files = QUICK_FILES if bench.quick else FILES
    try:
        with ExitStack() as stack:
            server = stack.enter_context(our_server(bench, place / "ours"))
            large = bench.source(bench.size)
            _large_rows(bench, wanted, result, server, large)
            many = make_files(place / "many", files)
            _many_rows(bench, wanted, result, server, many, files, stack)
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"copies: {error}")
        bench.say(f"  FAILED: {error}")
    return result


def _large_rows(bench: Bench, wanted: Wanted, result: Result, server: Server, large: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/files"
    sluiceway = str(bench.binaries / "sluiceway")
    size = large.stat().st_size

    def stored(to: Path) -> int:
        kept = server.tmp.parent / "root" / to.name
        return size if filecmp.cmp(large, kept, shallow=False) else 0

    def fetched(to: Path) -> int:
        return size if filecmp.cmp(large, to, shallow=False) else 0

    sending = [sluiceway, "copy", "-q", str(large)]
    up = {
        OURS.name: CommandRun(OURS, lambda to: [*sending, f"{url}/{to.name}"], server, stored),
        OURS_NONE.name: CommandRun(
            OURS_NONE, lambda to: [*sending, f"{url}/{to.name}", "--digest", "none"], server, stored
        ),
        CURL.name: CommandRun(
            CURL,
            lambda to: ["curl", "-sSf", "-o", "/dev/null", "-T", str(large), f"{url}/{to.name}"],
            server,
            stored,
        ),
    }
    _rows(bench, wanted, result, "copy of one file to a server", up, size, RATE)
    subprocess.run(up[CURL.name].command(Path("source")), check=True, timeout=LIMIT)
    fetching = [sluiceway, "copy", "-q", f"{url}/source"]
    down = {
        OURS.name: CommandRun(OURS, lambda to: [*fetching, str(to)], server, fetched),
        OURS_NONE.name: CommandRun(
            OURS_NONE, lambda to: [*fetching, str(to), "--digest", "none"], server, fetched
        ),
        CURL.name: CommandRun(
            CURL, lambda to: ["curl", "-sSf", "-o", str(to), f"{url}/source"], server, fetched
        ),
    }
    # Unmeasured: the server wrote it around the page cache. To be the first who reads it from the
    # disk took whoever it was 1.6 s/GB, `cat` too: the copies out of pages new to the machine.
    subprocess.run(down[CURL.name].command(Path(os.devnull)), check=True, timeout=LIMIT)
    _rows(bench, wanted, result, "copy of one file from a server", down, size, RATE)


def _many_rows(
    bench: Bench,
    wanted: Wanted,
    result: Result,
    server: Server,
    many: Path,
    files: int,
    stack: ExitStack,
) -> None:
    url = f"http://127.0.0.1:{server.port}/files"
    ours = [str(bench.binaries / "sluiceway"), "copy", "-r", "-q"]
    names = [str(path.relative_to(many)) for path in sorted(many.rglob("*")) if path.is_file()]
    root = server.tmp.parent / "root"
    up = {
        OURS.name: CommandRun(
            OURS,
            lambda to: [*ours, str(many), f"{url}/{to.name}/"],
            server,
            lambda to: count_files(root / to.name),
        ),
        CURL_PARALLEL.name: CommandRun(
            CURL_PARALLEL,
            lambda to: _curl(to, [(f"{many}/{name}", f"{url}/{to.name}/{name}") for name in names]),
            server,
            lambda to: count_files(root / to.name),
        ),
    }
    down = {
        OURS.name: CommandRun(
            OURS, lambda to: [*ours, f"{url}/kept/", str(to)], server, count_files
        ),
        CURL_PARALLEL.name: CommandRun(
            CURL_PARALLEL,
            lambda to: _curl(to, [(f"{url}/kept/{name}", f"{to}/{name}") for name in names]),
            server,
            count_files,
        ),
    }
    rclone = bench.binaries / "rclone"
    if rclone.exists():
        dav = stack.enter_context(_rclone(rclone, "webdav", many.parent / "dav"))
        http = stack.enter_context(_rclone(rclone, "http", many.parent / "http", many))
        dav_root = dav.tmp.parent / "root"
        copying = [str(rclone), "copy", "--config", ""]
        up[RCLONE.name] = CommandRun(RCLONE,
            lambda to: [
                *copying, str(many), f":webdav,url='http://127.0.0.1:{dav.port}':{to.name}"
            ],
            dav,
            lambda to: count_files(dav_root / to.name),
        )  # fmt: skip
        down[RCLONE.name] = CommandRun(
            RCLONE,
            lambda to: [*copying, f":http,url='http://127.0.0.1:{http.port}':", str(to)],
            http,
            count_files,
        )
    else:
        bench.say("  rclone is not installed: not measured")
    title = f"copy -r of {files:,} small files"
    _rows(bench, wanted, result, f"{title} to a server", up, files, PER_SECOND)
    subprocess.run(
        [*ours, str(many), f"{url}/kept/"], check=True, capture_output=True, timeout=LIMIT
    )
    _rows(bench, wanted, result, f"{title} from a server", down, files, PER_SECOND)
    if rclone.exists():
        between = {
            OURS.name: CommandRun(
                OURS, lambda to: [*ours, str(many), str(to)], server, count_files
            ),
            RCLONE_FOLDERS.name: CommandRun(
                RCLONE_FOLDERS, lambda to: [*copying, str(many), str(to)], server, count_files
            ),
        }
        _rows(bench, wanted, result, f"{title} between folders", between, files, PER_SECOND)


def _rows(
    bench: Bench,
    wanted: Wanted,
    result: Result,
    title: str,
    runs: dict[str, CommandRun],
    amount: int,
    unit: Unit,
) -> None:
    """One row of each of ours against each peer."""
    ours = [run.who for run in runs.values() if run.who.ours]
    asked = wanted(tuple(run.who for run in runs.values() if not run.who.ours))
    cost = MS_EACH if unit is PER_SECOND else None
    series = paired_rounds(
        bench,
        [*ours, *asked],
        lambda contender: run_once(bench, runs[contender.name], amount),
        most=lambda _: bench.rounds if cost is None else MANY_ROUNDS,
        text=lambda sent: _text(sent, unit, cost),
    )
    for one, peer in product(ours, asked):
        options = one.name.removeprefix(OURS.name)
        words = f"{title}{options} against {peer.name}"
        result.rows.append(versus(words, series, one, [peer], GOAL, unit, cost or PER_GB))
    data, failed = noted(series)
    result.data[title] = data
    result.failed += failed


def run_once(bench: Bench, run: CommandRun, amount: int) -> Sent:
    to = new_place(bench.work) / f"to-{time.monotonic_ns()}"
    command = run.command(to)
    bench.settle()
    before, others, began = run.server.cpu(), Others(), time.monotonic()
    children = _ended_children()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=LIMIT)
    except BaseException:
        process.kill()
        process.wait()
        raise
    seconds = time.monotonic() - began
    sender = _ended_children() - children
    if process.returncode:
        raise Failed(f"{command[0]}: {said[-500:].decode(errors='replace')}")
    share, server_cpu = others.share(), run.server.cpu() - before
    if (there := run.arrived(to)) != amount:
        raise Failed(f"{command[0]} brought {there} of {amount}")
    return Sent(seconds, amount, server_cpu, run.server.peak(), sender_cpu=sender, others=share)


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _text(sent: Sent, unit: Unit, cost: Unit | None) -> str:
    per = cost or Unit(" s/GB", 1e-9, 2)
    server = per.number(sent.server_cpu / sent.bytes)
    client = per.number((sent.sender_cpu or 0.0) / sent.bytes)
    return f"{unit.number(sent.rate)}{unit.name}, client {client}, server {server}{per.name}"


def _curl(to: Path, pairs: list[tuple[str, str]]) -> list[str]:
    """A configuration with a line for each file: its URL and where it goes."""
    lines = list[str]()
    for source, target in pairs:
        if target.startswith("http"):
            lines += [f'upload-file = "{source}"', f'url = "{target}"', "output = /dev/null"]
        else:
            lines += [f'url = "{source}"', f'output = "{target}"']
    config = to.parent / "curl.conf"
    config.write_text("\n".join([*lines, ""]))
    return [
        "curl", "-sSf", "--create-dirs", "--parallel", "-K", str(config),
    ]  # fmt: skip


def make_files(folder: Path, files: int) -> Path:
    """500 to 8,000 bytes each, a hundred folders."""
    chance = random.Random(1)
    for number in range(files):
        path = folder / f"{number % 100:02}" / f"{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(500, 8000)))
    return folder


def count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


@contextmanager
def our_server(bench: Bench, place: Path) -> Iterator[Server]:
    root, port = place / "root", free_port()
    root.mkdir(parents=True)
    words = ["serve", "--to", str(root), "--digest", "none", "--port", str(port)]
    with serving([str(bench.binaries / "sluiceway"), *words], {}, place, port) as server:
        yield server


@contextmanager
def _rclone(program: Path, kind: str, place: Path, root: Path | None = None) -> Iterator[Server]:
    """`rclone serve`, of `root` or of a new folder `root` in its place."""
    if root is None:
        root = place / "root"
    root.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [str(program), "serve", kind, str(root), "--addr", f"127.0.0.1:{port}"]
    with serving([*command, "--config", ""], {}, place, port) as server:
        yield server
