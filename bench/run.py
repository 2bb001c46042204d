"""`make bench`.

Our server and named peers measured in one run, printed as a table and kept as JSON and Markdown.

Standard library only; the peers live in .venv-bench. Every row names what was measured; goals that
are not met are named, too.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path[0] = str(ROOT)  # started as a script: the package is `bench`, not its folder

from bench.contenders import FORMS, OURS_FORM, OURS_NONE, OURS_SHA, RAWS, Contender  # noqa: E402
from bench.database import database_rows  # noqa: E402
from bench.django_forms import django_rows  # noqa: E402
from bench.earlier import earlier_rows, make_earlier  # noqa: E402
from bench.live import LIVE, PLAIN, live_rows  # noqa: E402
from bench.machine import describe, file_system  # noqa: E402
from bench.objects import object_rows  # noqa: E402
from bench.relay import (  # noqa: E402
    NGINX_BUFFERED,
    NGINX_SMALL,
    NGINX_UNBUFFERED,
    PIPE,
    PIPE_4000,
    PIPE_NOW,
    RELAY_FORM,
    RELAY_NONE,
    RELAY_SHA,
    RELAY_STORY,
    TWO_STEP,
)
from bench.relay_rows import relay_groups  # noqa: E402
from bench.restore import restore_rows  # noqa: E402
from bench.rows import ROWS, Result, Wanted  # noqa: E402
from bench.sending import sending_rows  # noqa: E402
from bench.setup import make_environment, make_nginx  # noqa: E402
from bench.stored import MIB  # noqa: E402
from bench.table import Row, markdown  # noqa: E402
from bench.throughput import Bench  # noqa: E402

__all__ = ["main", "size_of"]

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SPACE = 22  # times the size that must be free: ten in a spool, ten stored, the source
RELAY_PEERS = (NGINX_UNBUFFERED, NGINX_SMALL, NGINX_BUFFERED, TWO_STEP, PIPE, PIPE_4000, PIPE_NOW)
SLOW_SPACE = 10 << 30  # what 1,000 slow uploads may reserve


def size_of(text: str) -> int:
    """Bytes from 64MiB, 1GiB, 1G, 4096."""
    found = re.fullmatch(r"([0-9]{1,15})([KMG]?)(?:iB)?", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 64MiB or 1GiB")
    return int(found[1]) * UNITS[found[2]]


def groups_of(
    stall: float, earlier: Path | None = None
) -> dict[str, Callable[[Bench, Wanted], Result]]:
    """All groups of rows, in their order.

    `stall` is how many seconds the destination of `stalled` stands still.

    `earlier` is the command of an earlier version; without one its rows are left out.
    """
    return {
        **ROWS,
        **relay_groups(stall),
        "live": live_rows,
        "sending": sending_rows,
        "database": database_rows,
        "objects": object_rows,
        "django": django_rows,
        "restore": restore_rows,
        "earlier": lambda bench, wanted: earlier_rows(bench, wanted, earlier),
    }


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument(
        "--size", type=size_of, default=1 << 30, help="bytes of one transfer (default 1GiB)"
    )
    groups = groups_of(0)
    parser.add_argument(
        "--rows", default=",".join(groups), help=f"which of {','.join(groups)} (default all)"
    )
    parser.add_argument(
        "--stall",
        type=float,
        default=60.0,
        help="seconds the destination of `stalled` stands still (default 60)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of each transfer row (default 5)"
    )
    parser.add_argument(
        "--earlier", type=Path, help="a checkout of an earlier version, for the rows `earlier`"
    )
    parser.add_argument(
        "--peers", default="all", help="words of peers' names, e.g. nginx,aiohttp; or all, or none"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench" / "out", help="where result.json and table.md go"
    )
    parser.add_argument(
        "--work", type=Path, help="a folder on the disk to measure (default OUT/work)"
    )
    asked = parser.parse_args(given)
    unknown = set(asked.rows.split(",")) - set(groups)
    if unknown or asked.rounds < 1 or asked.size < MIB:
        parser.error(
            f"no such rows: {', '.join(unknown)}" if unknown else "at least 1 round of 1MiB"
        )
    return asked


CONDITIONS = """\
One transfer is {size:,} bytes of random data over loopback, one at a time, sent by a sendfile \
client process from a page-cached file; seconds run from connect to the last byte of the answer.
{rounds} rounds, ours and the peers in turn within each; every server one process or worker, \
fresh for every transfer and warmed up by one; values are median (min-max), ratios are those of \
ratios taken round by round.
The sink is a regular file on the same disk; after each transfer it is synced, dropped from the \
page cache, read back and its sha-256 compared with the source's. Downloads are of one \
hard-linked, page-cached file, hashed in a second, untimed trip.
Peers `+ fsync` add fsync of the file before the answer, not of the directory, in the first three \
rounds; nginx cannot.
Memory is resident bytes (RSS) summed over a server's processes; what the kernel caches or \
buffers is not in it.
Passing on goes to a sink process that counts bytes and throws them away; after each timed \
transfer the same trip is made again, untimed, and hashed by the sink. Story and overlap send a \
form of 256 MiB and pass its file on raw, in at most 3 rounds; the pipes carry less (the table \
says how much) and are compared by bytes a second; cutting the pieces, once the parser's work, is \
in their time. Sides are slowed down in user space, by sleeps of the sender and of the sink \
between pieces of 128 KiB; a side alone is that form straight to the sink.
The Flask view's rows send twice the size, at most 2 GiB, in at most 3 rounds; temporary files, \
and the memory of second processes, are looked at every tenth of a second while the timed \
transfer with limited sides runs."""


