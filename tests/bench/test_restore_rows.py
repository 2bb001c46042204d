"""The rows of a restore: one small run of all of them, from a real S3 server."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from fix_taking import missing

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.restore import restore_rows  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.stored import SMALL  # noqa: E402


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_a_restore_is_paired_with_what_people_use(tmp_path: Path) -> None:
    """Each contender brings every object in each round, or the run fails."""
    if importlib.util.find_spec("swift") is None:
        missing("the wheel with an S3 server is not installed")
    said: list[str] = []
    bench = Bench(tmp_path, Path(sys.executable).parent, 64 << 10, 1, said.append, quick=True)
    result = restore_rows(bench, lambda peers: peers, objects=20)

    assert result.failed == [], said
    assert [row.goal for row in result.rows] == [">= 1x", ">= 1x"]
    assert set(result.data) == {"S3 to a folder", "S3 to an HTTP server"}
    assert all(path.stat().st_size <= SMALL for path in tmp_path.glob("place-*/**/*"))
