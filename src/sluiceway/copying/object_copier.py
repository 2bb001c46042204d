"""Copies one object from a source to a target: finds, sends, verifies, and retries while it helps.

A lost response causes neither a duplicate nor a failure: the next attempt first looks at the
target. Counts nothing over several objects and keeps no journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from sluiceway.client.retry import ANSWERED, RetryPolicy, connection_broke, is_transient, reached
from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading, is_large
from sluiceway.copying.endpoints.verified_put import digest_of_source
from sluiceway.copying.journals.journal import once_key
from sluiceway.copying.report import ObjectResult, ObjectState
from sluiceway.errors import (
    DigestMismatch,
    Exists,
    NoSpace,
    PeerUnreachable,
    PreconditionFailed,
    SluiceError,
    SourceChanged,
    SourceFailed,
    StoreFailed,
    Unauthorized,
    Unavailable,
)
from sluiceway.pipe.hashes import DEFAULT_CHOICE, SHA256, DigestChoice, is_available
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.wrapped import CountedSource, Throttle, ThrottledSource
from sluiceway.stores.contract import Pairs

__all__ = ["Copier", "CopyResult", "CopyRules", "MakeCopier", "ObjectCopier"]


@dataclass(frozen=True, slots=True)
class CopyRules:
    """How objects are copied."""

    retry_policy: RetryPolicy
    force: bool = False
    dry_run: bool = False
    throttle: Throttle | None = None
    digests: DigestChoice = DEFAULT_CHOICE
    # With --preserve: adds the attributes of an object to what is copied, and copies the folders
    # after everything in them; yields failures.
    with_attributes: Callable[[Reading], Reading] = lambda reading: reading
    copy_folders: Callable[[], AsyncIterator[ObjectResult]] | None = None
    one_piece: str = ""  # why objects go in one piece although parts were asked for


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What became of an object, for people and for the journal (which needs a receipt)."""

    result: ObjectResult
    item: CopyItem  # in the version that was read
    receipt: Receipt | None = None
    side_failure: SluiceError | None = None  # it failed, and the next objects will fail likewise


class Copier(Protocol):
    """Copies objects, here or elsewhere."""

    async def copy(self, item: CopyItem) -> CopyResult:
        """A failure of this object is a result. Raises what ends the copy of all."""
        ...


# Gets the job's id, whether objects may be there already, and two functions: see `ObjectCopier`.
MakeCopier = Callable[[str, bool, Callable[[int], None], Callable[[str], None]], Copier]


class _Attempts:
    """How far the copy of one object came."""

    def __init__(self) -> None:
        self.count = 0
        self.opened = False  # bytes of the source may be consumed
        self.offered = False  # the target may have some
        self.broke = False  # on the way there


