"""GET /files?as=objects&key=…&key=…: many small files in one response, for copies of many files.

For each file a line of JSON, as in a listing, and its bytes. One that is large, missing or cannot
be read is left out, and is asked for alone. A request for each costs ten times as much on both
sides, and a round trip.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import BadRequest, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.server.responses import INERT_POLICY, entry_json
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Entry, Store
from sluiceway.wire.names import stays_inside
from sluiceway.wire.together import MOST_EACH, MOST_FILES, MOST_TOGETHER, TOGETHER_TYPE

__all__ = ["SmallReads", "objects_together"]

READERS_SHARE = 0.5  # of the budget: what is left is for uploads

_HEADERS = {
    "content-type": TOGETHER_TYPE,
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
    "content-security-policy": INERT_POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@runtime_checkable
class SmallReads(Protocol):
    """A Store that reads many small objects in one change of threads."""

    async def read_small(
        self, keys: Sequence[str], most: int, room: int
    ) -> Sequence[tuple[Entry, bytes]]:
        """Read objects whole: each of at most `most` bytes, together at most `room`.

        One that is larger, or cannot be read, is left out: `open` tells why. The bytes of each are
        those of its entry.
        """
        ...


async def objects_together(request: Request, store: Store, budget: Budget) -> Response:
    """Raises BadRequest where the store cannot, Unavailable where no memory is free."""
    if not isinstance(store, SmallReads):
        raise BadRequest("Files of this server are read one by one: GET /files/{key}")
    keys = request.query_params.getlist("key")
    if not 1 <= len(keys) <= MOST_FILES or len(request.query_params) != 2:
        raise BadRequest(f"Name 1 to {MOST_FILES} files: ?as=objects&key=…&key=…")
    if not budget.acquire(MOST_TOGETHER, within=READERS_SHARE):
        raise Unavailable("No memory is free for many files at once; read them one by one")
    try:
        inside = [key for key in keys if stays_inside(key)]
        found = await store.read_small(inside, MOST_EACH, MOST_TOGETHER)
    except BaseException:
        budget.release(MOST_TOGETHER)
        raise
    pieces = list[bytes]()
    for entry, data in found:
        pieces += [json.dumps(entry_json(request, entry)).encode() + b"\n", data]
    whole = b"".join(pieces)
    del found, pieces

    async def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        yield whole

    async def release() -> None:
        budget.release(MOST_TOGETHER)

    return StreamedResponse(body, {**_HEADERS, "content-length": str(len(whole))}, close=release)
