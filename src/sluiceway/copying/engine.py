"""Copies many objects: a listing that runs ahead of a few workers, by a bounded queue, and counts.

The failure of one object stops no other. A finished object stands in the journal before it is
counted. Knows only CopySource and CopyTarget.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial

from sluiceway.copying.contract import RULES, SMALL, CopyItem, CopySource, CopyTarget, by_rule
from sluiceway.copying.filters import KeyFilter
from sluiceway.copying.journals.journal import Journal
from sluiceway.copying.name_forms import MOST_LATE, NameForms, same_name, share_one_key
from sluiceway.copying.object_copier import Copier, CopyRules, MakeCopier, ObjectCopier
from sluiceway.copying.report import ObjectResult, ObjectState, OnOverall, Overall, Report, Tally
from sluiceway.errors import SluiceError
from sluiceway.pipe.pump import close_stream

__all__ = ["LARGE_AT_ONCE", "CopyEngine"]

# Objects listed and not begun. More than a page of a listing; 1 MB at the longest keys.
AHEAD = 1000
# Objects in a row that failed for a reason of their side, each after all its attempts. The next
# thousand would end likewise.
MOST_SIDE_FAILURES = 20
LARGE_AT_ONCE = 4  # objects under way by default
# Objects under way by default where all are small: one waits for its server or disk while others
# work. Each holds at most `SMALL` bytes, and a connection on either side. Each one that ends well
# brings one more, so a side that fails is asked by few.
SMALL_AT_ONCE = 32
PROGRESS_EVERY = 0.1  # seconds between two reports while no object ends


class CopyEngine:
    """One copy of many objects. Use once. `report` is right at any time, also when cancelled."""

    def __init__(
        self,
        source: CopySource,
        target: CopyTarget,
        rules: CopyRules,
        key_filter: KeyFilter = KeyFilter(),
        journal: Journal | None = None,
        jobs: int | None = None,
        on_overall: OnOverall | None = None,
        make_copier: MakeCopier | None = None,
    ) -> None:
        """`jobs`: objects under way; None takes few large ones, and more small ones.

        `make_copier`: what copies each object; None copies here.
        """
        self._source, self._target, self._rules = source, target, rules
        self._key_filter, self._journal, self._on_overall = key_filter, journal, on_overall
        self._make_copier = make_copier or partial(ObjectCopier, source, target, rules)
        self._workers, self._most_workers = jobs or LARGE_AT_ONCE, jobs or SMALL_AT_ONCE
        self._large = asyncio.Semaphore(jobs or LARGE_AT_ONCE)
        self._began = time.monotonic()
        self._tally, self._forms, self._late = Tally(), NameForms(), list[CopyItem]()
        self._total_bytes, self._moving = 0, 0
        self._listed = False
        self._listing_error: SluiceError | None = None
        self._reported_at = 0.0
        self._side_failures = 0  # in a row

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
            dry_run=self._rules.dry_run,
            listed=tally.listed,
            excluded=tally.excluded,
        )

    async def run(self) -> Report:
        """Raises what the listing and the journal raise, after every begun object has ended."""
        self._began = time.monotonic()
        try:
            empty = await self._rules.retry_policy.run(self._target.empty, met=False)
            copier = self._make_copier(
                secrets.token_hex(16) if self._journal is None else self._journal.id,
                not empty,
                self._moved,
                lambda note: self._progress(note=note),
            )
            if self._source.rereadable:
                await self._copy_in_parallel(copier)
            else:
                await self._copy_in_order(copier)
            await self._copy_late(copier)
            if self._rules.copy_folders is not None and not self._rules.dry_run:
                async for failure in self._rules.copy_folders():
                    self._tally.listed += 1
                    self._count(failure)
        finally:
            if self._journal is not None:
                await self._journal.settle()
            self._progress(report=self.report)
        if self._listing_error is not None:
            raise self._listing_error
        self._tally.check()
        return self.report

    async def _copy_in_parallel(self, copier: Copier) -> None:
        queue: asyncio.Queue[CopyItem | None] = asyncio.Queue(AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fill(queue))
                for _ in range(self._workers):
                    group.create_task(self._work(group, copier, queue))
        except BaseExceptionGroup as errors:
            # One is enough: most likely the journal's, and the same in each worker.
            raise _first(errors) from None

    async def _copy_in_order(self, copier: Copier) -> None:
        selected = self._selected()
        try:
            async for item in selected:
                await self._copy(copier, item)
        finally:
            await close_stream(selected)

    async def _copy_late(self, copier: Copier) -> None:
        """Objects whose names look like another one of this run, now that those are stored."""
        for item in self._late:
            if not await self._shares_a_key(item):
                await self._copy(copier, item)

    async def _shares_a_key(self, item: CopyItem) -> bool:
        """Whether the target keeps it and another object under one key; then it has failed."""
        if self._rules.dry_run or not await self._rules.retry_policy.run(
            lambda: share_one_key(self._target, item.key)
        ):
            return False
        error = same_name(item.key, self._target.display_name)
        self._count(
            ObjectResult(item.key, "failed", item.size, code=error.code, detail=error.detail)
        )
        return True

    async def _fill(self, queue: asyncio.Queue[CopyItem | None]) -> None:
        selected = self._selected()
        try:
            async for item in selected:
                await queue.put(item)
        finally:
            await close_stream(selected)
        await queue.put(None)

    async def _selected(self) -> AsyncIterator[CopyItem]:
        """Objects to copy. A listing that breaks off ends them; what it gave is still copied."""
        items = self._source.items()
        try:
            async for item in items:
                self._tally.listed += 1
                if (result := self._result_without_copy(item)) is not None:
                    self._count(result)
                    continue
                self._total_bytes += item.size or 0
                if self._forms.repeats(item.key):
                    if self._source.rereadable and len(self._late) < MOST_LATE:
                        self._late.append(item)
                        continue
                    if await self._shares_a_key(item):
                        continue
                yield item
            self._listed = True
        except SluiceError as error:
            self._listing_error = error
        finally:
            await close_stream(items)

    def _result_without_copy(self, item: CopyItem) -> ObjectResult | None:
        """For an item that is not to be copied."""
        # The filter first: an item that it does not select may be of any kind.
        selects = self._key_filter.below if item.folder else self._key_filter
        if not selects(item.key):
            return ObjectResult(
                item.key, "left-out", item.size, code="excluded", detail=RULES["excluded"]
            )
        if (omitted := item.omitted) is not None:
            state: ObjectState = "left-out" if by_rule(omitted) else "failed"
            return ObjectResult(
                item.key, state, item.size, code=omitted.code, detail=omitted.detail
            )
        if self._journal is not None and self._journal.has(item):
            return ObjectResult(item.key, "skipped", item.size)
        return None

    async def _work(
        self,
        group: asyncio.TaskGroup,
        copier: Copier,
        queue: asyncio.Queue[CopyItem | None],
    ) -> None:
        while (item := await queue.get()) is not None:
            if item.size is None or item.size > SMALL:
                async with self._large:
                    await self._copy(copier, item)
                continue
            await self._copy(copier, item)
            if not self._side_failures and self._workers < self._most_workers:
                self._workers += 1
                group.create_task(self._work(group, copier, queue))
        queue.put_nowait(None)  # for the next one

    async def _copy(self, copier: Copier, item: CopyItem) -> None:
        copied = await copier.copy(item)
        self._side_failures = self._side_failures + 1 if copied.side_failure is not None else 0
        if copied.receipt is not None and self._journal is not None and not self._rules.dry_run:
            try:
                await self._journal.done(copied.item, copied.receipt)
            except asyncio.CancelledError:
                self._count(copied.result)  # its row is on its way, and `run` waits for it
                raise
        if copied.result.state in ("skipped", "failed"):
            self._total_bytes -= item.size or 0
        else:
            self._total_bytes += (copied.result.size or 0) - (item.size or 0)
        self._count(copied.result)
        if copied.side_failure is not None and self._side_failures >= MOST_SIDE_FAILURES:
            raise _given_up(copied.side_failure)

    def _count(self, result: ObjectResult) -> None:
        self._tally.count(result)
        self._progress(result=result)

    def _moved(self, count: int) -> None:
        self._moving += count
        if time.monotonic() - self._reported_at >= PROGRESS_EVERY:
            self._progress()

    def _progress(
        self, note: str = "", result: ObjectResult | None = None, report: Report | None = None
    ) -> None:
        if self._on_overall is None:
            return
        self._reported_at = time.monotonic()
        spent = self._reported_at - self._began
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
            result=result,
            report=report,
        )
        self._on_overall(now)


def _given_up(error: SluiceError) -> SluiceError:
    """The last of many failures in a row, which ends the copy: hours of retries would not help."""
    error.detail = (
        f"{error.detail}; {MOST_SIDE_FAILURES} objects in a row failed like this, and the rest was "
        "not tried"
    )
    error.args = (error.detail,)
    return error


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    while isinstance(errors.exceptions[0], BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors.exceptions[0]
