"""GET /files lists what is stored, page by page, by key or as people look for files.

Also DELETE /files/{key}, and MOVE /files/{key}, which renames. Unfinished uploads are never listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, MethodNotAllowed
from sluiceway.server.log.audit import audit, quoted
from sluiceway.server.operator_log import Omissions
from sluiceway.server.request_headers import replace_for, view_asked
from sluiceway.server.responses import entry_json, json_response, object_url
from sluiceway.stores.browsing import BrowsedFile, browse
from sluiceway.stores.contract import Omitted, Renames, Store
from sluiceway.uploads.keys import shown_path
from sluiceway.wire.headers.media_types import guess_type, shown_type
from sluiceway.wire.names import check_key
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "delete_object",
    "list_objects",
    "list_view",
    "rename_object",
]

DEFAULT_LIMIT = 100  # entries; one screen
MOST_LIMIT = 1000  # entries, as in S3; one response holds them in memory


async def list_objects(request: Request, store: Store, omissions: Omissions) -> Response:
    """GET /files?prefix=&after=&limit=: entries in key order, and the cursor of the next page.

    `next` is null on the last page. `omitted` names what stands between the entries and cannot be
    one, with the reason. `readable` is false where nothing is ever listed because all files are
    sent on to another server. Raises BadRequest.
    """
    query = request.query_params
    page = await store.list(query.get("prefix", ""), query.get("after", ""), _limit(request))
    omissions.log(page.omitted)
    return json_response(
        {
            "files": [entry_json(request, entry) for entry in page.entries],
            "next": page.next,
            "omitted": _omitted_json(page.omitted),
            "readable": store.traits.readable,
        }
    )


async def list_view(request: Request, store: Store, omissions: Omissions) -> Response:
    """GET /files?folder=&search=&sort=&after=&limit=: files as people look for them.

    `path` is a file's key without the id that this server made. With `folder`, `folders` has the
    paths of the folders in it, and files further down are left out; without it, or with `search`,
    all files are meant. `renames`: files here can be renamed. Raises BadRequest, TooLarge.
    """
    query, view = request.query_params, view_asked(request)
    if "prefix" in query:
        raise BadRequest("prefix selects keys and folder selects paths; give one of them")
    page = await browse(store, view, query.get("after", ""), _limit(request), shown_path)
    omissions.log(page.omitted)
    return json_response(
        {
            "folders": page.folders,
            "files": [_browsed_json(request, file) for file in page.files],
            "next": page.next,
            "omitted": _omitted_json(page.omitted),
            "readable": store.traits.readable,
            "renames": store.traits.renames,
        }
    )


def _browsed_json(request: Request, file: BrowsedFile) -> dict[str, object]:
    """`viewable`: a browser can show it in a tab, by its URL with ?view=1."""
    metadata = file.entry.metadata
    kind = metadata.type if metadata.filename else guess_type(file.path)
    return {
        **entry_json(request, file.entry),
        "path": file.path,
        "viewable": shown_type(kind) is not None,
    }


def _limit(request: Request) -> int:
    limit = ascii_uint(request.query_params.get("limit", str(DEFAULT_LIMIT)), "limit")
    if not 1 <= limit <= MOST_LIMIT:
        raise BadRequest(f"limit must be 1 to {MOST_LIMIT}")
    return limit


def _omitted_json(omitted: Sequence[Omitted]) -> list[dict[str, str]]:
    return [{"name": one.name, "code": one.code, "detail": one.detail} for one in omitted]


async def delete_object(request: Request, store: Store, key: str) -> Response:
    """DELETE /files/{key}: 204. If-Match keeps a client from deleting a version it does not know.

    Raises NotFound, PreconditionFailed.
    """
    existing = await store.stat(key)
    await store.delete(key, replace_for(request, existing))
    audit(request, "delete", f"{quoted(key)} deleted", key=key)
    return Response(status_code=204)


async def rename_object(request: Request, store: Store, key: str) -> Response:
    """MOVE /files/{key} with `Destination: /files/NEW-KEY`: 201 and the entry under its new key.

    As in WebDAV (RFC 4918 9.9), but nothing is ever replaced, whatever Overwrite says: a key that
    is taken is 409. If-Match guards the version. Raises MethodNotAllowed where the store cannot
    rename, BadRequest, BadName, NotFound, PreconditionFailed, Exists.
    """
    if not isinstance(store, Renames) or not store.traits.renames:
        raise MethodNotAllowed(
            "Files here cannot be renamed; store the file under its new name, then delete this one",
            allow="DELETE, GET, HEAD, OPTIONS, PUT",
        )
    new_key = check_key(_destination_key(request), store.traits.max_key_bytes)
    existing = await store.stat(key)
    guard = replace_for(request, existing)
    entry = await store.rename(key, new_key, guard.etag)
    renamed = f"{quoted(key)} renamed to {quoted(entry.key)}"
    audit(request, "rename", renamed, key=key, new_key=entry.key)
    headers = {"Location": object_url(request, entry.key), "ETag": f'"{entry.etag}"'}
    return json_response({"files": [entry_json(request, entry)]}, 201, headers)


def _destination_key(request: Request) -> str:
    """The key that the header Destination names: a path here, or this server's URL with it."""
    value = request.headers.get("destination", "")
    if not value.isascii() or not value:
        raise BadRequest(
            "A rename needs the header Destination with the new path, percent-encoded: "
            "Destination: /files/new%20name.txt"
        )
    try:
        url = urlsplit(value)
        path = unquote_to_bytes(url.path).decode()
    except ValueError:
        raise BadRequest("Destination is not a URL in UTF-8") from None
    files = f"{request.scope.get('root_path', '')}/files/"
    elsewhere = bool(url.netloc) and url.netloc != request.headers.get("host", "")
    if elsewhere or not path.startswith(files) or url.query or url.fragment:
        raise BadRequest(f"Destination must be a path of this server below {files}")
    return path.removeprefix(files)
