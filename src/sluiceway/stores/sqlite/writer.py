"""The one connection of a process that writes, in a thread of its own.

Work that waits together shares one transaction, and so one wait for the disk. Work raises a
SluiceError only before it has written anything. Knows nothing of objects.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sluiceway.errors import SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.group_commit import GroupCommit
from sluiceway.stores.sqlite.connections import SqliteFile
from sluiceway.stores.sqlite.errors import map_error

__all__ = ["BusyWait", "WriterThread"]

T = TypeVar("T")

MOST_TOGETHER = 32  # pieces of work in one transaction
MOST_BYTES = 16 << 20  # of rows in one transaction; the last piece of work may go beyond it


@dataclass(frozen=True, slots=True)
class BusyWait:
    """Seconds to wait while another program writes to the file. `again`: once that was in vain,
    until a wait succeeds."""

    first: float
    again: float


class _Job:
    """A piece of work and its outcome. `durable`: it ends when the disk has it."""

    __slots__ = ("durable", "error", "result", "size", "work")

    def __init__(
        self, work: Callable[[sqlite3.Connection], Any], durable: bool, size: int = 0
    ) -> None:
        self.work, self.durable, self.size = work, durable, size
        self.result: Any = None
        self.error: Exception | None = StoreFailed("The database's writer was stopped")


class WriterThread:
    """Writes to one file. Opens it when first needed, and again when another file is there."""

    def __init__(self, file: SqliteFile, busy: BusyWait | None = None) -> None:
        """`busy`: None for as long as a store waits."""
        self._file, self._busy, self._is_away = file, busy, False
        self._db: sqlite3.Connection | None = None
        self._number: tuple[int, int] | None = None  # of the file that is open
        self._synchronous = ""  # as the open connection has it
        self._always_full = False
        self._thread: ThreadPoolExecutor | None = None
        self._group: GroupCommit[_Job] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has written, and may find its file without asking the disk."""
        return self._db is not None

    async def write(self, work: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Commit `work`. It survives a kill of this process, and a power cut after a `commit`.

        `size`: bytes of its rows. A caller that is cancelled waits for its end. Raises what `work`
        raises, or the database.
        """
        job = _Job(work, durable=False, size=size)
        await self._jobs().run(job)
        return cast(T, job.result)

    async def commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, and the disk has it and all that was written before.

        A success stands also for a caller that is cancelled meanwhile.
        """
        job = _Job(work, durable=True)
        await self._jobs().commit(job, alone=False)
        return cast(T, job.result)

    async def aclose(self) -> None:
        """Work that waits is done first. The writer may be used again."""
        if self._thread is not None:
            await in_thread(self._close, self._thread)
            thread, self._thread, self._group = self._thread, None, None
            thread.shutdown(wait=False)

    def _jobs(self) -> GroupCommit[_Job]:
        if self._group is None:
            self._thread = ThreadPoolExecutor(1, "sluiceway-sqlite-writer")
            self._group = GroupCommit(
                self._run_all, self._thread, runners=1, most=MOST_TOGETHER, error_of=_error_of
            )
        return self._group

    # In the thread

    def _run_all(self, group: Sequence[_Job]) -> None:
        jobs: list[_Job] = []
        room = MOST_BYTES
        for job in group:
            jobs.append(job)
            room -= job.size
            if room <= 0:
                self._run(jobs)
                jobs, room = [], MOST_BYTES
        if jobs:
            self._run(jobs)

    def _run(self, jobs: list[_Job]) -> None:
        """One transaction. After an error each job gets one of its own, unless the file is locked:
        they would wait for that one after the other."""
        try:
            self._transact(jobs)
        except Exception as error:
            failure: Exception = error
            if isinstance(error, sqlite3.Error):
                failure = map_error(error, self._file.path)
                failure.__cause__ = error
            self._is_away = isinstance(failure, Unavailable)
            if len(jobs) > 1 and not self._is_away:
                for job in jobs:
                    self._run([job])
                return
            if self._is_away and self._busy is not None:
                self._close()  # the next connection is less patient
            for job in jobs:
                job.error = failure
        else:
            if self._is_away:
                self._is_away = False
                self._close()  # the next connection is as patient as before

    def _transact(self, jobs: list[_Job]) -> None:
        db = self._open()
        self._set_synchronous(db, "FULL" if any(job.durable for job in jobs) else "NORMAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                job.result = job.error = None
                try:
                    job.result = job.work(db)
                except SluiceError as error:
                    job.error = error
            db.execute("COMMIT")
        except BaseException:
            self._close()  # which rolls back, and forgets what an I/O error left in memory
            raise

    def _open(self) -> sqlite3.Connection:
        """A file that was deleted or replaced keeps nothing that is written to it."""
        if self._db is not None and self._file.number() != self._number:
            self._close()
        if self._db is None:
            self._synchronous = ""
            self._db = self._file.open_writer(*self._patience)
            self._number = self._file.number()
        return self._db

    @property
    def _patience(self) -> tuple[float, ...]:
        """Of a connection. After an error the next one is opened anew."""
        if self._busy is None:
            return ()
        return (self._busy.again if self._is_away else self._busy.first,)

    def _set_synchronous(self, db: sqlite3.Connection, value: str) -> None:
        """In WAL mode NORMAL waits for no disk at a commit, and FULL for all commits so far."""
        if self._synchronous == "":
            mode = db.execute("PRAGMA journal_mode").fetchone()[0]
            # A rollback journal needs FULL always: with NORMAL a power cut may damage the file.
            self._always_full = mode != "wal"
        value = "FULL" if self._always_full else value
        if value != self._synchronous:
            db.execute(f"PRAGMA synchronous = {value}")
            self._synchronous = value

    def _close(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            db.close()


def _error_of(job: _Job) -> Exception | None:
    return job.error
