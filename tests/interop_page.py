"""docs/interop.md: which apps work as before, streamed or spooled. Each framework has one block.

A framework's suite runs its apps with and without Sluiceway, makes one `InteropRow` an app, and
ends with one of these:

    check_block("flask", rows)      in `make test`: the page names the same apps, in the same order,
                                    with the same outcome and the same way
    measure_block("flask", rows)    under torture, with memory and temporary bytes for 256 MiB: the
                                    page's figures hold; INTEROP_WRITE=1 writes those that do not

The page has the lines `<!-- interop:flask -->` and `<!-- /interop:flask -->`; all between them is
the block, everything else is written by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MIB", "PAGE", "InteropRow", "check_block", "measure_block"]

PAGE = Path(__file__).parents[1] / "docs" / "interop.md"
MIB = 1 << 20
HEAD = ["| app | outcome | the file is | memory | temporary files |", "|---|---|---|---|---|"]
# MiB by which a figure may differ from the page's: allocators and Python versions. On a busy
# machine less is in memory at the same time, down to half of it.
SLACK = 16


@dataclass(frozen=True)
class InteropRow:
    """One app with one request.

    `way` is what became of the file: "streamed" (read while it arrives), "spooled" (memory, then a
    temporary file, as the framework does), or words of the suite's own. `memory` and `temporary`
    are bytes for a file of 256 MiB, None where they were not measured.
    """

    app: str
    way: str
    outcome: str = "same"
    memory: int | None = None
    temporary: int | None = None

    @property
    def facts(self) -> tuple[str, str, str]:
        return (self.app, self.outcome, self.way)


def check_block(framework: str, rows: Sequence[InteropRow]) -> None:
    """Fails unless the page has exactly these apps, outcomes and ways, each with its figures."""
    written = _read(framework)
    assert [row.facts for row in written] == [row.facts for row in rows], _advice(framework)
    assert all(None not in (row.memory, row.temporary) for row in written), _advice(framework)


def measure_block(framework: str, rows: Sequence[InteropRow]) -> None:
    """Fails unless the page's figures hold. With INTEROP_WRITE=1 in the environment: write them."""
    if os.environ.get("INTEROP_WRITE") == "1":
        _write(framework, rows)
    check_block(framework, rows)
    for row, written in zip(rows, _read(framework), strict=True):
        assert None not in (row.memory, row.temporary), f"{row.app} was not measured"
        assert _holds(row.memory, written.memory), f"{row}: the page says {written}"
        assert _holds(row.temporary, written.temporary, 0), f"{row}: the page says {written}"


def _holds(figure: int | None, known: int | None, less: float = 0.5) -> bool:
    """`less` is the part of what the page says that may not have been needed this time."""
    if figure is None or known is None:
        return False
    return min(known - SLACK * MIB, known * (1 - less)) <= figure <= known + SLACK * MIB


def _advice(framework: str) -> str:
    return (
        f"docs/interop.md is stale: run the {framework} suite of tests/interop under torture with "
        "INTEROP_WRITE=1"
    )


def _markers(framework: str) -> tuple[str, str]:
    return f"<!-- interop:{framework} -->\n", f"<!-- /interop:{framework} -->"


def _write(framework: str, rows: Sequence[InteropRow]) -> None:
    begin, end = _markers(framework)
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    known = {row.app: row for row in _read(framework)}
    lines = []
    for row in rows:
        old = known.get(row.app, row)
        memory = old.memory if _holds(row.memory, old.memory) else row.memory
        temporary = old.temporary if _holds(row.temporary, old.temporary, 0) else row.temporary
        lines.append(
            f"| {row.app} | {row.outcome} | {row.way} | {_mib(memory)} | {_mib(temporary)} |"
        )
    PAGE.write_text(before + begin + "\n".join([*HEAD, *lines, ""]) + end + after, "utf-8")


def _mib(size: int | None) -> str:
    return "?" if size is None else f"{max(0, round(size / MIB))} MiB"


def _read(framework: str) -> list[InteropRow]:
    begin, end = _markers(framework)
    text = PAGE.read_text("utf-8")
    assert begin in text, f"docs/interop.md has no block for {framework}"
    block = text.partition(begin)[2].partition(end)[0]
    cells = [re.split(r" *\| *", line.strip("| ")) for line in block.splitlines()[len(HEAD) :]]
    return [InteropRow(app, way, outcome, _size(memory), _size(temporary))
            for app, outcome, way, memory, temporary in cells]  # fmt: skip


def _size(text: str) -> int | None:
    return None if text == "?" else int(text.removesuffix(" MiB")) * MIB
