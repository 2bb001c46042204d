"""Raw bodies: PUT /files/{key} and POST /files. Reads headers, asks the desk, writes headers; it has no byte loop.

Everything that can be refused is refused before the first byte of the body is asked for (RFC 9110 10.1.1).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, Exists, NotFound, PreconditionFailed, TooLarge
from sluiceway.server.answers import upload_answer
from sluiceway.server.body import body_source, check_body, content_length
from sluiceway.server.intake import published, query_values, received
from sluiceway.stores.contract import Entry, Label, Replace
from sluiceway.uploads.desk import Desk, Wish
from sluiceway.wire.conditions import PutTerms, Verdict, evaluate, put_replace
from sluiceway.wire.digests import parse_digests
from sluiceway.wire.disposition import parse_disposition
from sluiceway.wire.names import check_key, clean_name
from sluiceway.wire.types import OCTET_STREAM, guess_type

__all__ = ["conditions", "expected_digests", "post_raw", "put_object", "replace_for"]


async def put_object(request: Request, desk: Desk, key: str) -> Response:
    """PUT /files/{key}: the client names the key, so an object that is there is replaced, unless a condition forbids it."""
    key = check_key(key, desk.store.traits.max_key_bytes)
    if "content-range" in request.headers:
        raise BadRequest("A part cannot be put into an object (Content-Range); send the whole file")
    if desk.store.traits.readable:
        there = await _stat(desk, key)
        replace = replace_for(request, there)
    else:  # only the destination knows what is there: it gets the condition
        there, replace = None, _replace_over_there(request)
    wish = _wish(request, _filename(request) or clean_name(key), key, replace)
    _check_length(request, desk)
    async with received(request, desk) as incoming:
        await incoming.take(body_source(request, incoming.stages), wish)
        try:
            entries = await published(request, desk, incoming)
        except Exists as error:
            if replace.allowed:
                raise
            raise PreconditionFailed(error.detail) from None  # somebody was quicker than we: still If-None-Match's no
    return upload_answer(request, desk, incoming, entries, replaced=there is not None)


async def post_raw(request: Request, desk: Desk) -> Response:
    """POST /files with anything but a form: the server makes the key, the client may give a name."""
    wish = _wish(request, _filename(request) or "unnamed", None, Replace())
    _check_length(request, desk)
    async with received(request, desk) as incoming:
        await incoming.take(body_source(request, incoming.stages), wish)
        entries = await published(request, desk, incoming)
    return upload_answer(request, desk, incoming, entries)


def conditions(request: Request) -> dict[str, str]:
    """The headers with field lines sent twice joined, as preconditions are read (RFC 9110 5.2)."""
    return {name: ", ".join(request.headers.getlist(name)) for name in request.headers}


def replace_for(request: Request, there: Entry | None) -> Replace:
    """What If-Match and its relatives allow, checked now and kept by the store at the end. Raises PreconditionFailed."""
    headers = conditions(request)
    etag, modified = (there.etag, there.modified) if there else (None, None)
    if evaluate(request.method, headers, etag, modified, there is not None) is not Verdict.GO:
        state = "exists already" if there else "does not exist"
        raise PreconditionFailed(f"The object {state}, or is not the version you named; nothing was changed")
    terms: PutTerms = put_replace(headers)
    if terms.create_only:
        return Replace()
    if there and (terms.any_existing or terms.etags is not None):
        return Replace(allowed=True, etag=there.etag)
    return Replace(allowed=True)


def expected_digests(request: Request) -> dict[str, bytes]:
    """What the bytes of the whole body must hash to, by algorithm. Raises BadDigest, BadRequest."""
    promises = parse_digests(_joined(request, "content-digest"), _joined(request, "repr-digest"))
    expected = {promise.algorithm: promise.value for promise in promises}
    if any(expected[promise.algorithm] != promise.value for promise in promises):
        raise BadRequest("Content-Digest and Repr-Digest contradict each other; a whole body has one digest")
    return expected


def _replace_over_there(request: Request) -> Replace:
    """If-Match and If-None-Match as a destination that cannot be looked into is told them."""
    terms = put_replace(conditions(request))
    if terms.create_only:
        return Replace()
    if terms.any_existing or (terms.etags is not None and len(terms.etags) != 1):
        raise BadRequest("This server passes files on: it can pass on If-None-Match: * or an If-Match with one tag")
    return Replace(allowed=True, etag=terms.etags[0] if terms.etags else None)


async def _stat(desk: Desk, key: str) -> Entry | None:
    try:
        return await desk.store.stat(key)
    except NotFound:
        return None


def _wish(request: Request, filename: str, key: str | None, replace: Replace) -> Wish:
    check_body(request)
    expected = expected_digests(request)
    told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # curl --data-binary calls everything a form; a guess by name serves its owner better
    kind = guess_type(filename) if told in ("", OCTET_STREAM, "application/x-www-form-urlencoded") else told
    label = Label(method=request.method, values=query_values(request))
    return Wish(filename=filename, type=kind, key=key, replace=replace, expected=expected, label=label)


def _joined(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


def _filename(request: Request) -> str | None:
    """The name from ?name=, else from Content-Disposition; cleaned."""
    name = request.query_params.get("name")
    if not name and "content-disposition" in request.headers:
        name = parse_disposition(request.headers["content-disposition"]).filename
    return clean_name(name) if name else None


def _check_length(request: Request, desk: Desk) -> None:
    length = content_length(request)
    if desk.max_size is not None and length is not None and length > desk.max_size:
        raise TooLarge(f"The body has {length} bytes; this server takes at most {desk.max_size}", limit=desk.max_size)
