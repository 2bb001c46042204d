"""The rows of `copy` against an earlier version: the processor time of the command itself.

One byte shows the start; many small files show what an object costs. Both versions talk to this
one's server.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.copies import (
    FILES,
    MANY_ROUNDS,
    OURS,
    QUICK_FILES,
    CommandRun,
    count_files,
    make_files,
    our_server,
    run_once,
)
from bench.process import Failed
from bench.results import Result, noted
from bench.rounds import Bench, Sent, Series, paired_rounds
from bench.table import Unit, compare

__all__ = ["copies_against_earlier"]

EARLIER = replace(OURS, name="earlier sluiceway copy")
MS = Unit(" ms each", 1e-3, 2)


def copies_against_earlier(bench: Bench, earlier: Path) -> Result:
    """One row for each way."""
    result, place = Result(), bench.place()
    ours = bench.binaries / "sluiceway"
    files = QUICK_FILES if bench.quick else FILES
    many, one = make_files(place / "many", files), place / "one"
    one.write_bytes(b"1")
    try:
        with our_server(bench, place / "ours") as server:
            url, root = f"http://127.0.0.1:{server.port}/files", server.tmp.parent / "root"

            def rows(
                title: str,
                amount: int,
                words: Callable[[Path], list[str]],
                arrived: Callable[[Path], int],
                most: int,
            ) -> None:
                runs = {
                    who.name: CommandRun(who, _words(command, words), server, arrived)
                    for who, command in ((OURS, ours), (EARLIER, earlier))
                }
                series = paired_rounds(
                    bench,
                    [OURS, EARLIER],
                    lambda who: run_once(bench, runs[who.name], amount),
                    most=lambda _: most,
                    text=lambda sent: f"{MS.number(_cost(sent))}{MS.name}",
                )
                _add(result, title, series)

            rows("copy of one byte to a server", 1, lambda to: ["-q", str(one), f"{url}/{to.name}"],
                 lambda to: (root / to.name).stat().st_size, bench.rounds)  # fmt: skip
            _fill(ours, ["-q", "--force", str(one), f"{url}/one"])
            rows("copy of one byte from a server", 1, lambda to: ["-q", f"{url}/one", str(to)],
                 lambda to: to.stat().st_size, bench.rounds)  # fmt: skip
            title = f"copy -r of {files:,} small files"
            rows(f"{title} to a server", files,
                 lambda to: ["-rq", str(many), f"{url}/{to.name}/"],
                 lambda to: count_files(root / to.name), MANY_ROUNDS)  # fmt: skip
            _fill(ours, ["-rq", str(many), f"{url}/kept/"])
            rows(f"{title} from a server", files, lambda to: ["-rq", f"{url}/kept/", str(to)],
                 count_files, MANY_ROUNDS)  # fmt: skip
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"copies: {error}")
        bench.say(f"  FAILED: {error}")
    return result


def _words(command: Path, words: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    return lambda to: [str(command), "copy", *words(to)]


def _fill(command: Path, words: list[str]) -> None:
    subprocess.run([str(command), "copy", *words], check=True, capture_output=True)


def _cost(sent: Sent) -> float:
    return (sent.sender_cpu or 0.0) / sent.bytes


def _add(result: Result, title: str, series: list[Series]) -> None:
    each = {
        one.contender.name: [_cost(sent) for sent in one.sent] for one in series if not one.failed
    }
    earlier = {"the earlier version": each[EARLIER.name]} if EARLIER.name in each else {}
    words = f"{title}: processor time of the command; against the earlier version"
    result.rows.append(compare(words, each.get(OURS.name), earlier, None, MS, less=True))
    data, failed = noted(series)
    result.data[title] = data
    result.failed += failed
