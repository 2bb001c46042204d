"""An upload to several destinations that outlives its process: each keeps a draft of its own.

An offset is what all required destinations keep, and what was written down of each belongs to that
offset: a destination that got further forgets the rest. `copies` gives best-effort ones theirs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

from sluiceway.errors import StoreFailed
from sluiceway.pipe.cancellation import finish_all
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.fanout.draft import FanoutDraft
from sluiceway.stores.fanout.late_copies import LateCopies
from sluiceway.stores.fanout.required import RequiredTarget
from sluiceway.stores.keys.locks import KeyLocks
from sluiceway.stores.unpublished import KnowsDigests, ReadableDraft, ResumableDraft, SavedDraft

__all__ = ["LastingFanout", "split_saved"]


class LastingFanout(FanoutDraft):
    """Every draft of `required` is a ResumableDraft at the same offset."""

    def __init__(
        self,
        required: Sequence[RequiredTarget],
        front: RequiredTarget,
        locks: KeyLocks,
        offset: int,
        copies: LateCopies,
    ) -> None:
        super().__init__(required, (), front, locks)
        self.written = self._kept = offset
        self._copies = copies

    @property
    def kept(self) -> int:
        """What the last `sync` kept: only then all destinations stand at one offset."""
        return self._kept

    @property
    def _drafts(self) -> list[ResumableDraft]:
        return [cast(ResumableDraft, target.draft) for target in self._required]

    async def sync(self) -> int:
        self._kept = await super().sync()
        return self._kept

    async def truncate(self, offset: int) -> None:
        await super().truncate(offset)
        self._kept = min(self._kept, offset)

    async def read(self, start: int, size: int) -> bytes:
        """From a destination that gives bytes back without making an object of them."""
        self._check()
        found = [
            target.draft
            for target in sorted(self._required, key=lambda one: one.store.traits.key_first)
            if isinstance(target.draft, ReadableDraft)
        ]
        if not found:
            raise StoreFailed("No destination gives the kept bytes of an upload back")
        return await found[0].read(start, size)

    async def known_digests(self) -> dict[str, bytes]:
        self._check()
        found: dict[str, bytes] = {}
        for draft in self._drafts:
            if isinstance(draft, KnowsDigests):
                found |= await draft.known_digests()
        return found

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        entry = await super().publish(key, metadata, replace)
        return await self._copies.add_to(entry, Replace(allowed=replace.allowed))

    def save(self) -> SavedDraft:
        saved = [draft.save() for draft in self._drafts]
        parts = [
            json.dumps([number, part]) for number, one in enumerate(saved) for part in one.parts
        ]
        return SavedDraft(json.dumps([one.state for one in saved]), tuple(parts))

    def saved(self) -> None:
        for draft in self._drafts:
            draft.saved()

    async def suspend(self) -> None:
        self._over = self._over or "This draft was suspended"
        jobs = [asyncio.ensure_future(draft.suspend()) for draft in self._drafts]
        try:
            await finish_all(jobs)
        finally:
            failed = [error for job in jobs if (error := job.exception()) is not None]
        if failed:
            raise failed[0]


def split_saved(saved: SavedDraft, count: int) -> list[SavedDraft]:
    """What each of `count` destinations saved. Raises StoreFailed for what was none."""
    if not saved.state and not saved.parts:
        return [SavedDraft()] * count
    try:
        states = list(map(str, json.loads(saved.state)))
        parts: list[list[str]] = [[] for _ in states]
        for text in saved.parts:
            number, part = json.loads(text)
            parts[number].append(str(part))
    except (ValueError, TypeError, IndexError) as error:
        raise StoreFailed("The ledger has something about an upload that cannot be read") from error
    if len(states) != count:
        raise StoreFailed(
            f"The upload was begun with {len(states)} destinations, and there are {count} now"
        ).for_operator("The destinations have changed since this upload began; begin it anew")
    return [SavedDraft(state, tuple(own)) for state, own in zip(states, parts, strict=True)]
