"""Listings without an end, folder by folder or whole, and the deletion of what they name.

Memory is bounded by one page. Knows no kind of side.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.listing.sides import ListedFile, ListedSide
from sluiceway.errors import NotFound, PeerFailed, SluiceError, SourceFailed
from sluiceway.stores.contract import Omitted

__all__ = ["delete_all", "listed"]

DELETES = 8  # at once
# Sorts after every other character: a page that begins behind it has left the folder.
LAST = "\U0010ffff"


async def listed(
    side: ListedSide, policy: RetryPolicy, recursive: bool
) -> AsyncIterator[ListedFile | Omitted]:
    """The object that the side's key names, else what is below it, in key order.

    Without `recursive`, what lies deeper is one ListedFile with `is_folder`. Raises SourceFailed
    where there is nothing, and what a page raises.
    """
    prefix = side.key
    if prefix and not prefix.endswith("/"):
        found = await policy.run(partial(side.find, prefix), met=False)
        if found is not None:
            yield found
            return
        prefix += "/"
    after, seen, folder = "", False, ""
    while True:
        page = await policy.run(partial(side.page, prefix, after), met=bool(after))
        for file in page.files:
            seen = True
            name, slash, _ = file.key[len(prefix) :].partition("/")
            if recursive or not slash:
                yield file
            elif (key := f"{prefix}{name}/") != folder:
                folder = key
                yield ListedFile(folder, is_folder=True)
        for one in page.omitted:
            seen = True
            yield one
        if page.next is None:
            break
        if page.next <= after:
            raise PeerFailed(f"The listing of {side.display_name} goes round in circles")
        after = page.next
        if not recursive and folder and after.startswith(folder):
            after = folder + LAST
    if not seen and (prefix or side.may_be_missing):
        raise SourceFailed(f"There is nothing at {side.display_name}")


async def delete_all(
    side: ListedSide,
    policy: RetryPolicy,
    on_deleted: Callable[[ListedFile], None],
    on_failed: Callable[[ListedFile, SluiceError], None],
) -> None:
    """Delete what `listed` names, several at a time. One failure stops no other object."""
    slots = asyncio.Semaphore(DELETES)

    async def delete(file: ListedFile) -> None:
        try:
            await policy.run(partial(side.delete, file.key))
        except NotFound:
            pass  # another program, or an attempt whose answer was lost, was quicker
        except SluiceError as error:
            on_failed(file, error)
            return
        finally:
            slots.release()
        on_deleted(file)

    async with asyncio.TaskGroup() as group:
        async for file in listed(side, policy, recursive=True):
            if isinstance(file, ListedFile):
                await slots.acquire()
                group.create_task(delete(file))
