"""GET /files and DELETE /files/{key}: what is there, piece by piece, and taking it away. Unfinished uploads are never seen."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest
from sluiceway.server.handlers.raw import replace_for
from sluiceway.server.omissions import Omissions
from sluiceway.server.responses import entry_json, json_answer
from sluiceway.stores.contract import Store
from sluiceway.wire.numbers import ascii_uint

__all__ = ["delete_object", "list_objects"]

DEFAULT_LIMIT = 100  # entries; a page of a screen
MOST_LIMIT = 1000  # S3's page; what one answer may hold in memory


async def list_objects(request: Request, store: Store, omissions: Omissions) -> Response:
    """`?prefix=&after=&limit=`: entries in key order and the cursor for the next piece (null at the end).

    `omitted` names what stands between them and cannot be an entry, and why. `readable` is false where nothing can ever be
    listed because every file is passed on.
    """
    asked = request.query_params
    limit = ascii_uint(asked.get("limit", str(DEFAULT_LIMIT)), "limit")
    if not 1 <= limit <= MOST_LIMIT:
        raise BadRequest(f"limit must be 1 to {MOST_LIMIT}")
    page = await store.list(asked.get("prefix", ""), asked.get("after", ""), limit)
    omissions.tell(page.omitted)
    files = [entry_json(request, entry) for entry in page.entries]
    omitted = [{"name": one.name, "code": one.code, "detail": one.detail} for one in page.omitted]
    return json_answer(
        {"files": files, "next": page.next, "omitted": omitted, "readable": store.traits.readable}
    )


async def delete_object(request: Request, store: Store, key: str) -> Response:
    """204; If-Match guards against deleting what somebody else has just written."""
    there = await store.stat(key)
    await store.delete(key, replace_for(request, there))
    return Response(status_code=204)
