"""One required destination of one upload: its draft, its publish, and the way back when another destination refuses.

Knows nothing of the other destinations; `together` is how their work is done at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from sluiceway.errors import NotFound, PreconditionFailed, SluiceError
from sluiceway.pipe.cancellation import finish_all
from sluiceway.pipe.pump import pump
from sluiceway.stores.contract import (
    Draft,
    EarlyFailure,
    Entry,
    Metadata,
    ObjectReader,
    Replace,
    Store,
)

__all__ = ["RequiredTarget", "Undoable", "named", "together"]

T = TypeVar("T")


@runtime_checkable
class Undoable(Protocol):
    """A store that cannot delete by key, but can ask for a single object it has just published to be deleted."""

    async def undo_publish(self, entry: Entry) -> bool:
        """Whether nothing of it remains."""
        ...


class RequiredTarget:
    """A draft of one required destination. Errors of it carry its name in their member `destination`."""

    store: Store
    display_name: str
    draft: Draft

    def __init__(self, store: Store, display_name: str, upload: str, draft: Draft) -> None:
        self.store, self.display_name, self.draft = store, display_name, draft
        self.entry: Entry | None = None  # once it is published
        self._upload = upload
        self._before: ObjectReader | None = None  # what stood under the key and was replaced

    @property
    def undoable(self) -> bool:
        return self.store.traits.undoable

    @property
    def failure(self) -> SluiceError | None:
        """What the destination said while nothing was written to it."""
        error = self.draft.failure if isinstance(self.draft, EarlyFailure) else None
        if error is not None:
            error.private.setdefault("destination", self.display_name)
        return error

    async def publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        """Publish, and hold open what is replaced: it may have to be put back."""
        with named(self.display_name):
            if self.undoable and replace.allowed:
                try:
                    self._before = await self.store.open(key)
                except SluiceError:
                    pass  # nothing there, or nothing that can be replaced: then publish says so
            self.entry = await self.draft.publish(key, metadata, replace)

    async def undo_publish(self) -> bool:
        """Undo the publish; whether nothing of it remains. What was replaced stands there again, with a tag of its own."""
        entry = self.entry
        if entry is None:
            return True
        try:
            if not self.undoable:
                return isinstance(self.store, Undoable) and await self.store.undo_publish(entry)
            ours = Replace(allowed=True, etag=entry.etag)
            if self._before is None:
                await self.store.delete(entry.key, ours)
            else:
                await self._put_back(entry.key, self._before, ours)
        except (NotFound, PreconditionFailed):
            return True  # deleted or replaced by somebody meanwhile: no longer ours
        except (SluiceError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Let go of what was replaced."""
        before, self._before = self._before, None
        if before is not None:
            await before.aclose()

    async def _put_back(self, key: str, before: ObjectReader, ours: Replace) -> None:
        draft = await self.store.draft(f"{self._upload}.before", before.length)
        try:
            await pump(before, draft)
            await draft.publish(key, before.entry.metadata, ours)
        finally:
            await draft.discard()


@contextmanager
def named(display_name: str) -> Iterator[None]:
    """Errors inside tell the operator which destination they are of."""
    try:
        yield
    except SluiceError as error:
        error.private.setdefault("destination", display_name)
        raise


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; the first error ends the others. When this returns or raises, none of them goes on."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()  # raises where one failed
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await finish_all(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: one error is told, others would only repeat that all is over
