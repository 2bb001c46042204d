"""One publish that can be undone until it stands: what it replaced is there again.

A store may do that itself (`TakesBack`). For others the old object is held open and copied back.
Where neither is possible the new object stays: a key that was taken is never left free. Callers
hold a lock of the key until its end: of two in turn, one would bring the other's object back.
"""

from __future__ import annotations

import dataclasses

from sluiceway.errors import Exists, NotFound, PreconditionFailed, SluiceError, Unavailable
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.pump import pump
from sluiceway.stores.contract import Draft, Entry, Metadata, ObjectReader, Replace, Store
from sluiceway.stores.unpublished import TakesBack, offers

__all__ = ["RevocablePublish"]


class RevocablePublish:
    """The publish of `draft`, at a store with the trait `undoable`. Either `undo` or `settle` ends
    it.

    Example:
        publish = RevocablePublish(store, draft, "u1.0")
        try:
            entry = await publish.run(key, metadata, replace)
            ...  # what may still fail
        except BaseException:
            await publish.undo()
            raise
        await publish.settle()
    """

    def __init__(self, store: Store, draft: Draft, upload: str) -> None:
        self.store: Store = store
        self.draft: Draft = draft
        self.entry: Entry | None = None  # once it is published
        self.put_back: Entry | None = None  # what `undo` copied back
        self.replaces: bool = False  # there was an object, as far as is known before
        self._upload = upload
        self._before: ObjectReader | None = None
        self._is_prepared = False

    async def prepare(self, key: str, replace: Replace) -> None:
        """Look at what is going to be replaced, and hold it. Raises SluiceError."""
        self._is_prepared = True
        if offers(self.store, TakesBack):
            self.store.keep_replaced(self.draft)
        elif replace.allowed and self.store.traits.readable:
            await self._hold(key)

    async def run(self, key: str, metadata: Metadata, replace: Replace) -> Entry:
        """Publish. Raises what `Draft.publish` raises, and Unavailable when another client changed
        the object in between."""
        if not self._is_prepared:
            await self.prepare(key, replace)
        work = self._publish(key, metadata, replace)
        # A cancelled caller must not miss that it was published: then nobody would undo it.
        return await (work if self.store.traits.remote else finish_then_cancel(work))

    async def undo(self) -> bool:
        """Returns whether nothing of it remains, because it is undone, or not ours any more."""
        try:
            return await finish_then_cancel(self._undo())
        except (SluiceError, OSError):
            return False
        finally:
            await self.settle()

    async def settle(self) -> None:
        """It stands, or is undone: what it replaced goes. Raises nothing."""
        before, self._before = self._before, None
        try:
            if before is not None:
                await finish_then_cancel(before.aclose())
            elif self._is_prepared and offers(self.store, TakesBack):
                await finish_then_cancel(self.store.let_go(self.draft))
        except (SluiceError, OSError):
            pass  # a sweep removes it

    # Inside

    async def _hold(self, key: str) -> None:
        try:
            if self.store.traits.stable_reads:
                self._before = await self.store.open(key)
            else:
                await self.store.stat(key)
        except NotFound:
            return
        self.replaces = True

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> Entry:
        terms = replace
        if replace.allowed and replace.etag is None and not offers(self.store, TakesBack):
            # What was looked at must be what is replaced, or an undo would lose another client's.
            if self._before is not None:
                terms = dataclasses.replace(replace, etag=self._before.entry.etag)
            elif not self.replaces and self.store.traits.readable:
                terms = Replace()
        try:
            self.entry = await self.draft.publish(key, metadata, terms)
        except (Exists, PreconditionFailed):
            if terms is replace or not await self._changed(key):
                raise
            raise Unavailable(f"Another client changed {key!r} meanwhile; send it again") from None
        return self.entry

    async def _changed(self, key: str) -> bool:
        """Whether the key has another object than before, and not only a folder of that name."""
        try:
            there = await self.store.stat(key)
        except NotFound:
            return self.replaces
        return self._before is None or there.etag != self._before.entry.etag

    async def _undo(self) -> bool:
        if offers(self.store, TakesBack):
            return await self.store.take_back(self.draft)
        if (entry := self.entry) is None:
            return True
        ours = Replace(allowed=True, etag=entry.etag)
        try:
            if self._before is not None:
                await self._copy_back(entry.key, self._before, ours)
            elif self.replaces:
                return False
            else:
                await self.store.delete(entry.key, ours)
        except (NotFound, PreconditionFailed):
            pass  # another client deleted or replaced it meanwhile: it is no longer ours
        return True

    async def _copy_back(self, key: str, before: ObjectReader, ours: Replace) -> None:
        draft = await self.store.draft(f"{self._upload}.before", before.length)
        try:
            await pump(before, draft)
            self.put_back = await draft.publish(key, before.entry.metadata, ours)
        finally:
            await draft.discard()
