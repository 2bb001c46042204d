"""The rows of the client: one small run of all of them, against curl and, where it is, rclone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fix_taking import missing

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.copies import copy_rows  # noqa: E402
from bench.copies_earlier import copies_against_earlier  # noqa: E402
from bench.rounds import Bench  # noqa: E402


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_copies_are_paired_with_curl(tmp_path: Path) -> None:
    """Everything arrives with every contender, and every row says what it cost."""
    if shutil.which("curl") is None:
        missing("curl is not installed")
    said: list[str] = []
    bench = Bench(tmp_path, Path(sys.executable).parent, 1 << 20, 1, said.append, quick=True)
    result = copy_rows(bench, lambda peers: peers)

    assert result.failed == [], said
    # Copies between folders are measured against rclone alone.
    assert len(result.data) == (5 if (bench.binaries / "rclone").exists() else 4)
    assert all(row.goal == ">= 1x" and "sender" in row.cost for row in result.rows)


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_copies_are_paired_with_an_earlier_version(tmp_path: Path) -> None:
    """Here with the same one: each way has the processor time of both commands."""
    said: list[str] = []
    bench = Bench(tmp_path, Path(sys.executable).parent, 1 << 20, 1, said.append, quick=True)
    result = copies_against_earlier(bench, bench.binaries / "sluiceway")

    assert result.failed == [], said
    assert len(result.rows) == 4
    assert all(row.value is not None for row in result.rows)
