"""One object from an origin to a goal: looked for, sent, proven, and tried again for as long as that can help.

An answer that got lost makes neither a duplicate nor a failure: the next try looks at what is there first. Counts nothing
over all objects and keeps no journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading
from sluiceway.copying.journal import once_key
from sluiceway.copying.report import Ended, State
from sluiceway.copying.retry_policy import RetryPolicy, hopeless
from sluiceway.copying.sha256_of import counted
from sluiceway.errors import (
    DigestMismatch,
    Exists,
    PreconditionFailed,
    SluiceError,
    SourceChanged,
    StoreFailed,
)
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.wrapped import CountedSource, Throttle, ThrottledSource

__all__ = ["ObjectCopier", "Outcome", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How objects are copied."""

    patience: RetryPolicy
    force: bool = False
    dry_run: bool = False
    throttle: Throttle | None = None
    folders: Callable[[], AsyncIterator[Ended]] | None = (
        None  # likewise: the folders, after all that is in them; failures
    )
    dress: Callable[[Reading], Reading] = lambda reading: (
        reading
    )  # with --preserve: what an object has beside bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an object: for people, and for the journal, which only takes what has a receipt."""

    ended: Ended
    item: CopyItem  # in the version that was read
    receipt: Receipt | None = None
    hopeless: SluiceError | None = None  # why it failed, where the next objects will meet the same


class _Tries:
    """How far the copy of one object came."""

    def __init__(self) -> None:
        self.count = 0
        self.opened = False  # bytes of the source may be gone
        self.offered = False  # the goal may have some


class ObjectCopier:
    """`run` is the random name of the job, `look` False where surely nothing is there, `moved` hears of bytes under way."""

    def __init__(
        self,
        origin: CopySource,
        goal: CopyTarget,
        terms: Terms,
        run: str,
        look: bool,
        moved: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        self._origin, self._goal, self._terms, self._run, self._look = (
            origin,
            goal,
            terms,
            run,
            look,
        )
        self._moved, self._note = moved, note

    async def copy(self, item: CopyItem) -> Outcome:
        """Raises nothing of one object's own: a failure is an outcome."""
        tries, wanted = _Tries(), item
        wrong: DigestMismatch | None = None
        while True:
            tries.count += 1
            try:
                return await self._once(wanted, tries)
            except SourceChanged as error:
                if not wanted.version or not self._may_repeat(tries):
                    return _failed(item, tries, error)
                # once more, whichever version is there now; what changes again while it is read is reported
                wanted, wait = dataclasses.replace(item, version="", size=None), 0.0
            except SluiceError as error:
                found = (
                    self._terms.patience.wait(error, tries.count)
                    if self._may_repeat(tries)
                    else None
                )
                if found is None:
                    return _failed(
                        item,
                        tries,
                        wrong if wrong is not None and isinstance(error, Exists) else error,
                    )
                wrong, wait = (error if isinstance(error, DigestMismatch) else wrong), found
                self._note(f"{item.key}: {error.detail}; trying again in {wait:.1f} s")
            except (
                Exception
            ) as error:  # a library's own: the trouble of one object is not the others'
                return _failed(item, tries, StoreFailed(f"{type(error).__name__}: {error}"))
            await asyncio.sleep(wait)

    def _may_repeat(self, tries: _Tries) -> bool:
        return (self._origin.rereadable or not tries.opened) and (
            self._goal.repeats or not tries.offered
        )

    async def _once(self, item: CopyItem, tries: _Tries) -> Outcome:
        terms, goal = self._terms, self._goal
        found = await goal.find(item.key) if self._look or tries.count > 1 else None
        if found is not None:
            if (sha256 := await self._same(item, *found, tries)) is not None:
                return self._there(item, found[0], sha256, tries)
            if not terms.force:
                raise _another(item.key)
        if terms.dry_run:
            return Outcome(
                Ended(item.key, "would-replace" if found else "would-copy", item.size), item
            )
        async with self._opened(item, tries) as reading:
            tries.offered = True
            try:
                receipt = await goal.put(
                    item.key, terms.dress(reading), once_key(self._run, item), terms.force
                )
            except (Exists, PreconditionFailed) as error:
                return await self._taken(item, error, tries)
            if reading.metadata.sha256 not in (None, receipt.sha256):
                raise DigestMismatch(
                    f"{item.key} arrived with another sha-256 than its origin told"
                )
            return _outcome("copied", reading.item, receipt, tries)

    async def _taken(self, item: CopyItem, error: SluiceError, tries: _Tries) -> Outcome:
        """Somebody has the key; perhaps we, by a try whose answer got lost."""
        found = await self._goal.find(item.key)
        if found is None:
            raise error
        if not self._origin.rereadable or (sha256 := await self._same(item, *found, tries)) is None:
            raise _another(item.key) from error
        return self._there(item, found[0], sha256, tries)

    def _there(self, item: CopyItem, there: CopyItem, sha256: str, tries: _Tries) -> Outcome:
        """The bytes are over there; by us, where this is not the first try."""
        receipt = Receipt(
            there.size or 0,
            sha256,
            f"{self._goal.display_name.rstrip('/')}/{item.key}",
            source=item.key,
        )
        return _outcome(
            "copied" if tries.count > 1 and tries.offered else "skipped", item, receipt, tries
        )

    async def _same(
        self, item: CopyItem, there: CopyItem, told: str | None, tries: _Tries
    ) -> str | None:
        """The sha-256 of both where they are the same bytes, else None. Reads what nobody tells a digest of."""
        if there.size is None or (item.size is not None and item.size != there.size):
            return None
        if not self._origin.rereadable and self._terms.force:
            return None  # it flows past once: reading it here would leave nothing to send
        async with self._opened(item, tries) as reading:
            if reading.source.length not in (None, there.size):
                return None
            if told is None and (told := await self._goal.sha256(item.key)) is None:
                return None
            here = reading.metadata.sha256 or await counted(reading.source)
        return here if here == told else None

    @asynccontextmanager
    async def _opened(self, item: CopyItem, tries: _Tries) -> AsyncIterator[Reading]:
        async with self._origin.open(item) as reading:
            tries.opened = True
            source, throttle = reading.source, self._terms.throttle
            moving = CountedSource(
                source if throttle is None else ThrottledSource(source, throttle), self._moved
            )
            try:
                yield dataclasses.replace(reading, source=moving)
            finally:
                moving.take_back()


def _another(key: str) -> Exists:
    return Exists(
        f"Something else is there already under {key}, or nobody can tell what; it was not touched"
    )


def _outcome(state: State, item: CopyItem, receipt: Receipt, tries: _Tries) -> Outcome:
    ended = Ended(item.key, state, receipt.size, receipt.sha256, receipt.location, tries.count)
    return Outcome(ended, item, receipt)


def _failed(item: CopyItem, tries: _Tries, error: SluiceError) -> Outcome:
    ended = Ended(
        item.key, "failed", item.size, attempts=tries.count, code=error.code, detail=error.detail
    )
    return Outcome(ended, item, hopeless=error if hopeless(error) else None)
