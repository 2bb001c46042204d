"""The row of PostgreSQL: one small run of both, on a real server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.database import database_rows  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.stored import MIB, SMALL  # noqa: E402


@pytest.mark.torture
def test_an_upload_into_tables_is_paired_with_a_bare_loop(tmp_path: Path) -> None:
    """Both are measured in each round, and what was stored is read back and hashed."""
    said: list[str] = []
    result = database_rows(
        Bench(tmp_path, Path(sys.executable).parent, 2 * MIB, 2, said.append, quick=True),
        lambda peers: peers,
    )

    assert result.failed == [], said
    (row,) = result.rows
    assert row.goal == ">= 0.9x"
    assert row.met is not None
    assert {who: len(rates) for who, rates in result.data.items() if isinstance(rates, list)} == {
        "ours": 2,
        "loop": 2,
    }
    assert all(path.stat().st_size <= SMALL for path in tmp_path.glob("place-*/**/*"))
