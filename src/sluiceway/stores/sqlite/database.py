"""What a store, its drafts and its readers share: one writer, some readers, and the statements.

Knows no draft's or reader's class.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft
from sluiceway.stores.rows.object_rows import COLUMNS
from sluiceway.stores.sqlite.connections import ObjectsFile
from sluiceway.stores.sqlite.place import SqlitePlace
from sluiceway.stores.sqlite.readers import ReaderThreads
from sluiceway.stores.sqlite.writer import WriterThread

__all__ = ["END_LEASE", "LARGEST_ROW", "LEASE", "SqliteDatabase"]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")

LARGEST_ROW = 512 << 10  # bytes of one row of an object; rows of 1 MiB gained nothing
# A draft or reader not seen for so long is dead: a silent client is dropped after a minute.
LEASE = 3600.0  # seconds
ROWS_AT_ONCE = 64  # that one transaction deletes: others may write in between

FREE = """DELETE FROM {t_chunks} WHERE rowid IN
    (SELECT rowid FROM {t_chunks} WHERE id = ? LIMIT ?)"""
FIND_LEASE = "SELECT id FROM {t_readers} WHERE lease = ?"
RENEW_LEASE = "UPDATE {t_readers} SET seen = ? WHERE lease = ?"
END_LEASE = "DELETE FROM {t_readers} WHERE lease = ?"
IN_USE = """SELECT EXISTS (SELECT 1 FROM {t} WHERE id = ?)
    OR EXISTS (SELECT 1 FROM {t_readers} WHERE id = ? AND seen > ?)"""
FIND_ROW = """SELECT rowid, start FROM {t_chunks} WHERE id = ? AND start <= ?
    ORDER BY start DESC LIMIT 1"""


class SqliteDatabase:
    """One table of one file. Opens nothing by itself."""

    def __init__(self, place: SqlitePlace, budget: Budget) -> None:
        self.file: ObjectsFile = ObjectsFile(place.path, place.table)
        self.budget: Budget = budget
        self.drafts: set[Draft] = set()  # under way in this process
        self.writer: WriterThread = WriterThread(self.file)
        self.readers: ReaderThreads = ReaderThreads(self.file)
        suffixes = ("", "_chunks", "_drafts", "_readers")
        self._names = {f"t{suffix}": f'"{place.table}{suffix}"' for suffix in suffixes}
        self._names["columns"] = ", ".join(COLUMNS)
        self._statements: dict[str, str] = {}

    def query(self, text: str) -> str:
        """A statement: {t}, {t_chunks} … stand for the tables, {columns} for those of an object."""
        if text not in self._statements:
            self._statements[text] = text.format(**self._names)
        return self._statements[text]

    async def read_chunk(self, chunks: str, at: int, size: int) -> bytes:
        """The bytes from `at` to the end of their row, at most `size`; none where no row is."""
        find, table = self.query(FIND_ROW), f"{self.file.table}_chunks"

        def work(db: sqlite3.Connection) -> bytes:
            row = db.execute(find, (chunks, at)).fetchone()
            if row is None:
                return b""
            # Incremental I/O reads the pages of the range; substr() reads the whole row first.
            with db.blobopen(table, "data", row[0], readonly=True) as blob:
                blob.seek(min(at - row[1], len(blob)))
                return blob.read(size)

        return await self.readers.read(work)

    async def write(self, text: str, *values: object) -> None:
        """One statement in a transaction."""
        statement = self.query(text)

        def work(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        await self.writer.write(work)

    async def free_chunks(self, chunks: str, is_needed: bool = True) -> None:
        """Delete the bytes that no key names any more. The last reader deletes those in use.

        `is_needed` False: no key ever named them.
        """
        try:
            while await self.writer.write(self._free_some(chunks, is_needed)):
                pass
        except SluiceError as error:  # the deletion of the key is committed and stands
            log.warning("A deleted object's bytes stay until they are swept: %s", error.detail)

    async def renew_lease(self, lease: str) -> None:
        await self.write(RENEW_LEASE, time.time(), lease)

    async def end_lease(self, lease: str) -> None:
        """A reader is closed. Free its bytes when their key was deleted meanwhile.

        Another process that deletes the key now either sees the lease and leaves the bytes to this
        one, or no longer sees it and frees them.
        """
        query = self.query

        def work(db: sqlite3.Connection) -> Any:
            row = db.execute(query(FIND_LEASE), (lease,)).fetchone()
            db.execute(query(END_LEASE), (lease,))
            return row

        try:
            row = await self.writer.write(work)
        except SluiceError as error:
            log.warning("A reader's lease stays until it is swept: %s", error.detail)
            return
        if row is not None:
            await self.free_chunks(str(row[0]))

    async def aclose(self) -> None:
        await self.readers.aclose()
        await self.writer.aclose()

    def _free_some(self, chunks: str, is_needed: bool) -> Callable[[sqlite3.Connection], bool]:
        in_use, free = self.query(IN_USE), self.query(FREE)

        def work(db: sqlite3.Connection) -> bool:
            """Whether there are more."""
            alive = time.time() - LEASE
            if is_needed and db.execute(in_use, (chunks, chunks, alive)).fetchone()[0]:
                return False
            return db.execute(free, (chunks, ROWS_AT_ONCE)).rowcount == ROWS_AT_ONCE

        return work
