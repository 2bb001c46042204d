"""A few connections that read, each in use by one thread at a time.

In WAL mode they wait for no writer, and no writer waits for them.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.sqlite.connections import SqliteFile
from sluiceway.stores.sqlite.errors import map_error

__all__ = ["READERS", "ReaderThreads"]

T = TypeVar("T")

READERS = 4  # threads, each with a connection; more reads wait


class ReaderThreads:
    """Reads from one file. Connections are opened when first needed."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._idle: deque[tuple[tuple[int, int] | None, sqlite3.Connection]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns; it sees one state of the database.

        Raises what `work` raises, MissingTable, and errors of the database as ours.
        """
        return await in_thread(partial(self._read, work), self._executor())

    async def aclose(self) -> None:
        """Readers may be used again afterwards."""
        if self._threads is not None:
            threads, self._threads = self._threads, None
            await in_thread(partial(threads.shutdown, wait=True))
            while self._idle:
                self._idle.popleft()[1].close()

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(READERS, "sluiceway-sqlite-reader")
        return self._threads

    # In a thread

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        number = self._file.number()
        try:
            db = self._take(number)
            try:
                db.execute("BEGIN")
                try:
                    result = work(db)
                finally:
                    db.execute("ROLLBACK")
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            raise map_error(error, self._file.path) from error
        self._idle.append((number, db))
        return result

    def _take(self, number: tuple[int, int] | None) -> sqlite3.Connection:
        """A connection to the file that stands at the path now."""
        while self._idle:
            try:
                opened, db = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if opened == number and number is not None:
                return db
            db.close()
        return self._file.open_reader()
