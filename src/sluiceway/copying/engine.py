"""The copy of many objects: a listing that runs ahead of a few workers by a bounded queue, and the counting over all.

One failed object stops no other. What is finished stands in the journal before it is counted. Knows only Origin and Goal.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

from sluiceway.copying.contract import RULES, CopyItem, CopySource, CopyTarget, by_rule
from sluiceway.copying.journal import Journal
from sluiceway.copying.key_filter import KeyFilter
from sluiceway.copying.name_forms import MOST_LATE, Forms, same_name, share_one_key
from sluiceway.copying.object_copier import ObjectCopier, Terms
from sluiceway.copying.report import Ended, OnOverall, Overall, Report, State
from sluiceway.copying.tally import MOST_FAILURES, Tally
from sluiceway.errors import SluiceError
from sluiceway.pipe.pump import close_stream

__all__ = ["MOST_FAILURES", "CopyEngine"]

AHEAD = 1000  # objects listed and not begun: the bar knows more than a page; about 1 MB at the longest keys
HOPELESS_IN_A_ROW = 20  # objects after all their tries, none between them that went well: the next thousand end likewise
TELL_EVERY = 0.1  # seconds between two looks while nothing ends


class CopyEngine:
    """One copy of many objects. Use once. `report` is right at any time, also after `run` was cancelled."""

    def __init__(
        self,
        origin: CopySource,
        goal: CopyTarget,
        terms: Terms,
        choice: KeyFilter = KeyFilter(),
        journal: Journal | None = None,
        jobs: int = 4,
        on_overall: OnOverall | None = None,
    ) -> None:
        self._origin, self._goal, self._terms, self._choice, self._journal = (
            origin,
            goal,
            terms,
            choice,
            journal,
        )
        self._jobs = jobs if origin.rereadable else 1
        self._on_overall = on_overall
        self._began = time.monotonic()
        self._tally, self._forms, self._late = Tally(), Forms(), list[CopyItem]()
        self._total_bytes, self._moving = 0, 0
        self._listed = False
        self._trouble: SluiceError | None = None  # of the listing
        self._told = 0.0
        self._hopeless = 0  # objects in a row that met an error which is none of their own

    @property
    def report(self) -> Report:
        tally = self._tally
        return Report(
            copied=tally.copied,
            skipped=tally.skipped,
            failed=tally.failed,
            left_out=tally.left_out,
            bytes=tally.bytes,
            seconds=time.monotonic() - self._began,
            failures=tuple(tally.failures),
            complete=self._listed and tally.done == tally.listed,
            dry_run=self._terms.dry_run,
            listed=tally.listed,
            excluded=tally.excluded,
        )

    async def run(self) -> Report:
        """Raises what the listing and the journal raise; whatever was begun then has come to its end or was taken back."""
        self._began = time.monotonic()
        try:
            look = not await self._terms.patience.of(self._goal.empty)
            single = ObjectCopier(
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
            await self._late_ones(single)
            if self._terms.folders is not None and not self._terms.dry_run:
                async for ended in self._terms.folders():
                    self._tally.listed += 1
                    self._count(ended)
        finally:
            if self._journal is not None:
                await self._journal.settle()
            self._tell(report=self.report)
        if self._trouble is not None:
            raise self._trouble
        self._tally.check()
        return self.report

    async def _side_by_side(self, single: ObjectCopier) -> None:
        queue: asyncio.Queue[CopyItem | None] = asyncio.Queue(AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fill(queue))
                for _ in range(self._jobs):
                    group.create_task(self._work(single, queue))
        except BaseExceptionGroup as errors:  # one tells enough: the journal's, most likely, and all the same in each worker
            raise _first(errors) from None

    async def _one_by_one(self, single: ObjectCopier) -> None:
        chosen = self._chosen()
        try:
            async for item in chosen:
                await self._one(single, item)
        finally:
            await close_stream(chosen)

    async def _late_ones(self, single: ObjectCopier) -> None:
        """Objects that look like another one of this run, now that those are there."""
        for item in self._late:
            if not await self._shares_a_key(item):
                await self._one(single, item)

    async def _shares_a_key(self, item: CopyItem) -> bool:
        """Whether the goal does not tell it from another object of this run; then it has failed."""
        if self._terms.dry_run or not await self._terms.patience.of(
            lambda: share_one_key(self._goal, item.key)
        ):
            return False
        error = same_name(item.key, self._goal.display_name)
        self._count(Ended(item.key, "failed", item.size, code=error.code, detail=error.detail))
        return True

    async def _fill(self, queue: asyncio.Queue[CopyItem | None]) -> None:
        chosen = self._chosen()
        try:
            async for item in chosen:
                await queue.put(item)
        finally:
            await close_stream(chosen)
        for _ in range(self._jobs):
            await queue.put(None)

    async def _chosen(self) -> AsyncIterator[CopyItem]:
        """Objects that are meant and not done. A listing that breaks off ends it; what it gave is still copied."""
        items = self._origin.items()
        try:
            async for item in items:
                self._tally.listed += 1
                # Before anything else is judged: what is not chosen may be of any kind.
                if not (self._choice.below(item.key) if item.folder else self._choice(item.key)):
                    self._count(
                        Ended(
                            item.key,
                            "left-out",
                            item.size,
                            code="excluded",
                            detail=RULES["excluded"],
                        )
                    )
                elif item.omitted is not None:
                    state: State = "left-out" if by_rule(item.omitted) else "failed"
                    self._count(
                        Ended(
                            item.key,
                            state,
                            item.size,
                            code=item.omitted.code,
                            detail=item.omitted.detail,
                        )
                    )
                elif self._journal is not None and self._journal.has(item):
                    self._count(Ended(item.key, "skipped", item.size))
                else:
                    self._total_bytes += item.size or 0
                    if self._forms.repeats(item.key):
                        if self._origin.rereadable and len(self._late) < MOST_LATE:
                            self._late.append(item)
                            continue
                        if await self._shares_a_key(item):
                            continue
                    yield item
            self._listed = True
        except SluiceError as error:
            self._trouble = error
        finally:
            await close_stream(items)

    async def _work(self, single: ObjectCopier, queue: asyncio.Queue[CopyItem | None]) -> None:
        while (item := await queue.get()) is not None:
            await self._one(single, item)

    async def _one(self, single: ObjectCopier, item: CopyItem) -> None:
        outcome = await single.copy(item)
        self._hopeless = self._hopeless + 1 if outcome.hopeless is not None else 0
        if outcome.receipt is not None and self._journal is not None and not self._terms.dry_run:
            await self._journal.done(outcome.item, outcome.receipt)
        if outcome.ended.state in ("skipped", "failed"):
            self._total_bytes -= item.size or 0
        else:
            self._total_bytes += (outcome.ended.size or 0) - (item.size or 0)
        self._count(outcome.ended)
        if outcome.hopeless is not None and self._hopeless >= HOPELESS_IN_A_ROW:
            raise _given_up(outcome.hopeless)

    def _count(self, ended: Ended) -> None:
        self._tally.count(ended)
        self._tell(ended=ended)

    def _moved(self, count: int) -> None:
        self._moving += count
        if time.monotonic() - self._told >= TELL_EVERY:
            self._tell()

    def _tell(
        self, note: str = "", ended: Ended | None = None, report: Report | None = None
    ) -> None:
        if self._on_overall is None:
            return
        self._told = time.monotonic()
        spent = self._told - self._began
        now = Overall(
            done=self._tally.done,
            total=self._tally.listed,
            failed=self._tally.failed,
            bytes=self._tally.bytes,
            moving=self._moving,
            total_bytes=self._total_bytes,
            listed=self._listed,
            rate=(self._tally.bytes + self._moving) / spent if spent > 0 else 0.0,
            note=note,
            ended=ended,
            report=report,
        )
        self._on_overall(now)


def _given_up(error: SluiceError) -> SluiceError:
    """The last of many failures in a row, for all that would follow: hours of trying would bring nothing else."""
    error.detail = f"{error.detail}; {HOPELESS_IN_A_ROW} objects in a row met the same, and the rest was not tried"
    error.args = (error.detail,)
    return error


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    while isinstance(errors.exceptions[0], BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors.exceptions[0]
