"""PUTs of whole files that are being received, by the id of the upload they would become if cut.

A client whose PUT was cut may ask where it goes on before the server has read what it sent, or has
noticed that the connection is dead. One that runs for a while is announced in the ledger, so that
the question may come to any process. The youngest has the key: what an older one brings is not
kept. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from sluiceway.errors import Locked, SluiceError, Superseded
from sluiceway.pipe.cancellation import end_task
from sluiceway.pipe.stages import CLIENT
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.claiming import has_let_go
from sluiceway.uploads.session import UploadSession

__all__ = ["RUNNING", "PlainPut", "PlainPuts", "RunningPut", "SeenKey"]

log: logging.Logger = logging.getLogger("sluiceway")

# Seconds in which a cut shows. A PUT that moves for longer, and whose client is there, is another
# client's: it goes on, and so does the question.
MOMENT = 2.0
# Seconds after which a PUT is written down that still runs: what a shorter one brought is soon sent
# again, and an upload of one request needs no ledger.
ANNOUNCE_AFTER = 1.0
# A question waits until each that began before is announced, and half a second more, before it says
# that nothing is there: so uploads of one request need not be announced sooner.
LOOK_AGAIN, LOOKS = 0.1, 15  # seconds
# Seconds; a killed process takes none of it back, and one that is not there any more is not kept.
ANNOUNCED_FOR = 30 * 24 * 3600.0
MOST_ELSEWHERE = 100  # PUTs of one key in other processes that a question waits for
RUNNING = "running"  # the dialect of what is written down of them, and its code


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key as it was before the first byte of a PUT was read.

    Args:
        created: When the key's upload began, which is older than the PUT; None for none.
        base: The version of its object; see `by_key.base_of`.
    """

    created: float | None
    base: str


class PlainPut:
    """One of them. Its handler says which session it has, and what it saw at its key."""

    __slots__ = (
        "_has_left",
        "announced",
        "began",
        "ended",
        "is_asked",
        "is_overtaken",
        "seen",
        "session",
    )

    def __init__(self, has_left: Callable[[], bool], began: float) -> None:
        """`began`: by the ledger's clock."""
        self.began: float = began
        self.session: UploadSession | None = None
        # No asyncio.Event: it holds a deque of 624 bytes before anybody waits.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_asked: bool = False  # by another process
        self.seen: SeenKey | None = None  # None where the ledger could not tell
        self.is_overtaken: bool = False  # a younger request of this process began on its key
        self.announced: str = ""  # its id in the ledger: a younger request elsewhere removes it
        self._has_left = has_left

    async def settle(self, patience: float, *, keeps: bool) -> None:
        """Wait until what it brought is kept, if it was cut. `keeps`: whether that can be.

        One that is silent, and waits for its client, is interrupted: that may be the client which
        asks. Raises Locked where it takes too long.
        """
        if self.is_overtaken:
            return
        before = self._received
        if await self._ends_within(MOMENT):
            return
        is_silent = before is not None and before == self._received
        if not self._has_left():
            if not (is_silent and keeps and self._waits_for_client):
                return
            if self.session is not None:
                self.session.stop(Superseded(""))
        if not await self._ends_within(patience):
            raise Locked("The PUT that was cut is still being kept; try again")

    @property
    def _received(self) -> int | None:
        return None if self.session is None else self.session.record.received

    @property
    def _waits_for_client(self) -> bool:
        """And nobody but the client decides about it: an app is not asked for a cut one again."""
        session = self.session
        return session is not None and session.app is None and session.stages.now == CLIENT

    async def _ends_within(self, seconds: float) -> bool:
        await asyncio.wait([self.ended], timeout=seconds)
        return self.ended.done()


class RunningPut:
    """`with plain_puts.running(…) as put`. A generator for it held 400 bytes of each slow PUT."""

    __slots__ = ("_put", "_puts", "_timer", "_upload")

    def __init__(self, puts: PlainPuts, upload: str, put: PlainPut) -> None:
        self._puts, self._upload, self._put = puts, upload, put
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> PlainPut:
        self._timer = self._puts.begin(self._upload, self._put)
        return self._put

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._puts.end(self._upload, self._put)


