"""One required destination of one upload: its draft, its publish, and its undo.

Knows nothing of the other destinations; `run_all` is how their work is done at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import finish_all
from sluiceway.stores.contract import Draft, EarlyFailure, Entry, Metadata, Replace, Store
from sluiceway.stores.keys.revocable import RevocablePublish
from sluiceway.stores.unpublished import TakesBack, offers

__all__ = ["RequiredTarget", "Undoable", "naming", "run_all"]

T = TypeVar("T")


@runtime_checkable
class Undoable(Protocol):
    """A store that cannot delete by key, but can delete an object it has just published."""

    async def undo_publish(self, entry: Entry) -> bool:
        """Returns whether nothing of it remains."""
        ...


class RequiredTarget:
    """A draft at one required destination.

    Its errors carry the name in `private["destination"]`.
    """

    store: Store
    display_name: str
    draft: Draft

    def __init__(
        self, store: Store, display_name: str, upload: str, draft: Draft, public_name: str = ""
    ) -> None:
        self.store, self.display_name, self.draft = store, display_name, draft
        self.public_name: str = public_name or display_name
        self.entry: Entry | None = None  # set when it is published
        self._revocable = RevocablePublish(store, draft, upload)

    @property
    def undoable(self) -> bool:
        return self.store.traits.undoable

    @property
    def undoes_surely(self) -> bool:
        """Whether an undo is one step that needs no room."""
        return offers(self.store, TakesBack)

    @property
    def failure(self) -> SluiceError | None:
        """Why the destination failed while nothing was written to it."""
        error = self.draft.failure if isinstance(self.draft, EarlyFailure) else None
        if error is not None:
            error.private.setdefault("destination", self.display_name)
        return error

    async def publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        """Publish, and keep what is replaced, where that can be undone."""
        with naming(self.display_name):
            if self.undoable:
                self.entry = await self._revocable.run(key, metadata, replace)
            else:
                self.entry = await self.draft.publish(key, metadata, replace)

    async def undo_publish(self) -> bool:
        """Returns whether nothing of it remains.

        A replaced object is there again, perhaps with a new tag.
        """
        if self.undoable:
            return await self._revocable.undo()
        try:
            return self.entry is None or (
                isinstance(self.store, Undoable) and await self.store.undo_publish(self.entry)
            )
        except (SluiceError, OSError):
            return False

    async def settle(self) -> None:
        """It stands: what it replaced goes."""
        await self._revocable.settle()


@contextmanager
def naming(display_name: str) -> Iterator[None]:
    """Errors inside name the destination, for the operator's log."""
    try:
        yield
    except SluiceError as error:
        error.private.setdefault("destination", display_name)
        raise


async def run_all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; the first error cancels the others. None of them is running afterwards."""
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
                task.exception()  # retrieved: one error is raised, the others are its consequences
