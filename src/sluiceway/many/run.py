"""The copy of many objects: a listing that runs ahead of a few workers by a bounded queue, and the counting over all.

One failed object stops no other. What is finished stands in the journal before it is counted. Knows only Origin and Goal.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

from sluiceway.errors import SluiceError
from sluiceway.many.choice import Choice
from sluiceway.many.journal import Journal
from sluiceway.many.report import Ended, OnOverall, Overall, Report
from sluiceway.many.sides import Goal, Item, Origin
from sluiceway.many.single import Single, Terms
from sluiceway.pipe.pump import close_stream

__all__ = ["MOST_FAILURES", "Run"]

AHEAD = 1000  # objects listed and not begun: the bar knows more than a page; about 1 MB at the longest keys
MOST_FAILURES = 1000  # held with their reasons; further ones are counted
SILENT_IN_A_ROW = 20  # objects after all their tries, none between them that went well: nobody is there any more
TELL_EVERY = 0.1  # seconds between two looks while nothing ends


class Run:
    """One copy of many objects. Use once. `report` is right at any time, also after `run` was cancelled."""

    def __init__(
        self,
        origin: Origin,
        goal: Goal,
        terms: Terms,
        choice: Choice = Choice(),
        journal: Journal | None = None,
        jobs: int = 4,
        on_overall: OnOverall | None = None,
    ) -> None:
        self._origin, self._goal, self._terms, self._choice, self._journal = origin, goal, terms, choice, journal
        self._jobs = jobs if origin.rereadable else 1
        self._on_overall = on_overall
        self._began = time.monotonic()
        self._copied, self._skipped, self._failed, self._left_out, self._bytes = 0, 0, 0, 0, 0
        self._failures: list[Ended] = []
        self._total, self._total_bytes, self._moving = 0, 0, 0
        self._listed = False
        self._trouble: SluiceError | None = None  # of the listing
        self._told = 0.0
        self._silent = 0  # objects in a row for which one side did not answer at all

    @property
    def report(self) -> Report:
        return Report(
            copied=self._copied,
            skipped=self._skipped,
            failed=self._failed,
            left_out=self._left_out,
            bytes=self._bytes,
            seconds=time.monotonic() - self._began,
            failures=tuple(self._failures),
            complete=self._listed and self._done == self._total,
            dry_run=self._terms.dry_run,
        )

    async def run(self) -> Report:
        """Raises what the listing and the journal raise; whatever was begun then has come to its end or was taken back."""
        self._began = time.monotonic()
        try:
            look = not await self._terms.patience.of(self._goal.empty)
            single = Single(
                self._origin,
                self._goal,
                self._terms,
                secrets.token_hex(16) if self._journal is None else self._journal.id,
                look,
                self._moved,
                lambda note: self._tell(note=note),
            )
            if self._origin.rereadable:
                await self._side_by_side(single)
            else:
                await self._one_by_one(single)
        finally:
            if self._journal is not None:
                await self._journal.settle()
            self._tell(report=self.report)
        if self._trouble is not None:
            raise self._trouble
        return self.report

    async def _side_by_side(self, single: Single) -> None:
        queue: asyncio.Queue[Item | None] = asyncio.Queue(AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fill(queue))
                for _ in range(self._jobs):
                    group.create_task(self._work(single, queue))
        except BaseExceptionGroup as errors:  # one tells enough: the journal's, most likely, and all the same in each worker
            raise _first(errors) from None

    async def _one_by_one(self, single: Single) -> None:
        chosen = self._chosen()
        try:
            async for item in chosen:
                await self._one(single, item)
        finally:
            await close_stream(chosen)

    async def _fill(self, queue: asyncio.Queue[Item | None]) -> None:
        chosen = self._chosen()
        try:
            async for item in chosen:
                await queue.put(item)
        finally:
            await close_stream(chosen)
        for _ in range(self._jobs):
            await queue.put(None)

    async def _chosen(self) -> AsyncIterator[Item]:
        """Objects that are meant and not done. A listing that breaks off ends it; what it gave is still copied."""
        items = self._origin.items()
        try:
            async for item in items:
                if not self._choice(item.key):
                    continue
                self._total += 1
                if item.left_out is not None:
                    self._count(Ended(item.key, "left-out", item.size, detail=item.left_out))
                elif self._journal is not None and self._journal.has(item):
                    self._count(Ended(item.key, "skipped", item.size))
                else:
                    self._total_bytes += item.size or 0
                    yield item
            self._listed = True
        except SluiceError as error:
            self._trouble = error
        finally:
            await close_stream(items)

    async def _work(self, single: Single, queue: asyncio.Queue[Item | None]) -> None:
        while (item := await queue.get()) is not None:
            await self._one(single, item)

    async def _one(self, single: Single, item: Item) -> None:
        outcome = await single.copy(item)
        self._silent = self._silent + 1 if outcome.silence is not None else 0
        if outcome.receipt is not None and self._journal is not None and not self._terms.dry_run:
            await self._journal.done(outcome.item, outcome.receipt)
        if outcome.ended.state in ("skipped", "failed"):
            self._total_bytes -= item.size or 0
        else:
            self._total_bytes += (outcome.ended.size or 0) - (item.size or 0)
        self._count(outcome.ended)
        if outcome.silence is not None and self._silent >= SILENT_IN_A_ROW:
            raise _given_up(outcome.silence)

    def _count(self, ended: Ended) -> None:
        if ended.state == "failed":
            self._failed += 1
            if len(self._failures) < MOST_FAILURES:
                self._failures.append(ended)
        elif ended.state == "left-out":
            self._left_out += 1
        elif ended.state == "skipped":
            self._skipped += 1
        else:
            self._copied += 1
            self._bytes += ended.size or 0
        self._tell(ended=ended)

    def _moved(self, count: int) -> None:
        self._moving += count
        if time.monotonic() - self._told >= TELL_EVERY:
            self._tell()

    def _tell(self, note: str = "", ended: Ended | None = None, report: Report | None = None) -> None:
        if self._on_overall is None:
            return
        self._told = time.monotonic()
        spent = self._told - self._began
        now = Overall(
            done=self._done,
            total=self._total,
            failed=self._failed,
            bytes=self._bytes,
            moving=self._moving,
            total_bytes=self._total_bytes,
            listed=self._listed,
            rate=(self._bytes + self._moving) / spent if spent > 0 else 0.0,
            note=note,
            ended=ended,
            report=report,
        )
        self._on_overall(now)

    @property
    def _done(self) -> int:
        return self._copied + self._skipped + self._failed + self._left_out


def _given_up(error: SluiceError) -> SluiceError:
    """The last of many failures in a row, for all that would follow: hours of trying would bring nothing else."""
    error.detail = f"{error.detail}; {SILENT_IN_A_ROW} objects in a row met the same, and the rest was not tried"
    error.args = (error.detail,)
    return error


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    while isinstance(errors.exceptions[0], BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors.exceptions[0]
