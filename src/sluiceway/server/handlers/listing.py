"""GET /files lists what is stored, page by page; DELETE /files/{key} deletes one file.

Unfinished uploads are never listed.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest
from sluiceway.server.operator_log import Omissions
from sluiceway.server.request_headers import replace_for
from sluiceway.server.responses import entry_json, json_response
from sluiceway.stores.contract import Store
from sluiceway.wire.numbers import ascii_uint

__all__ = ["delete_object", "list_objects"]

DEFAULT_LIMIT = 100  # entries; one screen
MOST_LIMIT = 1000  # entries, as in S3; one response holds them in memory


async def list_objects(request: Request, store: Store, omissions: Omissions) -> Response:
    """GET /files?prefix=&after=&limit=: entries in key order, and the cursor of the next page.

    `next` is null on the last page. `omitted` names what stands between the entries and cannot be
    one, with the reason. `readable` is false where nothing is ever listed because all files are
    sent on to another server. Raises BadRequest.
    """
    query = request.query_params
    limit = ascii_uint(query.get("limit", str(DEFAULT_LIMIT)), "limit")
    if not 1 <= limit <= MOST_LIMIT:
        raise BadRequest(f"limit must be 1 to {MOST_LIMIT}")
    page = await store.list(query.get("prefix", ""), query.get("after", ""), limit)
    omissions.log(page.omitted)
    files = [entry_json(request, entry) for entry in page.entries]
    omitted = [{"name": one.name, "code": one.code, "detail": one.detail} for one in page.omitted]
    return json_response(
        {"files": files, "next": page.next, "omitted": omitted, "readable": store.traits.readable}
    )


async def delete_object(request: Request, store: Store, key: str) -> Response:
    """DELETE /files/{key}: 204. If-Match keeps a client from deleting a version it does not know.

    Raises NotFound, PreconditionFailed.
    """
    existing = await store.stat(key)
    await store.delete(key, replace_for(request, existing))
    return Response(status_code=204)
