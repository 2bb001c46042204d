"""Another program has the ledger's file locked: requests are told soon, and the end is an end."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from sluiceway.errors import Unavailable
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.sqlite import connections
from sluiceway.stores.sqlite.writer import BusyWait
from sluiceway.uploads.ledger import sqlite
from sluiceway.uploads.ledger.record import UploadRecord


def record(number: int) -> UploadRecord:
    return UploadRecord(f"{number:022}", "tus", UploadRequest(), created=1.5)


async def test_all_that_wait_fail_together_and_everything_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty requests wait at most twice; then the short wait counts, until one succeeds. The last
    write of the ledger fails as well, and what is behind it is closed all the same."""
    monkeypatch.setattr(sqlite, "BUSY", BusyWait(first=0.2, again=0.01))
    waits: list[float] = []
    opened = connections.SqliteFile.open_writer

    def open_writer(self: connections.SqliteFile, timeout: float = 30.0) -> sqlite3.Connection:
        waits.append(timeout)
        return opened(self, timeout)

    monkeypatch.setattr(connections.SqliteFile, "open_writer", open_writer)
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "0123456789abcdef").touch()  # of a process that was killed
    ledger = sqlite.SqliteLedger(str(tmp_path))
    await ledger.create(record(0))
    await ledger.claim(record(0).id)
    other = sqlite3.connect(tmp_path / "uploads.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    creating = (ledger.create(record(number)) for number in range(1, 21))
    outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert waits in ([0.2], [0.2, 0.01])
    other.execute("ROLLBACK")
    for number in (1, 2):
        await ledger.create(record(number))
    assert waits[-2:] == [0.01, 0.2]

    other.execute("BEGIN IMMEDIATE")
    await ledger.aclose()
    other.close()
    assert not [*(tmp_path / "processes").iterdir()]