class ObjectCopier:
    """Copies objects one at a time, in this process; several `copy` calls may run at once."""

    def __init__(
        self,
        source: CopySource,
        target: CopyTarget,
        rules: CopyRules,
        job_id: str,
        find_first: bool,
        on_moved: Callable[[int], None],
        on_note: Callable[[str], None],
        met: bool = False,
    ) -> None:
        """`job_id` is random. `find_first` is False where the target is surely empty. `met`: a side
        was reached before.

        `on_moved` gets changes of the bytes under way, `on_note` why something is retried.
        """
        self._source, self._target, self._rules = source, target, rules
        self._job_id, self._find_first = job_id, find_first
        self._on_moved, self._on_note = on_moved, on_note
        self._met = met  # a side was reached at least once
        self._one_piece = rules.one_piece  # until it was said

    async def copy(self, item: CopyItem) -> CopyResult:
        """A failure of this object is a result; nothing is raised for it."""
        attempts, wanted = _Attempts(), item
        mismatch: DigestMismatch | None = None
        while True:
            attempts.count += 1
            try:
                result = await self._attempt(wanted, attempts)
            except SourceChanged as error:
                if not wanted.version or not self._may_repeat(attempts):
                    return _failed(item, attempts, error)
                # Once more, in any version; if it changes again while it is read, it fails.
                wanted, wait = dataclasses.replace(item, version="", size=None), 0.0
            except SluiceError as error:
                retry_in = self._retry_in(error, attempts)
                if retry_in is None:
                    hidden = mismatch is not None and isinstance(error, Exists)
                    return _failed(item, attempts, mismatch if mismatch and hidden else error)
                mismatch = error if isinstance(error, DigestMismatch) else mismatch
                wait = retry_in
                self._on_note(f"{item.key}: {error.detail}; trying again in {wait:.1f} s")
            except Exception as error:  # a library's own: one object's failure stops no other
                return _failed(item, attempts, StoreFailed(f"{type(error).__name__}: {error}"))
            else:
                self._met = True
                return result
            await asyncio.sleep(wait)

    def _retry_in(self, error: SluiceError, attempts: _Attempts) -> float | None:
        """Seconds to wait before the next attempt; None to give up."""
        self._met = self._met or reached(error)
        attempts.broke = attempts.broke or (attempts.offered and connection_broke(error))
        if not self._met:
            return None  # a closed port or a wrong name: waiting makes no address right
        if not self._may_repeat(attempts) or not is_transient(error):
            return None
        return self._rules.retry_policy.wait(error, attempts.count)

    def _may_repeat(self, attempts: _Attempts) -> bool:
        return (self._source.rereadable or not attempts.opened) and (
            self._target.repeats or not attempts.offered
        )

    async def _attempt(self, item: CopyItem, attempts: _Attempts) -> CopyResult:
        rules, target = self._rules, self._target
        look = self._find_first or attempts.count > 1
        found = await target.find(item.key) if look else None
        if found is not None:
            if digests := await self._same(item, *found, attempts):
                return self._already_there(item, found[0], digests, attempts)
            if not rules.force:
                raise _different(item.key)
        if rules.dry_run:
            state: ObjectState = "would-replace" if found else "would-copy"
            return CopyResult(ObjectResult(item.key, state, item.size), item)
        async with self._open(item, attempts) as reading:
            if self._one_piece and is_large(reading.source):
                self._on_note(f"{item.key}: it goes in one piece: {self._one_piece}")
                self._one_piece = ""
            attempts.offered = True
            once = once_key(self._job_id, item)
            try:
                receipt = await target.put(
                    item.key, rules.with_attributes(reading), once, rules.force
                )
            except (Exists, PreconditionFailed) as error:
                return await self._taken(item, error, attempts)
            _check_receipt(reading, receipt)
            return _result("copied", reading.item, receipt, attempts)

    async def _taken(self, item: CopyItem, error: SluiceError, attempts: _Attempts) -> CopyResult:
        """An object has the key; perhaps an earlier attempt stored it and its response got lost."""
        found = await self._target.find(item.key)
        if found is None:
            raise error
        digests = await self._same(item, *found, attempts) if self._source.rereadable else ()
        if not digests:
            raise _different(item.key) from error
        return self._already_there(item, found[0], digests, attempts)

    def _already_there(
        self, item: CopyItem, there: CopyItem, digests: Pairs, attempts: _Attempts
    ) -> CopyResult:
        """The target has the bytes; by this copy, where an earlier attempt offered them."""
        location = f"{self._target.display_name.rstrip('/')}/{item.key}"
        receipt = Receipt(there.size or 0, digests, location, source=item.key)
        ours = attempts.count > 1 and attempts.offered
        return _result("copied" if ours else "skipped", item, receipt, attempts)

    async def _same(
        self, item: CopyItem, there: CopyItem, known: Pairs, attempts: _Attempts
    ) -> Pairs:
        """The digests of both where they are equal, else (). Reads them where they are unknown."""
        if there.size is None or (item.size is not None and item.size != there.size):
            return ()
        if not self._source.rereadable and self._rules.force:
            return ()  # it can be read only once, and then it could not be sent
        async with self._open(item, attempts) as reading:
            if reading.source.length not in (None, there.size):
                return ()
            here, at_target = dict(reading.metadata.digests), dict(known)
            if not here.keys() & at_target.keys():
                # One side is read, or both: by an algorithm that the other side knows already.
                name = next(filter(is_available, (*at_target, *here)), SHA256)
                if name not in at_target:
                    read = await self._target.digest(item.key, name)
                    if read is None:
                        return ()
                    at_target[name] = read
                if name not in here:
                    here[name] = await digest_of_source(reading.source, name)
        both = tuple((name, here[name]) for name in sorted(here) if name in at_target)
        return both if all(at_target[name] == digits for name, digits in both) else ()

    @asynccontextmanager
    async def _open(self, item: CopyItem, attempts: _Attempts) -> AsyncIterator[Reading]:
        async with self._source.open(item) as reading:
            attempts.opened = True
            source, throttle = reading.source, self._rules.throttle
            if reading.content is not None and throttle is None:
                # Too few bytes for the bar to show them under way; a wrapper costs more than they.
                if reading.digests != self._rules.digests:
                    reading = dataclasses.replace(reading, digests=self._rules.digests)
                yield reading
                return
            if throttle is not None:
                source = ThrottledSource(source, throttle)
            counted = CountedSource(source, self._on_moved)
            try:
                yield dataclasses.replace(
                    reading,
                    source=counted,
                    digests=self._rules.digests,
                    broke=attempts.broke,
                    content=None,
                    on_note=lambda note: self._on_note(f"{item.key}: {note}"),
                )
            finally:
                counted.take_back()


def _side_failed(error: SluiceError) -> bool:
    """Whether the next objects will most likely fail likewise.

    Because a side cannot be reached at all, no longer accepts the credentials, or is full.
    """
    refused = error.members.get(ANSWERED) in (401, 403, 407)  # 407: of a proxy
    if refused or isinstance(error, Unauthorized | NoSpace):
        return True
    if isinstance(error, SourceFailed) and isinstance(error.__cause__, SluiceError):
        return _side_failed(error.__cause__)
    return isinstance(error, PeerUnreachable | Unavailable) and ANSWERED not in error.members


def _check_receipt(reading: Reading, receipt: Receipt) -> None:
    counted = dict(receipt.digests)
    for name, digits in reading.metadata.digests:
        if counted.get(name, digits) != digits:
            raise DigestMismatch(
                f"{reading.item.key} arrived with another {name} than its source announced"
            )


def _different(key: str) -> Exists:
    return Exists(
        f"The destination has something else under {key}, or it cannot be compared; "
        "it was not touched"
    )


def _result(
    state: ObjectState, item: CopyItem, receipt: Receipt, attempts: _Attempts
) -> CopyResult:
    result = ObjectResult(
        item.key, state, receipt.size, receipt.digests, receipt.location, attempts.count
    )
    return CopyResult(result, item, receipt)


def _failed(item: CopyItem, attempts: _Attempts, error: SluiceError) -> CopyResult:
    result = ObjectResult(
        item.key, "failed", item.size, attempts=attempts.count, code=error.code, detail=error.detail
    )
    return CopyResult(result, item, side_failure=error if _side_failed(error) else None)
