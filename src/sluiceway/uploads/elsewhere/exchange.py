"""Uploads of other servers, as far as somebody here watches them; and ours, for watchers there.

Who watches an upload that is not here asks all servers, again and again; the one that has it says
how far it is, while it is asked. So an upload that nobody watches costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.uploads.access.grant import Grant
from sluiceway.uploads.elsewhere.channel import Channel, Word
from sluiceway.uploads.elsewhere.running import RunningElsewhere
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.states import State

__all__ = ["ElsewhereTable", "ProgressExchange"]

log: logging.Logger = logging.getLogger("sluiceway")

TICK = 0.2  # seconds between two words about one upload: five steps a second
ASK_EVERY = 1.0  # seconds
ASKED_FOR = 3.0  # seconds that one question is answered
SAY_AGAIN = 1.0  # seconds after which a server repeats what has not changed
SILENT = 4.0  # seconds without a word after which a server is taken for dead
FIRST_WORD = 0.4  # seconds that a request waits for the first word about an upload
MOST_ASKED = 4096  # uploads that others may ask for at once
MOST_WANTED = 1024  # uploads of others that are watched here at once
STATES = {state.word: state for state in State}


@dataclass(slots=True)
class _Watched:
    """An upload of another server that somebody here watches."""

    record: ProgressRecord
    looked_at: float
    asked_at: float = 0.0
    heard_at: float = 0.0  # 0: not yet
    server: str = ""
    first_word: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Asked:
    """An upload that others ask for."""

    until: float
    said: Word | None = None
    said_at: float = 0.0


class ProgressExchange:
    """One for each process. `start` in its event loop."""

    def __init__(
        self, channel: Channel, name: str, table: ProgressTable, cancel: Callable[[str], bool]
    ) -> None:
        """`name` is this process's, `cancel` ends an upload of this server."""
        self._channel, self._name, self._table, self._cancel = channel, name, table, cancel
        self.running: RunningElsewhere = RunningElsewhere(name, table, channel.say)
        self._wanted: dict[str, _Watched] = {}
        self._asked: dict[str, _Asked] = {}
        self._to_say: list[Word] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Does nothing when it has begun."""
        if self._task is None or self._task.done():
            self._channel.start(self._hear)
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Listen and say no more."""
        if self._task is not None:
            await end_task(self._task)
            self._task = None
        await self._channel.aclose()

    def find(self, upload: str) -> ProgressRecord | None:
        """What another server said of an upload; None before it did. From now on it is asked."""
        now = time.monotonic()
        wanted = self._wanted.get(upload)
        if wanted is not None and wanted.heard_at:
            self.forget_if_silent(wanted.record)
            wanted = self._wanted.get(upload)
        if wanted is None:
            if len(self._wanted) >= MOST_WANTED:
                return None
            record = ProgressRecord()
            record.index = -1  # in no table
            record.begin(upload, None)
            wanted = self._wanted[upload] = _Watched(record, now)
            self._wake.set()
        wanted.looked_at = now
        return wanted.record if wanted.heard_at else None

    async def ask(self, upload: str) -> ProgressRecord | None:
        """As `find`, and waits a moment for the first word."""
        if (record := self.find(upload)) is None and upload in self._wanted:
            try:
                async with asyncio.timeout(FIRST_WORD):
                    await self._wanted[upload].first_word.wait()
            except TimeoutError:
                return None
            record = self.find(upload)
        return record

    async def cancel(self, upload: str, grant: Grant) -> bool:
        """Ask the server that has an upload to end it. False when none has, or it is too late."""
        record = await self.ask(upload)
        if record is None or record.state is not State.RECEIVING:
            return False
        if not grant.owns_mark(record.owner):
            return False
        await self._channel.say([{"from": self._name, "cancel": upload}])
        return True

    def forget_if_silent(self, record: ProgressRecord) -> None:
        """Its server has said nothing for too long: the watcher waits for another one."""
        wanted = self._wanted.get(record.id)
        if wanted is None or wanted.record is not record:
            record.forget_name()
        elif record.under_way and time.monotonic() - wanted.heard_at > SILENT:
            record.forget_name()
            del self._wanted[record.id]

    async def _run(self) -> None:
        is_lost = False
        while True:
            try:
                async with asyncio.timeout(TICK if self._wanted or self._asked else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            words = self._due(time.monotonic())
            try:
                await self._channel.say(words)
                is_lost = False
            except SluiceError as error:
                if not is_lost:
                    log.warning("other servers cannot be reached: %s", error)
                is_lost = True
            await asyncio.sleep(TICK / 4)  # what is asked at the same time is one notification

    def _due(self, now: float) -> list[Word]:
        """What is to be said now."""
        words, self._to_say = self._to_say, []
        for upload, wanted in list(self._wanted.items()):
            if now - wanted.looked_at > ASKED_FOR and not wanted.record.watched:
                # A watcher may still be there, where this process stood still for so long.
                wanted.record.forget_name()
                del self._wanted[upload]
            elif now - wanted.asked_at >= ASK_EVERY:
                wanted.asked_at = now
                words.append({"from": self._name, "ask": upload})
        for upload, asked in list(self._asked.items()):
            if now > asked.until:
                del self._asked[upload]
            elif (word := self._word_of(upload, asked, now)) is not None:
                words.append(word)
        return words

    def _word_of(self, upload: str, asked: _Asked, now: float) -> Word | None:
        record = self._table.find(upload) if self._table.has_own(upload) else None
        if record is None:
            return None
        record.watch()
        said = record.snapshot()
        if said == asked.said and now - asked.said_at < SAY_AGAIN:
            return None
        asked.said, asked.said_at = said, now
        return {"from": self._name, "say": said, "owner": record.owner}

    def _hear(self, word: Word) -> None:
        match word:
            case {"from": self._name}:
                return
            case {"ask": str(upload)}:
                self._hear_question(upload)
            case {"cancel": str(upload)}:
                self._cancel(upload)
            case {"list": int(most)}:
                self._to_say += self.running.answer(most)
                self._wake.set()
            case {"from": str(server), **rest} if "runs" in rest or "listed" in rest:
                self.running.hear(server, rest)
            case {"from": str(server), "say": {"id": str(upload), **said}, "owner": int(owner)}:
                if upload in self._wanted:
                    try:
                        self._take(self._wanted[upload], server, said, owner)
                    except (KeyError, TypeError):
                        log.debug("a server of another version says %r", said)

    def _hear_question(self, upload: str) -> None:
        until = time.monotonic() + ASKED_FOR
        if (asked := self._asked.get(upload)) is not None:
            asked.until = until
        elif len(self._asked) < MOST_ASKED:
            self._asked[upload] = _Asked(until)
            self._wake.set()

    def _take(self, wanted: _Watched, server: str, said: Mapping[Any, Any], owner: int) -> None:
        now, record = time.monotonic(), wanted.record
        state = STATES.get(said.get("state", ""))
        if state is None:
            return
        # The last word of a server that the upload has left may come after the first of the next.
        is_old = server != wanted.server and said["kept"] < record.kept
        if is_old and now - wanted.heard_at < SAY_AGAIN:
            return
        wanted.server, wanted.heard_at = server, now
        record.received, record.forwarded = said["received"], said["forwarded"]
        record.kept, record.length, record.owner = said["kept"], said["length"], owner
        record.by_kernel = said["kept_by"] == "kernel"
        record.code, record.state = said["code"] or "", state
        wanted.first_word.set()


class ElsewhereTable:
    """The uploads of this server, and those of others. See `WatchedTable`."""

    def __init__(self, table: ProgressTable, exchange: ProgressExchange) -> None:
        self._table, self._exchange = table, exchange

    def find(self, upload: str) -> ProgressRecord | None:
        """An upload that goes on elsewhere hides its end here."""
        record = self._table.find(upload)
        if record is not None and (record.under_way or self._table.has_own(upload)):
            return record
        return self._exchange.find(upload) or record

    def end_if_orphan(self, record: ProgressRecord) -> None:
        if record.index < 0:
            self._exchange.forget_if_silent(record)
        else:
            self._table.end_if_orphan(record)

    def is_here(self, record: ProgressRecord) -> bool:
        return self._table.is_here(record)
