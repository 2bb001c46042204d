"""`make bench`.

Our server and named peers measured in one run: processor seconds and bytes a second, in pairs,
printed as a table and kept as JSON and Markdown.

Standard library only; the peers live in .venv-bench. Every row names what was measured, what it is
held against, and whether its goal is reached or by how much it is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path[0] = str(ROOT)  # started as a script: the package is `bench`, not its folder

from bench.conditions import conditions, selected  # noqa: E402
from bench.contenders import Contender  # noqa: E402
from bench.earlier import make_earlier  # noqa: E402
from bench.groups import GOALS, asked_groups, groups_of  # noqa: E402
from bench.machine import describe, file_system  # noqa: E402
from bench.publish import block, publish  # noqa: E402
from bench.results import Result  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.setup import make_environment, make_nginx  # noqa: E402
from bench.stored import MIB  # noqa: E402
from bench.table import Row, markdown  # noqa: E402

__all__ = ["main", "size_of"]

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Times the size that must be free: two sources, what is stored, a spool, and room. `memory` sends
# ten times the size.
SPACE, MEMORY_SPACE = 6, 22
SLOW_SPACE = 10 << 30  # what 1,000 slow uploads may reserve
ROUNDS, SIZE, REPEATS, WAIT, STALL = 5, 1 << 30, 3, 10.0, 60.0
QUICK_SIZE, QUICK_STALL = 16 * MIB, 2.0


def size_of(text: str) -> int:
    """Bytes from 64MiB, 1GiB, 1G, 4096."""
    found = re.fullmatch(r"([0-9]{1,15})([KMG]?)(?:iB)?", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 64MiB or 1GiB")
    return int(found[1]) * UNITS[found[2]]


def arguments(given: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked; --quick is worked into it."""
    parser = argparse.ArgumentParser(
        prog="bench/run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="groups of rows: " + ", ".join(groups_of(0)) + f"\ngoals: {', '.join(GOALS)}",
    )
    add = parser.add_argument
    add("--rows", default="all", help="groups, e.g. upload,form; goals; or all (default all)")
    add("--rounds", type=int, help=f"rounds of each row (default {ROUNDS})")
    add("--size", type=size_of, help="bytes of one transfer (default 1GiB)")
    add("--quick", action="store_true", help="one round with little: shows that a row runs")
    add(
        "--repeats",
        type=int,
        help=f"how often a run that others disturbed is repeated (default {REPEATS})",
    )
    add("--wait", type=float, help=f"seconds to wait until others are quiet (default {WAIT:g})")
    add("--stall", type=float, help=f"seconds that `stalled` lasts (default {STALL:g})")
    add(
        "--earlier",
        type=Path,
        help="a checkout of an earlier version, for the rows `earlier` and `earlier-small`",
    )
    add("--peers", default="all", help="words of peers' names, e.g. nginx,aiohttp; all; or none")
    add("--write", type=Path, help="a page whose blocks for this processor are replaced")
    add("--out", type=Path, default=ROOT / "bench" / "out", help="for result.json and table.md")
    add("--work", type=Path, help="a folder on the disk to measure (default OUT/work)")
    asked = parser.parse_args(given)
    usual = {"rounds": ROUNDS, "size": SIZE, "repeats": REPEATS, "wait": WAIT, "stall": STALL}
    quick = {"rounds": 1, "size": QUICK_SIZE, "repeats": 0, "wait": 0.0, "stall": QUICK_STALL}
    for name, value in (quick if asked.quick else usual).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    asked.groups, unknown = asked_groups(asked.rows)
    if unknown:
        parser.error(f"no such rows: {', '.join(unknown)}; there are {', '.join(groups_of(0))}")
    if asked.rounds < 1 or asked.size < MIB or asked.repeats < 0:
        parser.error("at least 1 round of 1MiB, and no fewer than 0 repeats")
    if asked.write and not asked.write.is_file():
        parser.error(f"{asked.write} is no page")
    return asked


def report(
    facts: dict[str, str], rows: Sequence[Row], notes: Sequence[str], failed: Sequence[str]
) -> str:
    parts = [markdown(rows), "What was measured:", *(f"- {note}" for note in notes), ""]
    if failed:
        parts += ["Failed:", *(f"- {line}" for line in failed), ""]
    parts += ["Measured on:", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(parts)


def say(text: str) -> None:
    print(text, flush=True)


def checked_work(asked: argparse.Namespace) -> Path | None:
    """The folder to measure in; None, with the reason printed, where nothing can be measured."""
    work: Path = (asked.work or asked.out / "work").resolve()
    work.mkdir(parents=True, exist_ok=True)
    if file_system(work) in ("tmpfs", "ramfs"):
        say(f"{work} lies in memory, not on a disk: choose another folder with --work")
        return None
    times = MEMORY_SPACE if "memory" in asked.groups else SPACE
    space = max(times * asked.size, SLOW_SPACE if "slow" in asked.groups else 0)
    if shutil.disk_usage(work).free < space:
        say(f"{space / 2**30:.0f} GiB must be free: choose a smaller --size or another --work")
        return None
    return work


def main(given: list[str] | None = None) -> int:
    asked = arguments(given)
    began = time.time()
    work = checked_work(asked)
    if work is None:
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
        return selected(peers, asked.peers, have_nginx)

    bench = Bench(
        work, binaries, asked.size, asked.rounds, say,
        repeats=asked.repeats, wait=asked.wait, quick=asked.quick,
    )  # fmt: skip
    whole = Result()
    try:
        earlier = make_earlier(asked.earlier.resolve(), work, say) if asked.earlier else None
        groups = groups_of(asked.stall, earlier)
        for name in asked.groups:
            say(f"\n{name}:")
            result = groups[name](bench, wanted)
            say(f"\n{markdown(result.rows)}")
            whole.rows += result.rows
            whole.failed += result.failed
            whole.data[name] = result.data
            # After each group: a later stop loses nothing.
            keep(asked, facts, whole, time.time() - began)
            if asked.write:
                write_page(asked, facts, name, result)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # sources and stored files are large
    say(f"{time.time() - began:.0f} s in all; kept in {asked.out}: table.md, result.json")
    return 1 if whole.failed else 0


def keep(asked: argparse.Namespace, facts: dict[str, str], whole: Result, seconds: float) -> None:
    """Write table.md and result.json."""
    notes = conditions(asked.size, asked.rounds, asked.repeats)
    text = report(facts, whole.rows, notes, whole.failed)
    kept = {"machine": facts, "size": asked.size, "rounds": asked.rounds, "seconds": seconds}
    rows = [{key: getattr(row, key) for key in Row.__slots__} for row in whole.rows]
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "result.json").write_text(
        json.dumps({**kept, "rows": rows, "failed": whole.failed, "data": whole.data}, indent=1)
        + "\n"
    )
    (asked.out / "table.md").write_text(text)


def write_page(
    asked: argparse.Namespace, facts: dict[str, str], group: str, result: Result
) -> None:
    """Replace this group's block for this processor in the page of --write."""
    if not result.rows:
        return
    words = [f"{asked.rounds} rounds of {asked.size:,} bytes"]
    words += [f"failed: {line}" for line in result.failed]
    text = block(group, markdown(result.rows), facts, words)
    page = asked.write.read_text()
    asked.write.write_text(publish(page, facts["processor"], group, text))


if __name__ == "__main__":
    sys.exit(main())
