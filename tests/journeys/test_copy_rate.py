"""`--limit-rate` of one file: no kind of copy is faster, and the bytes are the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer
from fix_taking import noise
from sluiceway.errors import BadRequest

DATA = noise(600_000)
RATE = 1_000_000
SECONDS = len(DATA) / RATE - 0.2  # less the first burst


@pytest.mark.parametrize("way", ["up", "form", "down", "between", "zip"])
def test_a_copy_keeps_to_its_rate_limit(taker: RunningServer, tmp_path: Path, way: str) -> None:
    """From a file, as a form, to a file, between servers, and as a zip."""
    base = f"{taker.url}/files"
    (tmp_path / "data").write_bytes(DATA)
    requests.put(f"{base}/rate/there", data=DATA, timeout=30)
    began = time.monotonic()
    if way == "up":
        sluiceway.copy(tmp_path / "data", f"{base}/rate/up", limit_rate=RATE)
    elif way == "form":
        sluiceway.copy(tmp_path / "data", base, form={"a": "b"}, limit_rate="1MB")
    elif way == "down":
        sluiceway.copy(f"{base}/rate/there", tmp_path / "down", limit_rate=RATE)
        assert (tmp_path / "down").read_bytes() == DATA
    elif way == "between":
        sluiceway.copy(f"{base}/rate/there", f"{base}/rate/between", limit_rate=RATE)
    else:
        sluiceway.copy(f"{base}/rate/", tmp_path / "rate.zip", pack="zip", limit_rate=RATE)
    took = time.monotonic() - began

    assert took >= SECONDS
    if way in ("up", "between"):
        assert requests.get(f"{base}/rate/{way}", timeout=30).content == DATA


@pytest.mark.parametrize("rate", [0, -5, "fast", "-1MiB"])
def test_an_invalid_rate_is_refused(taker: RunningServer, tmp_path: Path, rate: int | str) -> None:
    (tmp_path / "data").write_bytes(b"x")
    with pytest.raises(BadRequest):
        sluiceway.copy(tmp_path / "data", f"{taker.url}/files/rate/none", limit_rate=rate)
