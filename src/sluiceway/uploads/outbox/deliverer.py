"""Sends the events of an outbox, each at least once: in the background, a few at a time.

An event that is being sent is leased, so of several servers one sends it. One that is not taken is
tried again, ever more rarely, for a week. Knows no HTTP and no processes: the hook does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import cancel_task, end_task
from sluiceway.uploads.hooks.contract import Hook, HookCall, HookResponse
from sluiceway.uploads.ledger.contract import EventQueue, OutboxEvent
from sluiceway.uploads.totals import Totals

__all__ = ["Deliverer"]

log: logging.Logger = logging.getLogger("sluiceway")

AT_ONCE = 8  # events that a process sends at the same time
SEND_TIMEOUT = 10.0  # seconds for one try, from the name of the receiver to its response
# or from the start of a command to its end
LEASE = 20.0  # seconds for which one process has an event; a kill delays it by that
FIRST_WAIT = 1.0  # seconds after the first try in vain, doubled after each one
MOST_WAIT = 600.0  # seconds
MOST_ASKED = 3600.0  # seconds that the receiver may ask for (Retry-After)
GIVE_UP = 604800.0  # seconds after which an event is not tried any more
LOOK_EVERY = 2.0  # seconds between looks for events of other processes
RECOVER_EVERY = 10.0  # seconds between looks for what dead processes left


class Deliverer:
    """The task that sends, for one event loop."""

    def __init__(
        self,
        events: EventQueue,
        hook: Hook,
        recover: Callable[[], Awaitable[None]],
        totals: Totals,
        timeout: float = SEND_TIMEOUT,
    ) -> None:
        """`recover` makes events of what dead processes left; `timeout` is for one try."""
        self._events, self._hook, self._recover = events, hook, recover
        self._timeout, self._totals = timeout, totals
        self._lease = max(LEASE, timeout + LEASE - SEND_TIMEOUT)  # it outlives the try
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], OutboxEvent] = {}
        self._recovered = -RECOVER_EVERY  # by the monotonic clock
        self._is_failing = False  # the last try was in vain: one line in the log is enough

    def start(self) -> None:
        """Send from now on until the end. Does nothing when it has begun."""
        if self._task is None:
            # Not in the context of the request that came first.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def wake(self) -> None:
        """An event may be due."""
        self._wake.set()
        self.start()

    async def aclose(self, timeout: float) -> None:
        """Send what is due now, for at most `timeout` seconds. The rest stays in the ledger."""
        if self._task is None:
            return
        await end_task(self._task)
        self._task = None
        with suppress(TimeoutError, SluiceError):
            async with asyncio.timeout(timeout):
                await self._send_due()
                while self._sending:
                    await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.sleep(0)  # what has ended leaves the table
                    await self._send_due()
        await self._break_off()
        await self._hook.aclose()

    async def _run(self) -> None:
        while True:
            try:
                if time.monotonic() - self._recovered >= RECOVER_EVERY:
                    self._recovered = time.monotonic()
                    await self._recover()
                await self._send_due()
            except SluiceError as error:
                log.warning("The ledger's events cannot be read now: %s", error.for_log)
            # Jitter: the processes of a server start together.
            wait = LOOK_EVERY * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()

    async def _send_due(self) -> None:
        """Begin to send what is due, as many as may be on their way."""
        while (free := AT_ONCE - len(self._sending)) > 0:
            taken = await self._events.take(free, self._lease)
            for event in taken:
                task = asyncio.get_running_loop().create_task(self._deliver(event))
                self._sending[task] = event
                task.add_done_callback(self._ended)
            if not taken:
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("An event could not be sent: %s", error, exc_info=error)
        self._wake.set()

    async def _deliver(self, event: OutboxEvent) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._hook.call(HookCall(event.id, event.body))
        except TimeoutError:
            response = HookResponse("failed", why=f"no answer within {self._timeout:g} s")
        try:
            if response.outcome == "accepted":
                await self._events.drop([event])
                self._totals.events_sent += 1
                self._note_taken()
            else:
                await self._try_later(event, response)
        except SluiceError as error:  # its lease ends, and it is sent once more
            log.warning("The outcome of event %s is not kept: %s", event.id, error.for_log)

    async def _try_later(self, event: OutboxEvent, failed: HookResponse) -> None:
        if failed.is_final or time.time() - event.created > GIVE_UP:
            self._totals.events_given_up += 1
            log.error("Event %s of upload %s is given up: %s", event.id, event.upload, failed.why)
            await self._events.drop([event])
            return
        tries = event.tries + 1
        self._totals.events_failed += 1
        wait = min(MOST_WAIT, FIRST_WAIT * 2.0 ** min(event.tries, 20))
        wait = max(wait * random.uniform(0.5, 1.0), min(failed.wait, MOST_ASKED))  # noqa: S311  # no secret
        if not self._is_failing:
            self._is_failing = True
            log.warning("Event %s is tried again in %.1f s: %s", event.id, wait, failed.why)
        await self._events.postpone(event, wait, tries)
        asyncio.get_running_loop().call_later(wait, self._wake.set)

    def _note_taken(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("Events are taken again")

    async def _break_off(self) -> None:
        """What is on its way is due again: the next process sends it at once."""
        left = dict(self._sending)
        for task in left:
            cancel_task(task)
        if left:
            await asyncio.wait(left)
        for event in left.values():
            with suppress(SluiceError):
                await self._events.postpone(event, 0.0, event.tries)
