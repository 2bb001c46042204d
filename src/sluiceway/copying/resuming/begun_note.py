"""That a large object was on its way to a place which keeps nothing of an upload that stops.

A bookmark says so from the first byte to the end, so that the next run can tell people that it
begins anew. Sends nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from sluiceway.client.local.bookmarks import Bookmark, BookmarkNotes, take_bookmark
from sluiceway.copying.contract import Reading
from sluiceway.copying.resuming.lasting_put import ENDINGS, LASTING_FROM
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import UploadRequest

__all__ = ["noted_beginning"]

PROTOCOL = "whole"  # of the bookmark
ANEW = "its upload stopped, and the destination kept nothing of it; it begins anew"


@asynccontextmanager
async def noted_beginning(
    reading: Reading, destination: str, request: UploadRequest, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Around the upload. `say` gets the words, where an earlier run did not reach its end."""
    bookmark = await _take(reading, destination, request)
    if bookmark is None:
        yield
        return
    try:
        if bookmark.notes is not None:
            say(ANEW)
        else:
            version = reading.identity.version if reading.identity is not None else ""
            notes = BookmarkNotes("", PROTOCOL, version, reading.source.length or 0)
            await in_thread(partial(bookmark.write, notes))
        yield
        bookmark.clear()
    except ENDINGS:
        bookmark.clear()
        raise
    finally:
        await finish_then_cancel(in_thread(bookmark.close))


async def _take(reading: Reading, destination: str, request: UploadRequest) -> Bookmark | None:
    identity = reading.identity
    if identity is None or (reading.source.length or 0) < LASTING_FROM:
        return None
    names = (PROTOCOL, destination, request.key, request.filename, request.type)
    return await in_thread(partial(take_bookmark, identity.place, *names))
