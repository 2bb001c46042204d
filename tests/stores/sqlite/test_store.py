"""SQLite passes the suite. The tests look into its tables for leftovers."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

import pytest

from killed_writer import keeper, writer
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import StoreSuite

LEFTOVERS = """SELECT DISTINCT id FROM files_chunks WHERE id NOT IN (SELECT id FROM files)
    UNION SELECT id FROM files_drafts UNION SELECT id FROM files_readers"""


class TestSqliteStore(StoreSuite):
    """A file of the test's own."""

    large = 64 << 20
    path: Path
    budget: Budget

    @pytest.fixture(autouse=True)
    def _fresh_file(self, tmp_path: Path) -> None:
        self.path, self.budget = tmp_path / "files.db", Budget(64 << 20)

    async def make_store(self, tmp_path: Path) -> Store:
        return SqliteStore(f"sqlite:///{self.path}", self.budget)

    def rows(self, text: str) -> list[tuple[object, ...]]:
        if not self.path.exists():
            return []
        db = sqlite3.connect(self.path, timeout=30)
        try:
            with db:
                return db.execute(text).fetchall()
        finally:
            db.close()

    def leftovers(self, store: Store) -> Collection[str]:
        return [str(row[0]) for row in self.rows(LEFTOVERS)]

    def command(self, tmp_path: Path) -> list[str]:
        return writer("sqlite", f"sqlite:///{self.path}")

    def keeper(self, tmp_path: Path, upload: str) -> list[str]:
        return keeper("sqlite", f"sqlite:///{self.path}", upload)

    async def sweep(self, store: Store) -> None:
        self.rows("UPDATE files_drafts SET seen = seen - 7200")
        await super().sweep(store)

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0
        assert self.leftovers(store) == []
        assert self.rows("PRAGMA integrity_check") in ([], [("ok",)])
        assert not self.path.with_name("files.db-wal").exists()  # the last one to close moves it
