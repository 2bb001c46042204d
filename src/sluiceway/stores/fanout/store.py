"""Several stores as one: a file goes to all in one pass and is read from the first readable one.

Either every required destination gets a file or none keeps it; best-effort ones may fail or fall
behind. Decides by the traits of a destination, never by its kind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from dataclasses import replace as changed

from sluiceway.errors import NotFound, SluiceError, StoreFailed, Unsupported
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_all
from sluiceway.stores.contract import (
    Draft,
    Entry,
    HealthChecked,
    ObjectReader,
    Page,
    Renames,
    Replace,
    Store,
    Traits,
    UploadRequest,
)
from sluiceway.stores.fanout.best_effort import DISCARD_TIMEOUT, BestEffortTarget
from sluiceway.stores.fanout.draft import FanoutDraft
from sluiceway.stores.fanout.required import RequiredTarget, naming, run_all
from sluiceway.stores.locks import KeyLocks

__all__ = ["Destination", "FanoutStore"]

KEEPS = ("bytes", "parts", "whole")  # values of `Traits.keeps`, from the most to the least

log: logging.Logger = logging.getLogger("sluiceway")


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination. A best-effort one may fail or fall behind without failing the upload."""

    store: Store
    required: bool
    display_name: str  # for operators: without secrets
    public_name: str = ""  # for clients, who must not learn addresses; "": the same


class FanoutStore:
    """All destinations as one store. Raises StoreFailed when none is required.

    Uploads and deletions of one key follow each other within a process, so that the copies of a key
    stay the same.
    """

    def __init__(self, destinations: list[Destination], budget: Budget) -> None:
        self._required = [each for each in destinations if each.required]
        self._best_effort = [each for each in destinations if not each.required]
        if not self._required:
            raise StoreFailed("At least one destination must be required")
        self._front = next(
            (each for each in self._required if each.store.traits.readable), self._required[0]
        )
        self._budget = budget
        self._running: set[BestEffortTarget] = set()
        self._locks = KeyLocks()

    @property
    def traits(self) -> Traits:
        """Computed each time: a store may learn more about its server after the first request."""
        return _traits(self._front, self._required)

    @property
    def required_stores(self) -> Sequence[Store]:
        return [each.store for each in self._required]

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        targets: dict[Destination, RequiredTarget] = {}

        async def begin(to: Destination) -> None:
            with naming(to.display_name):
                draft = await to.store.draft(upload, size, self._request_for(to, upload_request))
            targets[to] = RequiredTarget(to.store, to.display_name, upload, draft, to.public_name)

        try:
            await run_all(begin(each) for each in self._required)
        except BaseException:
            await finish_all([asyncio.ensure_future(_discard(each)) for each in targets.values()])
            raise
        best_effort = [
            self._begin_best_effort(each, upload, size, upload_request)
            for each in self._best_effort
        ]
        return FanoutDraft(
            [targets[each] for each in self._required],
            best_effort,
            targets[self._front],
            self._locks,
        )

    async def stat(self, key: str) -> Entry:
        return await self._front.store.stat(key)

    async def open(self, key: str) -> ObjectReader:
        return await self._front.store.open(key)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return await self._front.store.list(prefix, after, limit)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        """Delete at the front, which decides; then at every other store that has the key."""
        async with self._locks.acquire(key):
            await self._front.store.delete(key, replace)
            failed: SluiceError | None = None
            for each in [*self._required, *self._best_effort]:
                if each is self._front or not each.store.traits.readable:
                    continue
                try:
                    with naming(each.display_name):
                        await each.store.delete(key)
                except NotFound:
                    continue  # a best-effort one may never have had it
                except SluiceError as error:
                    log.warning("%s remains at %s: %s", key, each.display_name, error.detail)
                    failed = failed or (error if each.required else None)
        if failed is not None:
            raise failed

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        """Rename at every required store or, after an error, at none; then at the others."""
        first, second = sorted((key, new_key))
        async with AsyncExitStack() as locked:
            for one in dict.fromkeys((first, second)):
                await locked.enter_async_context(self._locks.acquire(one))
            entry = await _renaming(self._front).rename(key, new_key, etag)
            renamed = [self._front]
            try:
                for each in self._required:
                    if each is not self._front:
                        with naming(each.display_name):
                            await _renaming(each).rename(key, new_key)
                        renamed.append(each)
            except BaseException:
                for each in renamed:
                    with suppress(SluiceError):
                        await _renaming(each).rename(new_key, key)
                raise
            for each in self._best_effort:
                await _rename_best_effort(each, key, new_key)
        return entry

    async def check(self) -> None:
        """Check the required ones: uploads succeed without a best-effort one."""
        for each in self._required:
            if isinstance(each.store, HealthChecked):
                await each.store.check()

    async def aclose(self) -> None:
        for target in self._running:
            target.stop()
        if running := [target.task for target in self._running]:
            await asyncio.wait(running, timeout=DISCARD_TIMEOUT)
        closing = [
            asyncio.ensure_future(each.store.aclose())
            for each in [*self._required, *self._best_effort]
        ]
        try:
            await finish_all(closing)
        finally:
            failed = [error for task in closing if (error := task.exception()) is not None]
        if failed:
            raise failed[0]

    # Inside

    def _begin_best_effort(
        self, to: Destination, upload: str, size: int | None, upload_request: UploadRequest
    ) -> BestEffortTarget:
        request = self._request_for(to, upload_request)
        target = BestEffortTarget(
            to.display_name,
            self._budget,
            lambda: to.store.draft(upload, size, request),
            to.public_name,
        )
        self._running.add(target)
        target.task.add_done_callback(lambda _: self._running.discard(target))
        return target

    def _request_for(self, to: Destination, upload_request: UploadRequest) -> UploadRequest:
        """A tag belongs to one destination: only the front can compare it."""
        if to is self._front:
            return upload_request
        return changed(upload_request, replace=Replace(allowed=upload_request.replace.allowed))


def _traits(front: Destination, required: list[Destination]) -> Traits:
    """What all required destinations promise.

    A draft cannot be resumed: two destinations may be at two offsets.
    """
    traits = [each.store.traits for each in required]
    return Traits(
        name="destinations",
        durable=all(each.durable for each in traits),
        atomic_publish=all(each.atomic_publish for each in traits),
        create_only=all(each.create_only for each in traits),
        resumable=False,
        max_key_bytes=min(each.max_key_bytes for each in traits),
        readable=front.store.traits.readable,
        undoable=all(each.undoable for each in traits),
        remote=any(each.remote for each in traits),
        keeps=max((each.keeps for each in traits), key=KEEPS.index),
        stable_reads=front.store.traits.stable_reads,
        compare_and_swap=all(each.compare_and_swap for each in traits),
        lists_metadata=front.store.traits.lists_metadata,
        renames=all(each.renames for each in traits),
        counts=tuple(dict.fromkeys(name for each in traits for name in each.counts)),
    )


def _renaming(to: Destination) -> Renames:
    if isinstance(to.store, Renames) and to.store.traits.renames:
        return to.store
    raise Unsupported(f"Files at {to.display_name} cannot be renamed")


async def _rename_best_effort(to: Destination, key: str, new_key: str) -> None:
    try:
        await _renaming(to).rename(key, new_key)
    except NotFound:
        return  # it may never have had it
    except SluiceError as error:
        log.warning("%s keeps its old name at %s: %s", key, to.display_name, error.detail)


async def _discard(target: RequiredTarget) -> None:
    try:
        await target.draft.discard()
    except (SluiceError, OSError) as error:
        log.warning("a draft at %s could not be discarded: %s", target.display_name, error)
