"""The account of bytes that all processes of one machine share: stored, reserved, and in change.

    quota.sqlite      usage of each name, reservations of uploads, keys that are being changed
    processes/NAME    locked while its process lives: the holders of reservations and keys

Nothing here has to survive a power cut: the first process counts anew. Blocking calls.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sluiceway.errors import StoreFailed
from sluiceway.pipe.file_lock import ProcessName, locked_file
from sluiceway.uploads.quota.account import Amount, Limits, QuotaRefusal

__all__ = ["QuotaBook"]

BUSY_TIMEOUT = 30.0  # seconds to wait for the other processes
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS usage (name TEXT PRIMARY KEY, stored INTEGER NOT NULL)",
    # bytes that a publish will add: those of the file, less those of the one that it replaces.
    # Those of a part are its whole's as long as that one has a reservation.
    """CREATE TABLE IF NOT EXISTS reserved (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, bytes INTEGER NOT NULL, total_credit INTEGER
        NOT NULL, name_credit INTEGER NOT NULL, holder TEXT NOT NULL, whole TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS changes (
        key TEXT PRIMARY KEY, name TEXT, bytes INTEGER, holder TEXT NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS counting (holder TEXT NOT NULL, done INTEGER NOT NULL)",
)
_RESERVED = (
    "SELECT COALESCE(SUM(MAX(0, bytes - {credit})), 0) FROM reserved "
    "WHERE id <> ? AND whole NOT IN (SELECT id FROM reserved)"
)
_OF_PARTS = (
    "SELECT COALESCE(MAX(bytes), 0) FROM reserved WHERE id = ?1",
    "SELECT COALESCE(SUM(bytes), 0) FROM reserved WHERE whole = ?1",
)


class QuotaBook:
    """The account in one folder, as one process uses it. Raises StoreFailed, OSError."""

    def __init__(self, folder: str) -> None:
        os.makedirs(os.path.join(folder, "processes"), mode=0o700, exist_ok=True)
        self._processes = os.open(os.path.join(folder, "processes"), os.O_RDONLY)
        self._lock = threading.Lock()
        with locked_file(os.path.join(folder, "lock")):
            names = os.listdir(self._processes)
            self._process = ProcessName(self._processes)
            is_first = not any(self._process.is_alive(name) for name in names)
            self._db = _open(os.path.join(folder, "quota.sqlite"))
            if is_first:
                self._begin_anew()

    @property
    def process(self) -> str:
        return self._process.name

    def close(self) -> None:
        self._db.close()
        self._process.close()
        os.close(self._processes)

    # Counting

    def counts(self) -> bool | None:
        """Whether this process has to count now; None when all is counted."""
        with self._changed() as db:
            holder, done = db.execute("SELECT holder, done FROM counting").fetchone()
            if done:
                return None
            if holder != self.process and self._process.is_alive(holder):
                return False
            db.execute("UPDATE counting SET holder = ?", (self.process,))
            return True

    def counted(self, stored: Iterable[Amount], lasting: Iterable[tuple[str, Amount, str]]) -> None:
        """All is counted: bytes of each name, and those of uploads that outlive a request, with the
        ids of those that they are parts of."""
        with self._changed() as db:
            db.execute("DELETE FROM usage")
            db.execute("DELETE FROM reserved")
            for amount in stored:
                _add(db, amount.name, amount.bytes)
            for upload, amount, whole in lasting:
                db.execute(
                    "INSERT INTO reserved VALUES (?, ?, ?, 0, 0, '', ?)",
                    (upload, amount.name, amount.bytes, whole),
                )
            db.execute("UPDATE counting SET done = 1")

    def usage(self) -> dict[str, int]:
        """Stored bytes of each name."""
        with self._changed() as db:
            return dict(db.execute("SELECT name, stored FROM usage WHERE stored <> 0"))

    # Reservations

    def hold(self, id: str, wanted: Amount, limits: Limits, replaced: Amount | None = None) -> None:
        """Reserve so many bytes in all for one file, less those of the one that it replaces.

        Raises QuotaRefusal; then the reservation is as it was. One that does not grow fits.
        """
        total_credit = 0 if replaced is None else replaced.bytes
        name_credit = total_credit if replaced and replaced.name == wanted.name else 0
        row = (id, wanted.name, wanted.bytes, total_credit, name_credit, self.process)
        with self._changed() as db:
            own = db.execute(
                "SELECT MAX(0, bytes - total_credit), MAX(0, bytes - name_credit), holder "
                "FROM reserved WHERE id = ?",
                (id,),
            ).fetchone() or (0, 0, self.process)
            self._check(db, id, wanted, limits, (total_credit, name_credit), own[:2])
            holder = own[2] and self.process  # what outlives its request stays so
            db.execute(
                "INSERT OR REPLACE INTO reserved VALUES (?, ?, ?, ?, ?, ?, '')", (*row[:5], holder)
            )

    def hold_part(self, id: str, wanted: Amount, whole: str) -> bool:
        """So many of the bytes that are reserved for `whole` are those of this part. False: the
        other parts leave it less."""
        with self._changed() as db:
            of_whole, of_parts = (db.execute(text, (whole,)).fetchone()[0] for text in _OF_PARTS)
            if wanted.bytes > of_whole - of_parts:
                return False
            row = (id, wanted.name, wanted.bytes, self.process, whole)
            db.execute("INSERT INTO reserved VALUES (?, ?, ?, 0, 0, ?, ?)", row)
            return True

    def keep(self, id: str) -> None:
        """From now on the reservation is that of an upload which outlives this process."""
        with self._changed() as db:
            db.execute("UPDATE reserved SET holder = '' WHERE id = ?", (id,))

    def join(self, parts: Iterable[str], id: str) -> None:
        """The reservations of the parts of an upload are its own now."""
        with self._changed() as db:
            row = db.execute("SELECT name, bytes FROM reserved WHERE id = ?", (id,)).fetchone()
            total, name = (row[1], row[0]) if row else (0, "")
            for part in parts:
                if found := db.execute(
                    "SELECT name, bytes FROM reserved WHERE id = ?", (part,)
                ).fetchone():
                    name, total = found[0], total + found[1]
                    db.execute("DELETE FROM reserved WHERE id = ?", (part,))
            db.execute(
                "INSERT OR REPLACE INTO reserved VALUES (?, ?, ?, 0, 0, '', '')", (id, name, total)
            )

    def release(self, ids: Iterable[str]) -> None:
        """Give reservations back."""
        with self._changed() as db:
            db.executemany("DELETE FROM reserved WHERE id = ?", [(each,) for each in ids])

    def unsure(self) -> list[str]:
        """Reservations of uploads that may have ended, and of processes that live no more."""
        with self._changed() as db:
            found = db.execute("SELECT id, holder FROM reserved").fetchall()
        return [each for each, holder in found if not holder or not self._process.is_alive(holder)]

    # Keys in change

    def claim(self, key: str) -> Amount | bool:
        """Become the only one that changes a key: True, or False while another process has it.

        After a process that died in its change: the bytes that the key had before it.
        """
        with self._changed() as db:
            found = db.execute(
                "SELECT name, bytes, holder FROM changes WHERE key = ?", (key,)
            ).fetchone()
            if found is None:
                db.execute("INSERT INTO changes VALUES (?, NULL, NULL, ?)", (key, self.process))
                return True
            name, size, holder = found
            if holder and self._process.is_alive(holder):
                return False
            db.execute("UPDATE changes SET holder = ? WHERE key = ?", (self.process, key))
            return True if name is None else Amount(name, size)

    def abandoned(self) -> list[str]:
        """Keys in whose change a process died, or of which nobody learned the outcome."""
        with self._changed() as db:
            found = db.execute("SELECT key, holder FROM changes").fetchall()
        return [key for key, holder in found if not holder or not self._process.is_alive(holder)]

    def begin(self, key: str, before: Amount) -> None:
        """Write down what the key has before its change."""
        with self._changed() as db:
            db.execute(
                "UPDATE changes SET name = ?, bytes = ? WHERE key = ?",
                (before.name, before.bytes, key),
            )

    def end(self, key: str, after: Amount, id: str = "") -> None:
        """The key has this now; the reservation `id` has become it."""
        with self._changed() as db:
            found = db.execute("SELECT name, bytes FROM changes WHERE key = ?", (key,)).fetchone()
            if found is not None and found[0] is not None:
                _add(db, found[0], -found[1])
                _add(db, after.name, after.bytes)
            db.execute("DELETE FROM changes WHERE key = ?", (key,))
            if id:
                db.execute("DELETE FROM reserved WHERE id = ?", (id,))

    def leave(self, key: str) -> None:
        """Nobody knows now what the key has: who changes it next finds out."""
        with self._changed() as db:
            db.execute("UPDATE changes SET holder = '' WHERE key = ?", (key,))

    def _check(
        self,
        db: sqlite3.Connection,
        id: str,
        wanted: Amount,
        limits: Limits,
        credits: tuple[int, int],
        own: tuple[int, int],
    ) -> None:
        sums = (
            ("total_credit", "SELECT COALESCE(SUM(stored), 0) FROM usage", "", limits.total),
            (
                "name_credit",
                "SELECT COALESCE(SUM(stored), 0) FROM usage WHERE name = ?",
                " AND name = ?",
                limits.of_name,
            ),
        )
        for number, (credit, stored, where, limit) in enumerate(sums):
            need = max(0, wanted.bytes - credits[number])
            if limit is None or need <= own[number]:
                continue
            names = (wanted.name,) if where else ()
            (there,) = db.execute(stored, names).fetchone()
            (held,) = db.execute(_RESERVED.format(credit=credit) + where, (id, *names)).fetchone()
            if need > (left := limit - there - held):
                raise QuotaRefusal(left + credits[number], is_total=not where)

    def _begin_anew(self) -> None:
        with self._changed() as db:
            for table in ("usage", "reserved", "changes", "counting"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608  # a name of this module
            db.execute("INSERT INTO counting VALUES (?, 0)", (self.process,))

    @contextmanager
    def _changed(self) -> Iterator[sqlite3.Connection]:
        """One change of the account, or none if it raises."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreFailed(f"The account of quotas failed: {error}").for_operator() from None


def _add(db: sqlite3.Connection, name: str, size: int) -> None:
    if size:
        db.execute(
            "INSERT INTO usage VALUES (?1, ?2) "
            "ON CONFLICT (name) DO UPDATE SET stored = stored + ?2",
            (name, size),
        )


def _open(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode=rwc",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    os.chmod(path, 0o600)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")  # a power cut ends all processes: the next one counts
    for text in _SCHEMA:
        db.execute(text)
    return db
