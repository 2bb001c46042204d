"""`make sources`.

The tables of the articles this project began with, measured anew and without their mistakes.

Standard library only; the peers live in .venv-bench. Every figure in the output was measured in the
same run; failures and omissions are named. Timed runs have no profiler and write real files;
--profile makes other runs, for reading.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path[0] = str(ROOT)  # started as a script: the package is `bench`, not its folder

from bench.machine import describe, file_system  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.run import size_of  # noqa: E402
from bench.setup import make_environment, make_nginx  # noqa: E402
from bench.sources_cases import CLOCK  # noqa: E402
from bench.sources_container import container_group  # noqa: E402
from bench.sources_peers import LEFT_OUT  # noqa: E402
from bench.sources_sweep import sweep_group  # noqa: E402
from bench.sources_table import profile_cells, table_group  # noqa: E402
from bench.sources_why import why_group  # noqa: E402
from bench.stored import MIB  # noqa: E402

__all__ = ["main", "notes"]

SIZES = "256MiB,512MiB,1GiB,2GiB"
GROUPS = {
    "table": "Methods and deployments",
    "why": "Why uWSGI was fifteen times as slow",
    "sweep": "The pipe, and what gathering its pieces brings",
    "container": "uWSGI in a container",
}
SPACE = 4  # times the biggest size that must be free: the source, a spool, what is stored, and room
NOTES = """\
Random data over loopback, sent by a sendfile client process from a page-cached file, one \
transfer at a time; about one byte in 256 ends a line. Seconds run from connect to the last byte \
of the answer.
{rounds} rounds, everyone in turn within each; servers have one worker, fresh for every run and \
warmed up by one; values are median (min-max), peaks are the most of all rounds.
Files are real ones on one disk; after each run the file is synced, dropped from the page cache, \
read back and its sha-256 compared with the source's. The plain methods do no fsync. `ours form` \
fsyncs the file, `sluiceway serve` also its folder, and hashes with sha-256, as it does by \
itself; `ours raw` in Flask is the view's own copy, without fsync.
No profiler runs while anything of `table` and `sweep` is timed; `why` says where one does.
RSS and temporary files are looked at every tenth of a second and summed over the server's \
processes; memory that processes share counts in each. uWSGI has three here: its master, the http \
router and the worker.
{left_out}
`why`: `fixed reads` is shutil.copyfileobj from request.stream to a real file. `lines, 2019` is \
writelines over request.stream into the null device, through a stream that reads lines as \
Werkzeug 0.15 did; `lines, today` the same through Werkzeug's own.
Its slow clock takes {clock:.2f} us a look, which is how much longer a len() took in the \
published profile of uWSGI than in that of the development server. Slow cases carry a part of the \
data and are compared by seconds a byte.
`sweep`: the pieces are cut to at most 60 bytes, as Werkzeug wrote them in 2018; cutting is in \
the time. The sink counts and throws away; the same trip is made again, untimed, and hashed \
there.
`container`: the image of deploy/flask.Dockerfile, built here and entered by a mount namespace; \
its network is the machine's."""


def arguments(given: list[str] | None) -> argparse.Namespace:
    def sizes(text: str) -> list[int]:
        return [size_of(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(prog="bench/sources.py", description=__doc__)
    parser.add_argument(
        "--sizes", type=sizes, default=sizes(SIZES), help=f"sizes of the file (default {SIZES})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each run (default 3)")
    parser.add_argument(
        "--rows", default=",".join(GROUPS), help=f"which of {','.join(GROUPS)} (default all)"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="then each run of `table` again in a profiler: OUT/profiles",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "bench" / "out",
        help="where sources.json and sources.md go",
    )
    parser.add_argument(
        "--work", type=Path, help="a folder on the disk to measure (default OUT/work)"
    )
    asked = parser.parse_args(given)
    unknown = set(asked.rows.split(",")) - set(GROUPS)
    if unknown or asked.rounds < 1 or min(asked.sizes) < MIB:
        parser.error(
            f"no such rows: {', '.join(unknown)}" if unknown else "at least 1 round of 1MiB"
        )
    return asked


def notes(rounds: int) -> list[str]:
    """What was measured, one sentence group a line."""
    return NOTES.format(rounds=rounds, left_out=LEFT_OUT, clock=CLOCK * 1e6).splitlines()


def keep(
    asked: argparse.Namespace,
    facts: dict[str, str],
    parts: dict[str, str],
    data: dict[str, object],
    failed: list[str],
) -> str:
    """Write sources.md and sources.json; returns the former's text."""
    blocks = [f"## {GROUPS[name]}\n\n{text}" for name, text in parts.items()]
    sections = {"What was measured": notes(asked.rounds), "Failed": failed}
    blocks += [
        f"{title}:\n" + "".join(f"- {line}\n" for line in lines)
        for title, lines in sections.items()
        if lines
    ]
    blocks += ["Measured on:\n" + "".join(f"- {name}: {value}\n" for name, value in facts.items())]
    text = "\n".join(blocks)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "sources.md").write_text(text)
    report = {
        "machine": facts,
        "sizes": asked.sizes,
        "rounds": asked.rounds,
        "failed": failed,
        "data": data,
    }
    (asked.out / "sources.json").write_text(json.dumps(report, indent=1) + "\n")
    return text


def main(given: list[str] | None = None) -> int:
    asked, began = arguments(given), time.time()

    def say(text: str) -> None:
        print(text, flush=True)

    work: Path = (asked.work or asked.out / "work").resolve()
    work.mkdir(parents=True, exist_ok=True)
    if file_system(work) in ("tmpfs", "ramfs"):
        say(f"{work} lies in memory, not on a disk: choose another folder with --work")
        return 2
    if shutil.disk_usage(work).free < SPACE * max(asked.sizes):
        say(
            f"{SPACE * max(asked.sizes) / 2**30:.0f} GiB must be free: choose smaller --sizes or "
            "another --work"
        )
        return 2
    try:
        binaries = make_environment(ROOT, say)
    except subprocess.CalledProcessError as error:
        say(f"could not make .venv-bench: {' '.join(error.cmd)} ended with {error.returncode}")
        return 2
    nginx, facts = make_nginx(say), describe(ROOT, work, binaries)
    for name, value in facts.items():
        say(f"{name}: {value}")
    text, failed = measure(
        asked, Bench(work, binaries, min(asked.sizes), asked.rounds, say), nginx, facts
    )
    say(
        f"\n{text}\n{time.time() - began:.0f} s in all; kept in {asked.out}: sources.md, "
        "sources.json"
    )
    return 1 if failed else 0


def measure(
    asked: argparse.Namespace, bench: Bench, nginx: bool, facts: dict[str, str]
) -> tuple[str, list[str]]:
    groups = {
        "table": lambda: table_group(bench, asked.sizes),
        "why": lambda: why_group(bench, nginx),
        "sweep": lambda: sweep_group(bench),
        "container": lambda: container_group(bench),
    }
    parts: dict[str, str] = {}
    data: dict[str, object] = {}
    failed: list[str] = []
    text = ""
    try:
        for name in asked.rows.split(","):
            bench.say(f"\n{name}:")
            parts[name], data[name], missed = groups[name]()
            failed += missed
            facts["load after"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
            text = keep(
                asked, facts, parts, data, failed
            )  # after each group: a later stop loses nothing
        if asked.profile:
            bench.say("\nprofiles:")
            failed += profile_cells(bench, asked.sizes, asked.out / "profiles")
            text = keep(asked, facts, parts, data, failed)
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)  # sources and stored files are large
    return text, failed


if __name__ == "__main__":
    sys.exit(main())
