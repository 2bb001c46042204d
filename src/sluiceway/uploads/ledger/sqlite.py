"""The ledger of one machine: a SQLite file, beside the drafts it describes.

    uploads.sqlite     uploads, the parts of their drafts, events that wait to be sent
    processes/NAME     locked while its process lives: the holders of uploads

What a client will learn is on the disk before it does (WAL, `synchronous=FULL`, one commit for
all that wait). Who holds an upload need not survive a power cut: no process does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sluiceway.errors import Exists, SluiceError, StoreFailed, Superseded
from sluiceway.pipe.cancellation import end_task, finish_then_cancel, run_each
from sluiceway.pipe.file_lock import HAS_LOCKS, ProcessName
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.sqlite.connections import MissingTable, SqliteFile
from sluiceway.stores.sqlite.readers import ReaderThreads
from sluiceway.stores.sqlite.writer import BusyWait, WriterThread
from sluiceway.uploads.ledger.contract import EventQueue, OutboxEvent
from sluiceway.uploads.ledger.deadline import AWAY_TIMEOUT, CALL_TIMEOUT
from sluiceway.uploads.ledger.record import COLUMNS, UploadRecord, from_row, to_row
from sluiceway.uploads.ledger.sqlite_events import SqliteEvents, add_events
from sluiceway.uploads.ledger.states import LedgerState

__all__ = ["SqliteLedger"]

log: logging.Logger = logging.getLogger("sluiceway")

T = TypeVar("T")

# Another program may have locked the file. A request waits for the work before its own as well: so
# long as that, twice, and as for a ledger on another machine (`deadline`).
LOCKED_TIMEOUT = CALL_TIMEOUT / 2  # seconds
BUSY = BusyWait(first=LOCKED_TIMEOUT, again=AWAY_TIMEOUT / 2)
LOOK_EVERY = 0.02  # seconds between looks whether another process asks for an upload

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
_SCHEMA = (
    """CREATE TABLE uploads (
        id TEXT NOT NULL PRIMARY KEY, dialect TEXT NOT NULL, request TEXT NOT NULL,
        created REAL NOT NULL, state TEXT NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL,
        "offset" INTEGER NOT NULL, length INTEGER, draft TEXT NOT NULL, details TEXT NOT NULL,
        expires REAL, key TEXT NOT NULL, response TEXT, code TEXT NOT NULL,
        asked INTEGER NOT NULL DEFAULT -1) WITHOUT ROWID""",
    "CREATE INDEX uploads_expire ON uploads (expires) WHERE expires IS NOT NULL",
    "CREATE INDEX uploads_asked ON uploads (holder) WHERE asked = epoch",
    """CREATE TABLE parts (
        upload TEXT NOT NULL, number INTEGER NOT NULL, note TEXT NOT NULL,
        PRIMARY KEY (upload, number)) WITHOUT ROWID""",
    """CREATE TABLE events (
        id TEXT NOT NULL PRIMARY KEY, upload TEXT NOT NULL, body TEXT NOT NULL,
        tries INTEGER NOT NULL, created REAL NOT NULL, due REAL NOT NULL,
        holder TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX events_due ON events (due) WHERE holder = ''",
    "CREATE INDEX events_expected ON events (holder) WHERE holder <> ''",
    "CREATE INDEX uploads_finishing ON uploads (id) WHERE state = 'finishing'",
    "CREATE TABLE sweeps (began REAL NOT NULL)",
)
_TABLES = {"uploads": (*COLUMNS, "asked"), "parts": (), "events": (), "sweeps": ()}
_SELECT = f"SELECT {_NAMES} FROM uploads"  # noqa: S608  # names of this module
_INSERT = f"INSERT OR IGNORE INTO uploads ({_NAMES}) VALUES ({_MARKS})"  # noqa: S608  # as above
_SET = ", ".join(f'"{name}" = ?' for name in COLUMNS)


