"""This version against an earlier one, with little: both run, and each way has its ratio."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.earlier import earlier_rows, earlier_small_rows  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.stored import MIB  # noqa: E402


@pytest.mark.torture
def test_each_way_is_measured_against_the_earlier_version(tmp_path: Path) -> None:
    """Here that is this version once more."""
    binaries = Path(sys.executable).parent
    bench = Bench(tmp_path, binaries, MIB, 1, lambda _: None, quick=True)
    for group, count in ((earlier_rows, 7), (earlier_small_rows, 2)):
        result = group(bench, lambda peers: peers, binaries / "sluiceway")

        assert result.failed == []
        assert len(result.rows) == count
        ratios = [row.ratio for row in result.rows]
        assert all(ratio.endswith(")") for ratio in ratios), ratios


def test_without_an_earlier_version_there_are_no_rows(tmp_path: Path) -> None:
    """The plain bench is as it was."""
    bench = Bench(tmp_path, tmp_path, MIB, 1, lambda _: None)
    for group in (earlier_rows, earlier_small_rows):
        assert group(bench, lambda peers: peers, None).rows == []
