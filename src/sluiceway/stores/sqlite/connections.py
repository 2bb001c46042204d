"""Connections to one SQLite file: how it is opened, and the tables of a store in it.

    TABLE           key, id, size, etag …: the finished objects
    TABLE_chunks    their bytes, and those of drafts, in rows of up to 512 KiB
    TABLE_drafts    which bytes belong to uploads under way, and when each was last seen
    TABLE_readers   which bytes some process reads, and when each lease was last renewed

All calls block: threads make them. Knows nothing of objects.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sluiceway.errors import NoSpace, StoreFailed
from sluiceway.stores.rows.object_rows import COLUMNS
from sluiceway.stores.sqlite.errors import MissingTable

__all__ = ["BUSY_TIMEOUT", "MissingTable", "ObjectsFile", "SqliteFile"]

BUSY_TIMEOUT = 30.0  # seconds to wait for another program that writes to the file
MODE_RETRY = 0.02  # seconds; SQLite waits for no lock when the journal's mode changes
# Of a new file. 16 KiB wrote 1.5 times as fast as SQLite's own 4 KiB; 64 KiB gained a quarter more,
# and a small object would have cost four times the journal.
PAGE = 16 << 10
# Bytes of the WAL from which on it is moved into the file: 1.5 times as fast as after 4 MiB.
CHECKPOINT = 16 << 20
# Free bytes of the disk that uploads leave alone: a full WAL could not even record a deletion.
RESERVE = 2 * CHECKPOINT
CACHE = 1 << 20  # bytes of pages that a connection holds

OTHERS = ("chunks", "drafts", "readers")  # tables beside the one of the objects
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS "{t}" (
        key TEXT NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        modified REAL NOT NULL,
        filename TEXT NOT NULL,
        type TEXT NOT NULL,
        sha256 TEXT,
        more TEXT NOT NULL DEFAULT '')""",
    # With a rowid: it is what incremental I/O reads by.
    """CREATE TABLE IF NOT EXISTS "{t}_chunks" (
        id TEXT NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, start))""",
    """CREATE TABLE IF NOT EXISTS "{t}_drafts" (
        id TEXT NOT NULL PRIMARY KEY, upload TEXT NOT NULL, seen REAL NOT NULL,
        epoch INTEGER)""",  # of its holder, where it may outlive its process
    """CREATE TABLE IF NOT EXISTS "{t}_readers" (
        lease TEXT NOT NULL PRIMARY KEY, id TEXT NOT NULL, seen REAL NOT NULL)""",
)
ADDED = (("drafts", "epoch", "INTEGER"),)  # columns that tables of earlier versions lack


class SqliteFile:
    """A file with the given tables, each with columns it must have. `schema` makes them.

    `added` are columns that a writer adds where they are missing: table, name, type.
    """

    path: str

    def __init__(
        self,
        path: str,
        schema: Sequence[str],
        columns: Mapping[str, Collection[str]],
        added: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        self.path = path
        self._schema, self._columns, self._added = schema, columns, added

    def number(self) -> tuple[int, int] | None:
        """Which file stands at the path; None for none. One that was replaced is another file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def open_writer(self, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
        """A connection that writes; makes the file and the tables. Raises sqlite3.Error."""
        db = self._open("rwc", timeout)
        try:
            # These two count only for a file that is empty.
            db.execute(f"PRAGMA page_size = {PAGE}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # a sweep can give space back
            page = db.execute("PRAGMA page_size").fetchone()[0]
            self._use_wal(db, time.monotonic() + timeout)
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT // page}")
            db.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT}")
            # On macOS only this reaches the disk; elsewhere it changes nothing.
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA checkpoint_fullfsync = ON")
            # Zeros over deleted bytes, which some builds write, would move every byte once more.
            db.execute("PRAGMA secure_delete = OFF")
            if not self._has_tables(db):
                db.execute("BEGIN IMMEDIATE")
                # Another process may have made them while this one waited for its turn.
                for text in () if self._has_tables(db) else self._schema:
                    db.execute(text)
                db.execute("COMMIT")
            self._check_columns(db)
            if self._missing_columns(db):
                db.execute("BEGIN IMMEDIATE")
                for text in self._missing_columns(db):
                    db.execute(text)
                db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def open_reader(self) -> sqlite3.Connection:
        """A connection that reads. Raises MissingTable, sqlite3.Error."""
        if not os.path.exists(self.path):
            raise MissingTable(f"There is no database {self.path}").for_operator()
        try:
            return self._checked_reader("rw")
        except sqlite3.OperationalError:
            # A file that nobody can write, in a folder where no WAL can be made: nothing changes
            # it, unless a WAL lies there that only a writer could read. Any other failure passes
            # (a full disk, too many open files): an immutable reader would never see later writes.
            wal, folder = f"{self.path}-wal", os.path.dirname(self.path) or "."
            if (_may_write(self.path) and _may_write(folder)) or (
                os.path.exists(wal) and os.path.getsize(wal)
            ):
                raise
            return self._checked_reader("ro&immutable=1")

    def _checked_reader(self, mode: str) -> sqlite3.Connection:
        db = self._open(mode, BUSY_TIMEOUT)
        try:
            if not self._has_tables(db):
                table = next(iter(self._columns))
                raise MissingTable(f"There is no table {table!r} in {self.path}").for_operator()
            self._check_columns(db)
        except BaseException:
            db.close()
            raise
        return db

    def _open(self, mode: str, timeout: float) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{Path(self.path).absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,  # transactions are begun and ended in so many words
            check_same_thread=False,  # one thread at a time uses it, not always the same one
        )
        db.execute(f"PRAGMA cache_size = -{CACHE >> 10}")
        return db

    def _use_wal(self, db: sqlite3.Connection, until: float) -> None:
        """Where the file system has no shared memory, SQLite stays with its rollback journal."""
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
                time.sleep(MODE_RETRY)

    def _has_tables(self, db: sqlite3.Connection) -> bool:
        found = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in found}.issuperset(self._columns)

    def _missing_columns(self, db: sqlite3.Connection) -> list[str]:
        """The statements that add what an earlier version did not make."""
        return [
            f'ALTER TABLE "{table}" ADD COLUMN {name} {kind}'
            for table, name, kind in self._added
            if name not in _columns_of(db, table)
        ]

    def _check_columns(self, db: sqlite3.Connection) -> None:
        """An app may have a table of this name itself. Raises StoreFailed."""
        for table, columns in self._columns.items():
            if not _columns_of(db, table).issuperset(columns):
                raise StoreFailed(
                    f"The table {table!r} in {self.path} is another program's; "
                    "choose a name with ?table="
                ).for_operator()


class ObjectsFile(SqliteFile):
    """The file at `path` with the objects of `table`."""

    def __init__(self, path: str, table: str) -> None:
        self.table: str = table
        columns = {table: COLUMNS, **{f"{table}_{name}": () for name in OTHERS}}
        added = [(f"{table}_{other}", name, kind) for other, name, kind in ADDED]
        super().__init__(path, [text.format(t=table) for text in SCHEMA], columns, added)

    def check_room(self, size: int, db: sqlite3.Connection) -> None:
        """Whether `size` bytes fit on the disk, or where deleted objects were. Raises NoSpace."""
        folder = os.path.dirname(os.path.abspath(self.path))
        if size + RESERVE <= shutil.disk_usage(folder).free:
            return
        pages, page = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("freelist_count", "page_size")
        )
        if size > pages * page:
            raise NoSpace("The database's disk has no room for this file").for_everyone()


def _columns_of(db: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in db.execute(f'PRAGMA table_info("{table}")')}


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
