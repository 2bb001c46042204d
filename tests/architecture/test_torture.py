"""`make torture` runs every long proof: a file that it does not name would never run them."""

from __future__ import annotations

import re
from pathlib import Path

from architecture.sources import require

TESTS = Path(__file__).parents[1]
LONG = re.compile(r"\bmark\.torture\b|^from fix_taking import .*\bTORTURE\b", re.MULTILINE)


def test_make_torture_runs_every_file_with_long_proofs() -> None:
    makefile = (TESTS.parent / "Makefile").read_text("utf-8")
    recipe = makefile.partition("\ntorture:")[2].partition("\n\n")[0]
    named = [TESTS.parent / path for path in re.findall(r"\btests/[\w/]+(?:\.py)?", recipe)]
    require(
        str(path.relative_to(TESTS.parent))
        for path in sorted(TESTS.rglob("test_*.py"))
        if LONG.search(path.read_text("utf-8")) and not any(map(path.is_relative_to, named))
    )
