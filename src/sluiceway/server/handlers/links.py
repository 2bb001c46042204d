"""POST /links makes a signed link, DELETE /links/{id} revokes one: for the admin.

The same links as `sluiceway.link` makes; an app that has a key of its own needs no request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, NotFound, SluiceError, TooLarge
from sluiceway.server.access.link_keys import read_link_keys, revoke_link
from sluiceway.server.log.audit import audit
from sluiceway.server.request_body import small_body
from sluiceway.server.responses import json_response
from sluiceway.uploads.access.links import DAY, FOLDER, LinkLimits, SignedLink
from sluiceway.wire.sizes import parse_size

__all__ = ["drop_link", "make_link"]

MOST_LINK_REQUEST = 16 << 10  # bytes of the JSON
KNOWN = {
    *("key", "prefix", "method", "max_size", "types", "count", "expires", "owner", "fields"),
    "quota",
}


async def make_link(request: Request, key_file: str | None) -> Response:
    """POST /links with JSON: 201 with the URL and the id. Raises BadRequest, NotFound."""
    path = _key_file(key_file)
    limits = _limits(await _read_json(request))
    keys = await asyncio.to_thread(read_link_keys, path)
    made, text = SignedLink.make(limits, keys.keys[0])
    place = f"{request.scope.get('root_path', '')}/{FOLDER}/{text}/"
    about = {"link": made.id, "key": limits.key, "prefix": limits.prefix}
    audit(request, "make-link", f"link {made.id} made", **about)
    url = f"{request.url.scheme}://{request.headers.get('host', '')}{place}"
    found = {"id": made.id, "url": url, "path": place, "expires": limits.expires}
    return json_response(found, 201, {"Location": place})


async def drop_link(request: Request, key_file: str | None) -> Response:
    """DELETE /links/{id}: 204; within a second the link opens nothing in any process."""
    name = str(request.path_params["id"])
    try:
        await asyncio.to_thread(revoke_link, _key_file(key_file), name)
    except OSError as error:
        raise SluiceError(f"The link was not revoked: {error}").for_operator(
            "The server cannot write down that the link was revoked; its log has the reason"
        ) from None
    audit(request, "revoke-link", f"link {name} revoked", link=name)
    return Response(status_code=204)


def _key_file(path: str | None) -> str:
    if path is None:
        raise NotFound("This server has no keys for links").for_operator(
            "This server makes no links"
        )
    return path


async def _read_json(request: Request) -> Mapping[str, object]:
    if (body := await small_body(request, MOST_LINK_REQUEST)) is None:
        raise TooLarge("What a link is for is said in less", limit=MOST_LINK_REQUEST)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadRequest('Send JSON that says what the link is for: {"prefix": "inbox/"}')
    if unknown := sorted(set(content) - KNOWN):
        raise BadRequest(f"There is no {unknown[0]!r}; known are {', '.join(sorted(KNOWN))}")
    return content


def _limits(content: Mapping[str, object]) -> LinkLimits:
    """Raises BadRequest."""
    method, types = content.get("method", "POST"), content.get("types", [])
    methods = [method] if isinstance(method, str) else method
    fields, size = content.get("fields", {}), content.get("max_size")
    quota = content.get("quota")
    seconds = content.get("expires", DAY)
    count = content.get("count")
    words = [content.get(name, "") for name in ("key", "prefix", "owner")]
    if not (
        _is_texts(methods)
        and _is_texts(types)
        and _is_texts(words)
        and isinstance(fields, dict)
        and _is_texts([*fields.values()])
        and (count is None or type(count) is int)
        and (seconds is None or (type(seconds) in (int, float) and 0 <= _number(seconds) < 1e10))
        and (size is None or type(size) in (int, str))
        and (quota is None or type(quota) in (int, str))
    ):
        raise BadRequest(
            "key, prefix, owner and method are text, types a list of it, fields an object of it, "
            "count, max_size, quota and expires (seconds from now) numbers"
        )
    key, prefix, owner = words
    return LinkLimits(
        tuple(map(str, _texts(methods))),
        str(key),
        str(prefix),
        None if size is None else parse_size(str(size), "max_size"),
        tuple(_texts(types)),
        count if type(count) is int else None,
        None if seconds is None else time.time() + _number(seconds),
        str(owner),
        tuple(sorted(fields.items())),
        None if quota is None else parse_size(str(quota), "quota"),
    )


def _is_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else -1.0
