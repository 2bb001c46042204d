"""Several stores behind one: a file goes to all of them in one pass, and is read from the first that can be read.

Required legs succeed all or none; best-effort ones may fail or fall behind. What kind of store a leg is shows only in its
traits. Uploads and deletions of one key follow each other within a process, so that its copies do not part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

from sluiceway.errors import NotFound, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_all
from sluiceway.stores.contract import (
    Draft,
    Entry,
    HealthChecked,
    ObjectReader,
    Page,
    Replace,
    Store,
    Traits,
    UploadRequest,
)
from sluiceway.stores.fanout.best_effort import LEAVE, BestEffortTarget
from sluiceway.stores.fanout.draft import FanoutDraft
from sluiceway.stores.fanout.required import RequiredTarget, named, together
from sluiceway.stores.locks import KeyLocks

__all__ = ["Destination", "FanoutStore"]

WEAKER = ("bytes", "parts", "whole")  # what `sync` keeps, from the most to the least

log: logging.Logger = logging.getLogger("sluiceway")


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination. A best-effort one may fail or fall behind without the upload failing."""

    store: Store
    required: bool
    display_name: str  # for people: without secrets


class FanoutStore:
    """All legs as one store. Raises StoreFailed when none is required: an answer must stand on one."""

    def __init__(self, legs: list[Destination], budget: Budget) -> None:
        self._required = [leg for leg in legs if leg.required]
        self._best_effort = [leg for leg in legs if not leg.required]
        if not self._required:
            raise StoreFailed("At least one destination must be required")
        self._front = next(
            (leg for leg in self._required if leg.store.traits.readable), self._required[0]
        )
        self._budget = budget
        self._followers: set[BestEffortTarget] = set()
        self._locks = KeyLocks()

    @property
    def traits(self) -> Traits:
        """Anew each time: a store may learn of its destination what it could not know before."""
        return _traits(self._front, self._required)

    @property
    def required_stores(self) -> Sequence[Store]:
        return [leg.store for leg in self._required]

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        carriers: dict[Destination, RequiredTarget] = {}

        async def carry(leg: Destination) -> None:
            with named(leg.display_name):
                draft = await leg.store.draft(upload, size, self._label(leg, upload_request))
            carriers[leg] = RequiredTarget(leg.store, leg.display_name, upload, draft)

        try:
            await together(carry(leg) for leg in self._required)
        except BaseException:
            await finish_all(
                [asyncio.ensure_future(_discarded(carrier)) for carrier in carriers.values()]
            )
            raise
        followers = [self._follow(leg, upload, size, upload_request) for leg in self._best_effort]
        return FanoutDraft(
            [carriers[leg] for leg in self._required], followers, carriers[self._front], self._locks
        )

    async def stat(self, key: str) -> Entry:
        return await self._front.store.stat(key)

    async def open(self, key: str) -> ObjectReader:
        return await self._front.store.open(key)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return await self._front.store.list(prefix, after, limit)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        """The store that is read from decides; then every other one that can delete and has the key."""
        async with self._locks.acquire(key):
            await self._front.store.delete(key, replace)
            failed: SluiceError | None = None
            for leg in [*self._required, *self._best_effort]:
                if leg is self._front or not leg.store.traits.readable:
                    continue
                try:
                    with named(leg.display_name):
                        await leg.store.delete(key)
                except NotFound:
                    continue  # a best-effort one may never have had it
                except SluiceError as error:
                    log.warning("%s remains at %s: %s", key, leg.display_name, error.detail)
                    failed = failed or (error if leg.required else None)
        if failed is not None:
            raise failed

    async def check(self) -> None:
        """Of the required ones: without a best-effort place uploads go on."""
        for leg in self._required:
            if isinstance(leg.store, HealthChecked):
                await leg.store.check()

    async def aclose(self) -> None:
        for follower in self._followers:
            follower.stop()
        if going := [follower.task for follower in self._followers]:
            await asyncio.wait(going, timeout=LEAVE)
        closing = [
            asyncio.ensure_future(leg.store.aclose())
            for leg in [*self._required, *self._best_effort]
        ]
        try:
            await finish_all(closing)
        finally:
            failed = [error for task in closing if (error := task.exception()) is not None]
        if failed:
            raise failed[0]

    # Inside

    def _follow(
        self, leg: Destination, upload: str, size: int | None, upload_request: UploadRequest
    ) -> BestEffortTarget:
        follower = BestEffortTarget(
            leg.display_name,
            self._budget,
            lambda: leg.store.draft(upload, size, self._label(leg, upload_request)),
        )
        self._followers.add(follower)
        follower.task.add_done_callback(lambda _: self._followers.discard(follower))
        return follower

    def _label(self, leg: Destination, upload_request: UploadRequest) -> UploadRequest:
        """A tag is one destination's own: only the one that is read from can be asked for it."""
        return (
            upload_request
            if leg is self._front
            else changed(upload_request, replace=Replace(allowed=upload_request.replace.allowed))
        )


def _traits(front: Destination, required: list[Destination]) -> Traits:
    """What can be said of all required legs. A draft is never taken up again: two of them may be at two offsets."""
    facts = [leg.store.traits for leg in required]
    return Traits(
        name="destinations",
        durable=all(each.durable for each in facts),
        atomic_publish=all(each.atomic_publish for each in facts),
        create_only=all(each.create_only for each in facts),
        resumable=False,
        max_key_bytes=min(each.max_key_bytes for each in facts),
        readable=front.store.traits.readable,
        undoable=all(each.undoable for each in facts),
        remote=any(each.remote for each in facts),
        keeps=max((each.keeps for each in facts), key=WEAKER.index),
        stable_reads=front.store.traits.stable_reads,
        compare_and_swap=all(each.compare_and_swap for each in facts),
        lists_metadata=front.store.traits.lists_metadata,
    )


async def _discarded(carrier: RequiredTarget) -> None:
    try:
        await carrier.draft.discard()
    except (SluiceError, OSError) as error:
        log.warning("a draft at %s could not be put away: %s", carrier.display_name, error)
