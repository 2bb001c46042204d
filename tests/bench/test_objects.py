"""The rows of S3: one small run of all three, on a real server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.objects import object_rows  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.stored import MIB, SMALL  # noqa: E402


@pytest.mark.torture
def test_an_upload_into_s3_is_paired_with_the_clients_of_local_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are measured in each round, and what was stored is read back and hashed."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # what the rows set for their children is taken back
    said: list[str] = []
    result = object_rows(
        Bench(tmp_path, Path(sys.executable).parent, 20 * MIB, 2, said.append, quick=True),
        lambda peers: peers,
    )

    assert result.failed == [], said
    assert [row.goal for row in result.rows] == [">= 1x", ">= 0.9x"]
    assert all(row.met is not None for row in result.rows)
    assert {who: len(rates) for who, rates in result.data.items() if isinstance(rates, list)} == {
        "ours": 2,
        "boto3": 2,
        "obstore": 2,
    }
    assert all(path.stat().st_size <= SMALL for path in tmp_path.glob("place-*/**/*"))
