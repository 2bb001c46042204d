"""A journal in a file: a SQLite database, whose tables `job` and `objects` other programs may read.

A row is on the disk before the object counts as done (WAL, `synchronous=FULL`), so it survives
kill -9. SQL runs in threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from sluiceway.copying.fingerprint_set import fingerprint
from sluiceway.copying.journals.journal import (
    FinishedObject,
    Journal,
    not_alone,
    of_other_sides,
)
from sluiceway.errors import BadRequest, NoSpace, SluiceError, StoreFailed
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["COMPANIONS", "SqliteJournal"]

COMPANIONS = ("-wal", "-shm", "-journal")  # suffixes of the files SQLite keeps beside a database
FORMAT = 3  # in `user_version`
APPLICATION_ID = 0x536C754A  # marks the database as a journal: bytes 68 to 71 of its file
BUSY_TIMEOUT = 10.0  # seconds to wait for another program that writes to the database
# Elsewhere flock either does not exist or blocks SQLite's own locks on the same file. There SQLite
# locks the database as a whole, and other programs can read it only after the run.
USES_FLOCK = sys.platform == "linux" and HAS_LOCKS
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_MAGIC = b"SQLite format 3\0"
_TEXT_FORMAT = b'{"sluiceway-journal"'
_SCHEMA = (
    "CREATE TABLE job (id TEXT NOT NULL, sides TEXT NOT NULL)",
    """CREATE TABLE objects (
        key TEXT NOT NULL, version TEXT NOT NULL, size INTEGER NOT NULL, digest TEXT,
        location TEXT NOT NULL, finished TEXT NOT NULL, PRIMARY KEY (key, version)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
_INSERT = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)"


class SqliteJournal(Journal):
    """Open and locked. Call `close` or `aclose` at the end."""

    def __init__(self, path: str, source: str, destination: str) -> None:
        """Blocking. `source` and `destination` name the sides. Raises BadRequest, StoreFailed."""
        super().__init__(path)
        self._db: sqlite3.Connection | None = None
        with _mapped_errors(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o600)
        try:
            self._lock()
            with _mapped_errors(path):
                self._check_file()
                self._db = self._connect()
                self.id: str = self._load(self._db, fingerprint(source, destination).hex())
        except BaseException:
            self.close()
            raise

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Blocking. Closes the database and gives up the lock; safe to call twice."""
        if self._db is not None:
            self._db.close()
        # After the database: closing any descriptor of a file drops SQLite's own locks on it.
        if self._fd >= 0:
            os.close(self._fd)
        self._db, self._fd = None, -1

    async def _keep(self, rows: Sequence[FinishedObject]) -> None:
        await in_thread(partial(self._insert, rows))

    def _insert(self, rows: Sequence[FinishedObject]) -> None:
        if self._db is None:
            raise StoreFailed(f"The journal {self.path} is closed")
        with _mapped_errors(self.path), self._db:
            self._db.execute("BEGIN")
            self._db.executemany(_INSERT, [row.columns for row in rows])

    def _lock(self) -> None:
        """Beside SQLite's own locks, which let several programs write in turns."""
        if not USES_FLOCK:
            return  # see _connect
        import fcntl

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise not_alone(self.path) from None
            raise StoreFailed(
                f"The journal {self.path} cannot be locked: {error.strerror or error}"
            ) from error

    def _check_file(self) -> None:
        """Raises BadRequest for a file that is not a journal, before anything in it changes."""
        with open(self._fd, "rb", buffering=0, closefd=False) as file:
            head = file.read(100)
        if head.startswith(_TEXT_FORMAT):
            raise BadRequest(
                f"The journal {self.path} is of an older format (text); name another file. Objects "
                "that are at the destination already are compared and skipped"
            )
        if head and (
            not head.startswith(_MAGIC) or head[68:72] != APPLICATION_ID.to_bytes(4, "big")
        ):
            raise BadRequest(f"{self.path} is not a journal of a copy; name another file")

    def _connect(self) -> sqlite3.Connection:
        # Autocommit; used by one thread at a time.
        db = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            if not USES_FLOCK:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA synchronous = FULL")
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                # New, or rolled back because its creation was cut off. In one transaction of the
                # main file: with a WAL, the marks in the file's head would come later.
                with db:
                    db.execute("BEGIN EXCLUSIVE")
                    for statement in _SCHEMA:
                        db.execute(statement)
                _sync_folder(os.path.dirname(self.path))
            db.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            db.close()
            raise
        return db

    def _load(self, db: sqlite3.Connection, sides: str) -> str:
        """Reads what is done; returns the job's id. Raises BadRequest for another job's journal."""
        if db.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
            raise BadRequest(
                f"The journal {self.path} was written by another version of this program; "
                "begin a new one"
            )
        job = db.execute("SELECT id, sides FROM job").fetchone()
        if job is None:
            job = (secrets.token_hex(16), sides)
            db.execute("INSERT INTO job VALUES (?, ?)", job)
        if job[1] != sides:
            raise of_other_sides(self.path)
        for key, version, size in db.execute("SELECT key, version, size FROM objects"):
            self._knows(key, version, size)
        return str(job[0])


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    fd = os.open(folder or ".", os.O_RDONLY)
    with suppress(OSError):
        os.fsync(fd)
    os.close(fd)


@contextmanager
def _mapped_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _mapped(path, error) from error


def _mapped(path: str, error: OSError | sqlite3.Error) -> SluiceError:
    full = (
        error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, OSError)
        else getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    )
    if full:
        return NoSpace(
            f"No space for the journal {path}; make room and run the same command again to resume"
        )
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY and not USES_FLOCK:
        return not_alone(path)
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BadRequest(
            f"The journal {path} is damaged; name a new file: objects that are at the destination "
            "are compared, and not sent again"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return StoreFailed(f"The journal {path} cannot be written: {reason}")
