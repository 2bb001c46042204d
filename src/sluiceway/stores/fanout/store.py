"""Several stores as one: a file goes to all in one pass and is read from the first readable one.

Either every required destination gets a file or none keeps it; best-effort ones may fail or fall
behind. Decides by the traits of a destination, never by its kind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any, cast

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
from sluiceway.stores.fanout.lasting import LastingFanout, split_saved
from sluiceway.stores.fanout.late_copies import LateCopies
from sluiceway.stores.fanout.required import RequiredTarget, naming, run_all
from sluiceway.stores.keys.locks import LOCK_TIMEOUT, KeyLocks
from sluiceway.stores.keys.machine_locks import MachineLocks
from sluiceway.stores.unpublished import ChecksRoom, ResumableDraft, ResumableStore, SavedDraft

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

    Uploads and deletions of one key follow each other, so that the copies of a key stay the same:
    within a process, and where `lock_folder` is given in all that share it.
    """

    def __init__(
        self, destinations: list[Destination], budget: Budget, lock_folder: str | None = None
    ) -> None:
        self._required = [each for each in destinations if each.required]
        self._best_effort = [each for each in destinations if not each.required]
        if not self._required:
            raise StoreFailed("At least one destination must be required")
        self._front = next(
            (each for each in self._required if each.store.traits.readable), self._required[0]
        )
        self._budget = budget
        self._running: set[BestEffortTarget] = set()
        self._locks = KeyLocks(LOCK_TIMEOUT) if lock_folder is None else MachineLocks(lock_folder)
        others = {
            (each.display_name, each.public_name or each.display_name): each.store
            for each in self._best_effort
        }
        self._copies = LateCopies(self._front.store, others, budget)

    @property
    def traits(self) -> Traits:
        """Computed each time: a store may learn more about its server after the first request."""
        return _traits(self._front, self._required)

    @property
    def required_stores(self) -> Sequence[Store]:
        return [each.store for each in self._required]

    @property
    def best_effort_stores(self) -> Sequence[Store]:
        return [each.store for each in self._best_effort]

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

    def keep_replaced(self, draft: Draft) -> None:
        cast("FanoutDraft", draft).keeps_replaced = True

    async def take_back(self, draft: Draft) -> bool:
        published = cast("FanoutDraft", draft)
        is_undone = await published.take_back()
        if is_undone and published.key and self._best_effort:
            await self._copies.follow(published.key)
        return is_undone

    async def let_go(self, draft: Draft) -> None:
        await cast("FanoutDraft", draft).settle()

    async def check_room(self, size: int) -> None:
        for each in self._required:
            if isinstance(each.store, ChecksRoom):
                with naming(each.display_name):
                    await each.store.check_room(size)

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        async def begin(to: Destination, number: int) -> ResumableDraft:
            return await _resumable(to).begin(
                upload, size, self._lasting_request(to, upload_request)
            )

        return await self._lasting(upload, 0, begin)

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        each = split_saved(saved, len(self._required))

        async def resume(to: Destination, number: int) -> ResumableDraft:
            request = self._lasting_request(to, upload_request)
            store = _resumable(to)
            return await store.resume(upload, each[number], offset, size, request, epoch)

        return await self._lasting(upload, offset, resume)

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        """Where a process died between two destinations, those behind it get the object now."""
        each = split_saved(saved, len(self._required))
        found = [
            await _resumable(to).find_published(upload, own, key)
            for to, own in zip(self._required, each, strict=True)
        ]
        entry = found[self._required.index(self._front)]
        if entry is None:  # it is published first
            return None
        for to, own, there in zip(self._required, each, found, strict=True):
            if there is None:
                await self._publish_late(to, upload, own, entry)
        return entry

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
        async with self._locks.acquire(key, new_key):
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
        await self._copies.aclose()
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

    async def _lasting(
        self,
        upload: str,
        offset: int,
        open_draft: Callable[[Destination, int], Coroutine[Any, Any, ResumableDraft]],
    ) -> LastingFanout:
        """A draft of a draft at each required destination, or at none."""
        targets: dict[Destination, RequiredTarget] = {}

        async def open_one(to: Destination, number: int) -> None:
            with naming(to.display_name):
                draft = await open_draft(to, number)
            targets[to] = RequiredTarget(to.store, to.display_name, upload, draft, to.public_name)

        try:
            await run_all(open_one(each, number) for number, each in enumerate(self._required))
        except BaseException:
            drafts = [cast(ResumableDraft, target.draft) for target in targets.values()]
            await finish_all([asyncio.ensure_future(draft.suspend()) for draft in drafts])
            raise
        required = [targets[each] for each in self._required]
        return LastingFanout(required, targets[self._front], self._locks, offset, self._copies)

    def _lasting_request(self, to: Destination, upload_request: UploadRequest) -> UploadRequest:
        """Where only an object gives its bytes back, it must not be seen before it is checked."""
        request = self._request_for(to, upload_request)
        readable = [each.store.traits for each in self._required]
        if any(each.readable_drafts and not each.key_first for each in readable):
            return request
        return changed(request, key="") if to.store.traits.key_first else request

    async def _publish_late(
        self, to: Destination, upload: str, saved: SavedDraft, entry: Entry
    ) -> None:
        known = entry.metadata
        request = UploadRequest(
            key=entry.key,
            filename=known.filename,
            type=known.type,
            headers=known.headers,
            user=known.user,
        )
        with naming(to.display_name):
            draft = await _resumable(to).resume(
                upload, saved, entry.size, entry.size, self._lasting_request(to, request)
            )
            try:
                await draft.publish(entry.key, known)
            finally:
                await draft.suspend()

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
    """What all required destinations promise."""
    traits = [each.store.traits for each in required]
    return Traits(
        name="destinations",
        durable=all(each.durable for each in traits),
        atomic_publish=all(each.atomic_publish for each in traits),
        create_only=all(each.create_only for each in traits),
        resumable=all(each.resumable for each in traits),
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


def _resumable(to: Destination) -> ResumableStore:
    return cast(ResumableStore, to.store)  # its trait says so


def _renaming(to: Destination) -> Renames:
    if isinstance(to.store, Renames) and to.store.traits.renames:
        return to.store
    raise Unsupported(f"Files at {to.display_name} cannot be renamed").for_operator(
        "Files at one of the destinations cannot be renamed"
    )


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