class SqliteLedger:
    """The ledger in `folder`, for one event loop. See `Ledger`."""

    def __init__(self, folder: str) -> None:
        """Blocking. Makes the ledger where there is none. Raises StoreFailed, OSError."""
        if not HAS_LOCKS:
            raise StoreFailed(
                "This system has no file locks; uploads cannot outlive a request here"
            )
        os.makedirs(os.path.join(folder, "processes"), mode=0o700, exist_ok=True)
        self._processes = os.open(os.path.join(folder, "processes"), os.O_RDONLY | os.O_DIRECTORY)
        self._name = ProcessName(self._processes)
        self._name.forget_ended()
        self._file = SqliteFile(os.path.join(folder, "uploads.sqlite"), _SCHEMA, _TABLES)
        self._writer, self._readers = WriterThread(self._file, BUSY), ReaderThreads(self._file)
        self._events = SqliteEvents(self._file, self._writer, self._readers, self._name)
        self._let_go: Callable[[str, int], None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._held: set[str] = set()  # uploads of this process; without any nothing is looked for

    @property
    def process(self) -> str:
        return self._name.name

    @property
    def events(self) -> EventQueue:
        return self._events

    def now(self) -> float:
        return time.time()  # all of them are on this machine

    async def may_be_shared(self) -> bool:
        return await in_thread(self._name.has_others)

    async def check(self) -> None:
        await self.finishing("", 1)

    async def create(self, record: UploadRecord) -> None:
        row = to_row(record)

        def work(db: sqlite3.Connection) -> bool:
            return db.execute(_INSERT, row).rowcount > 0

        if not await self._writer.commit(work):
            raise Exists(f"The upload id {record.id!r} is taken; choose a fresh one")

    async def find(self, upload: str) -> UploadRecord | None:
        return await self._read(partial(_find, upload), None)

    async def claim(self, upload: str) -> UploadRecord | None:
        claimed: UploadRecord | None = None

        def work(db: sqlite3.Connection) -> UploadRecord | None:
            nonlocal claimed
            found = _find(upload, db)
            if found is None or (found.holder and self._name.is_alive(found.holder)):
                return found
            claimed = dataclasses.replace(found, holder=self.process, epoch=found.epoch + 1)
            db.execute(
                "UPDATE uploads SET holder = ?, epoch = ? WHERE id = ?",
                (claimed.holder, claimed.epoch, upload),
            )
            return claimed

        if not self._writer.is_open and self._file.number() is None:
            return None
        try:
            record = await self._writer.write(work)
        except asyncio.CancelledError:  # once that was done
            if claimed is not None:
                self._hold(upload)
                with suppress(SluiceError):  # whoever asks for it gets it then
                    await self.release(upload, claimed.epoch)
            raise
        except BaseException:
            self._hold(upload)  # it may be written all the same
            raise
        if record is not None and record.holder == self.process:
            self._hold(upload)
        return record

    async def ask(self, record: UploadRecord) -> None:
        await self._write(
            "UPDATE uploads SET asked = epoch WHERE id = ? AND epoch = ?", record.id, record.epoch
        )

    def on_asked(self, let_go: Callable[[str, int], None]) -> None:
        self._let_go = let_go

    async def release(self, upload: str, epoch: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE uploads SET holder = '' WHERE id = ? AND epoch = ? AND holder = ?",
                (upload, epoch, self.process),
            )

        await finish_then_cancel(self._drop(upload, work))

    async def save(
        self,
        record: UploadRecord,
        parts: Sequence[str] = (),
        events: Sequence[OutboxEvent] = (),
    ) -> None:
        row = to_row(record)

        def work(db: sqlite3.Connection) -> None:
            done = db.execute(
                f"UPDATE uploads SET {_SET} WHERE id = ? AND epoch = ?",  # noqa: S608  # our names
                (*row, record.id, record.epoch),
            )
            if not done.rowcount:
                raise Superseded
            if parts:
                (count,) = db.execute(
                    "SELECT count(*) FROM parts WHERE upload = ?", (record.id,)
                ).fetchone()
                rows = [(record.id, number, note) for number, note in enumerate(parts, count)]
                db.executemany("INSERT INTO parts VALUES (?, ?, ?)", rows)
            add_events(db, events)

        await self._writer.commit(work)
        if record.holder != self.process or record.state is LedgerState.GONE:
            self._held.discard(record.id)

    async def parts(self, upload: str) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute("SELECT note FROM parts WHERE upload = ? ORDER BY number", (upload,))
            return [note for (note,) in rows]

        return await self._readers.read(work)

    async def drop_parts(self, record: UploadRecord, count: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            found = _find(record.id, db)
            if found is None or found.epoch != record.epoch:
                raise Superseded
            db.execute("DELETE FROM parts WHERE upload = ? AND number >= ?", (record.id, count))

        await self._writer.commit(work)

    async def expired(self, now: float, most: int) -> list[UploadRecord]:
        def work(db: sqlite3.Connection) -> list[UploadRecord]:
            rows = db.execute(f"{_SELECT} WHERE expires <= ? ORDER BY expires LIMIT ?", (now, most))
            return [from_row(row) for row in rows]

        return await self._read(work, [])

    async def remove(self, upload: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM parts WHERE upload = ?", (upload,))
            db.execute("DELETE FROM uploads WHERE id = ?", (upload,))

        await finish_then_cancel(self._drop(upload, work))

    async def ids(self, after: str, most: int) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT id FROM uploads WHERE id > ? ORDER BY id LIMIT ?", (after, most)
            )
            return [upload for (upload,) in rows]

        return await self._read(work, [])

    async def begin_sweep(self, every: float) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            now = time.time()
            (last,) = db.execute("SELECT max(began) FROM sweeps").fetchone()
            if last is not None and now - every < last <= now:
                return False
            db.execute("DELETE FROM sweeps")
            db.execute("INSERT INTO sweeps VALUES (?)", (now,))
            return True

        return self._file.number() is not None and await self._writer.write(work)

    async def finishing(self, after: str, most: int) -> list[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT id FROM uploads WHERE state = 'finishing' AND id > ? ORDER BY id LIMIT ?",
                (after, most),
            )
            return [upload for (upload,) in rows]

        return await self._read(work, [])

    async def aclose(self) -> None:
        if self._looking is not None:
            await end_task(self._looking)
        await run_each(self._let_all_go, self._writer.aclose, self._readers.aclose, self._leave)

    async def _let_all_go(self) -> None:
        """At once: without it others see that this process is gone, when they ask for one."""
        if self._held:
            await self._write("UPDATE uploads SET holder = '' WHERE holder = ?", self.process)

    async def _leave(self) -> None:
        if self._processes >= 0:
            self._name.close()
            os.close(self._processes)
            self._processes = -1

    async def _read(self, work: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        if self._file.number() is None:
            return nothing
        try:
            return await self._readers.read(work)
        except MissingTable:  # the file has just been made, and nothing is in it yet
            return nothing

    async def _write(self, text: str, *values: object) -> None:
        """One statement, which need not survive a power cut."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(text, values)

        await self._writer.write(work)

    # What other processes ask for

    async def _drop(self, upload: str, work: Callable[[sqlite3.Connection], None]) -> None:
        """Not held any more once that is written; before it is, others can ask for it."""
        await self._writer.write(work)
        self._held.discard(upload)

    def _hold(self, upload: str) -> None:
        self._held.add(upload)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Ends when nothing is held. The version of the file tells cheaply that others wrote."""
        watch: sqlite3.Connection | None = None
        version = -1
        try:
            while True:
                # First, as most are held for less: a connection is opened only for the others.
                await asyncio.sleep(LOOK_EVERY)
                if not self._held:
                    break
                try:
                    if watch is None:
                        watch = await in_thread(self._file.open_reader)
                    (found,) = watch.execute("PRAGMA data_version").fetchone()
                    if found != version:
                        await self._let_go_of_asked()
                    version = found
                except (SluiceError, sqlite3.Error) as error:
                    log.warning("The ledger cannot be read; it is tried again: %s", error)
        finally:
            if watch is not None:
                watch.close()

    async def _let_go_of_asked(self) -> None:
        for upload, epoch in await self._readers.read(partial(_asked, self.process)):
            if self._let_go is not None:
                self._let_go(upload, epoch)


def _find(upload: str, db: sqlite3.Connection) -> UploadRecord | None:
    row = db.execute(f"{_SELECT} WHERE id = ?", (upload,)).fetchone()
    return None if row is None else from_row(row)


def _asked(process: str, db: sqlite3.Connection) -> list[tuple[str, int]]:
    text = "SELECT id, epoch FROM uploads WHERE holder = ? AND asked = epoch"
    return db.execute(text, (process,)).fetchall()