class PlainPuts:
    """Those under way in this process, and those that others announce."""

    def __init__(self, ledger: Ledger, patience: float, *, keeps: bool) -> None:
        """`patience`: seconds to wait for one whose client has left. `keeps`: whether the store
        keeps what a cut one brought."""
        self._ledger, self._patience, self._keeps = ledger, patience, keeps
        self._running: dict[str, list[PlainPut]] = {}
        self._announced: dict[str, PlainPut] = {}  # by their ids in the ledger
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.small: int = 0  # others under way here, too small to be kept

    def running(self, upload: str, has_left: Callable[[], bool]) -> RunningPut:
        """Until the end of its block, in which what was cut is kept. `has_left`: its client."""
        return RunningPut(self, upload, PlainPut(has_left, self._ledger.now()))

    def begin(self, upload: str, put: PlainPut) -> asyncio.TimerHandle | None:
        """For `RunningPut`. Returns what announces it."""
        self._running.setdefault(upload, []).append(put)
        if not self._keeps:
            return None
        loop = asyncio.get_running_loop()
        return loop.call_later(ANNOUNCE_AFTER, self._start_announcing, upload, put)

    def end(self, upload: str, put: PlainPut) -> None:
        """For `RunningPut`."""
        self._running[upload].remove(put)
        if not self._running[upload]:
            del self._running[upload]
        put.ended.set_result(None)
        if put.announced in self._announced:
            self.start(self._withdraw(put.announced))

    async def settle(self, upload: str) -> None:
        """Wait until what a cut PUT brought is kept, in whichever process. Raises Locked where that
        takes too long; StoreFailed, Unavailable."""
        puts = self._running.get(upload, ())
        here = [put.settle(self._patience, keeps=self._keeps) for put in puts]
        elsewhere = await self._announced_elsewhere(upload)
        there = [self._settle_elsewhere(record) for record in elsewhere]
        outcomes = await asyncio.gather(*here, *there, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def has_new_elsewhere(self, upload: str) -> bool:
        """Whether a PUT may have begun in another process that nobody knows of yet. Returns when
        one is announced, or when all are that had begun. Raises StoreFailed, Unavailable."""
        if not (self._keeps and await self._ledger.may_be_shared()):
            return False
        for _ in range(LOOKS):
            if any(record.holder for record in await self._announced_elsewhere(upload)):
                break
            await asyncio.sleep(LOOK_AGAIN)
        return True

    async def overtake(self, upload: str, by: PlainPut | None = None) -> bool:
        """A younger request begins: `by`, or one with a piece. Returns whether the ledger knows
        anything of the key; one read finds that out. Raises StoreFailed, Unavailable."""
        for put in self._running.get(upload, ()):
            if put is by:
                break  # behind it are those that came later
            put.is_overtaken = True
        is_known, after = False, upload[:-1]  # the id before that of the upload, or one of its own
        while True:
            ids = await self._ledger.ids(after, MOST_ELSEWHERE)
            ours = [each for each in ids if each == upload or each.startswith(f"{upload}.")]
            is_known = is_known or bool(ours)
            for name in ours:
                if name != upload and name not in self._announced:
                    await self._ledger.remove(name)
            if len(ours) < MOST_ELSEWHERE:
                return is_known
            after = ours[-1]

    async def is_youngest(self, put: PlainPut) -> bool:
        """Whether no younger PUT is known to have begun. Raises StoreFailed, Unavailable."""
        if put.is_overtaken:
            return False
        return not put.announced or await self._ledger.find(put.announced) is not None

    def interrupt(self, upload: str) -> bool:
        """Another process asks. Whether this is the id of a PUT that was announced."""
        put = self._announced.get(upload)
        if put is not None and not put.is_asked:
            put.is_asked = True
            self.start(self._answer(upload, put))
        return put is not None

    async def aclose(self) -> None:
        """Announce nothing any more: the PUTs have ended, or their time for that has."""
        for task in list(self._tasks):
            await end_task(task)
        for name in list(self._announced):
            await self._withdraw(name)

    # Announced here

    def _start_announcing(self, upload: str, put: PlainPut) -> None:
        self.start(self._announce(upload, put))

    async def _announce(self, upload: str, put: PlainPut) -> None:
        """A row that nobody goes on with: GONE, so that a sweep may forget it. Another process that
        removes it has overtaken the PUT. No task waits for the end of the PUT."""
        self._count += 1
        name = f"{upload}.{self._ledger.process}.{self._count}"
        self._announced[name] = put
        try:
            await self._ledger.create(_row(name, self._ledger.now()))
            await self._ledger.claim(name)
            put.announced = name
        except SluiceError as error:  # an upload of one request does not need the ledger
            log.debug("A PUT is not known to other processes: %s", error.for_log)
        if put.ended.done() or not put.announced:
            await self._withdraw(name)

    async def _withdraw(self, name: str) -> None:
        try:
            await self._ledger.remove(name)
        except SluiceError as error:  # a sweep removes it
            log.debug("A PUT that ended is still announced: %s", error.for_log)
        finally:
            self._announced.pop(name, None)

    async def _answer(self, name: str, put: PlainPut) -> None:
        """One that goes on is announced anew: whoever asked sees that its row is gone."""
        try:
            await put.settle(self._patience, keeps=True)
            if not put.ended.done() and await self.is_youngest(put):
                await self._announce(name.partition(".")[0], put)
        except SluiceError:  # Locked, or the ledger's: the question ends alike
            return
        finally:
            put.is_asked = False
        await self._withdraw(name)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """In the background, and not beyond `aclose`."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Announced elsewhere

    async def _announced_elsewhere(self, upload: str) -> list[UploadRecord]:
        if not self._keeps:
            return []
        ids = await self._ledger.ids(f"{upload}.", MOST_ELSEWHERE)
        names = [name for name in ids if name.startswith(f"{upload}.")]
        records = [await self._ledger.find(name) for name in names if name not in self._announced]
        return [record for record in records if record is not None and record.dialect == RUNNING]

    async def _settle_elsewhere(self, record: UploadRecord) -> None:
        if not record.holder:
            return  # it is just being written down
        claimed = await self._ledger.claim(record.id)
        if claimed is None:
            return
        if claimed.holder == self._ledger.process:  # its process is dead
            await self._ledger.remove(record.id)
            return
        await self._ledger.ask(claimed)
        if not await has_let_go(self._ledger, claimed, MOMENT + self._patience):
            raise Locked("The PUT that was cut is still being kept; try again")


def _row(name: str, now: float) -> UploadRecord:
    return UploadRecord(
        name,
        RUNNING,
        UploadRequest(),
        now,
        state=LedgerState.GONE,
        expires=now + ANNOUNCED_FOR,
        code=RUNNING,
    )