def conditions(size: int, rounds: int) -> list[str]:
    """What was measured, in words, below the table: one sentence group a line."""
    lines = CONDITIONS.format(size=size, rounds=rounds).splitlines()
    for one in (OURS_NONE, OURS_SHA, OURS_FORM, *RAWS, *FORMS):
        durable = "fsync before the answer" if one.fsync else "no fsync"
        lines += [f"{one.name}: {durable}, digest {one.digest}; writes: {one.writes}."]
    for one in (RELAY_NONE, RELAY_SHA, RELAY_FORM, RELAY_STORY, LIVE, *RELAY_PEERS, PLAIN):
        lines += [f"{one.name}: passes on, digest {one.digest}; {one.writes}."]
    return lines


def report(
    facts: dict[str, str], rows: Sequence[Row], notes: Sequence[str], failed: Sequence[str]
) -> str:
    parts = [markdown(rows), "What was measured:", *(f"- {note}" for note in notes), ""]
    if failed:
        parts += ["Failed:", *(f"- {line}" for line in failed), ""]
    parts += ["Measured on:", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(parts)


def main(given: list[str] | None = None) -> int:
    asked = arguments(given)
    began = time.time()

    def say(text: str) -> None:
        print(text, flush=True)

    work: Path = (asked.work or asked.out / "work").resolve()
    work.mkdir(parents=True, exist_ok=True)
    if file_system(work) in ("tmpfs", "ramfs"):
        say(f"{work} lies in memory, not on a disk: choose another folder with --work")
        return 2
    space = max(SPACE * asked.size, SLOW_SPACE)
    if shutil.disk_usage(work).free < space:
        say(
            f"{space / 2**30:.0f} GiB must be free for this size: choose a smaller --size or "
            "another --work"
        )
        return 2
    try:
        binaries = make_environment(ROOT, say)
    except subprocess.CalledProcessError as error:
        say(f"could not make .venv-bench: {' '.join(error.cmd)} ended with {error.returncode}")
        return 2
    have_nginx = make_nginx(say)
    facts = describe(ROOT, work, binaries)
    for name, value in facts.items():
        say(f"{name}: {value}")

    def wanted(peers: tuple[Contender, ...]) -> tuple[Contender, ...]:
        words = asked.peers.lower().split(",")
        kept = (
            peers
            if "all" in words
            else tuple(peer for peer in peers if any(w in peer.name.lower() for w in words))
        )
        return tuple(peer for peer in kept if have_nginx or not peer.name.startswith("nginx"))

    bench = Bench(work, binaries, asked.size, asked.rounds, say)
    whole = Result()
    text = ""
    try:
        groups = groups_of(
            asked.stall, make_earlier(asked.earlier.resolve(), work, say) if asked.earlier else None
        )
        for name in asked.rows.split(","):
            say(f"\n{name}:")
            result = groups[name](bench, wanted)
            whole.rows += result.rows
            whole.failed += result.failed
            whole.data[name] = result.data
            text = keep(
                asked, facts, whole, time.time() - began
            )  # after each group: a later stop loses nothing
    finally:
        shutil.rmtree(work, ignore_errors=True)  # sources and stored files are large
    say(f"\n{text}\n{time.time() - began:.0f} s in all; kept in {asked.out}: table.md, result.json")
    return 1 if whole.failed else 0


def keep(asked: argparse.Namespace, facts: dict[str, str], whole: Result, seconds: float) -> str:
    """Write table.md and result.json; returns the former's text."""
    text = report(facts, whole.rows, conditions(asked.size, asked.rounds), whole.failed)
    kept = {"machine": facts, "size": asked.size, "rounds": asked.rounds, "seconds": seconds}
    rows = [{key: getattr(row, key) for key in Row.__slots__} for row in whole.rows]
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "result.json").write_text(
        json.dumps({**kept, "rows": rows, "failed": whole.failed, "data": whole.data}, indent=1)
        + "\n"
    )
    (asked.out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
