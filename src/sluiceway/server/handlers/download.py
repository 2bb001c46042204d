"""GET and HEAD of an object: validators, ranges, and headers that keep uploaded files inert.

RFC 9110 sections 13 and 14. Where the server can send a file by itself it gets the descriptor;
else the bytes come from the store in blocks.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import PreconditionFailed
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.server.http1.sendfile import ZEROCOPY
from sluiceway.server.request_headers import joined_headers
from sluiceway.server.responses import INERT_POLICY, time_headers
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Entry, FileBacked, ObjectReader, SignedUrls, Store
from sluiceway.wire.headers.conditions import (
    Verdict,
    evaluate,
    format_etag,
    http_date,
    if_range_holds,
)
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import INLINE_TYPES, OCTET_STREAM, essence, shown_type
from sluiceway.wire.headers.object_digests import (
    DIGEST_HEADERS,
    digest_headers,
    wished_headers,
)
from sluiceway.wire.headers.ranges import (
    ByteRange,
    byteranges_head,
    byteranges_length,
    byteranges_tail,
    byteranges_type,
    content_range,
    resolve_ranges,
)

__all__ = [
    "get_object",
    "object_headers",
    "object_response",
    "private_cache_control",
    "respond_with",
]

# bytes; reading and writing a shorter range is faster than handing it to the server: 0.1 ms of 0.6
# at 64 KiB
MIN_ZEROCOPY = 1 << 20
# bytes of a file that the server sends by itself until we count them and look for the client
ZEROCOPY_STRETCH = 64 << 20
HEADERS_OF_304 = (  # RFC 9110 15.4.5, and what keeps a cached file inert
    "etag",
    "last-modified",
    "cache-control",
    "expires",
    "x-content-type-options",
    "content-security-policy",
)


async def get_object(request: Request, store: Store, key: str, redirect: float = 0.0) -> Response:
    """GET and HEAD /files/{key}.

    `redirect`: seconds that a signed URL of the bucket is valid, to which a GET is redirected; 0
    sends the bytes. With ?view=1 a browser shows what it safely can. Raises NotFound,
    PreconditionFailed, RangeUnsatisfiable.
    """
    viewed = request.query_params.get("view") == "1"
    if (
        redirect
        and isinstance(store, SignedUrls)
        and request.method == "GET"
        and not _is_conditional(request)
    ):
        entry = await store.stat(key)
        disposition = object_headers(entry, viewed)["content-disposition"]
        url = await store.signed_url(entry, redirect, disposition)
        return Response(status_code=307, headers={"location": url, "cache-control": "no-store"})
    return await respond_with(request, await store.open(key))


async def respond_with(request: Request, reader: ObjectReader) -> Response:
    """The response to GET and HEAD of an open object. It is closed after an error, too."""
    viewed = request.query_params.get("view") == "1"
    try:
        headers = object_headers(reader.entry, viewed)
        if "want-repr-digest" in request.headers:
            named = wished_headers(reader.entry.metadata.digests, request.headers)
            others = {name: headers[name] for name in headers if name not in DIGEST_HEADERS}
            headers = others | named
        if reader.entry.metadata.headers and (
            "authorization" in request.headers or "cookie" in request.headers
        ):
            headers["cache-control"] = private_cache_control(headers["cache-control"])
        return object_response(request, reader, headers)
    except BaseException:
        await reader.aclose()
        raise


def _is_conditional(request: Request) -> bool:
    """Whether the response may be 304 or 412: only this server can compare its own tag and time."""
    return any(
        name in request.headers
        for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    )


def object_response(request: Request, reader: ObjectReader, headers: dict[str, str]) -> Response:
    """The whole object or the ranges asked for, or 304. The response closes the reader.

    Raises PreconditionFailed, RangeUnsatisfiable; then the caller closes it.
    """
    entry, asked = reader.entry, joined_headers(request)
    verdict = evaluate(request.method, asked, entry.etag, entry.modified, True)
    if verdict is Verdict.FAILED:
        raise PreconditionFailed("The object is not the version you named; read it again")
    if verdict is Verdict.NOT_MODIFIED:
        kept = {name: headers[name] for name in HEADERS_OF_304 if name in headers}
        return _ranges_response(reader, 304, kept, [])
    ranges = None
    # RFC 9110 14.2: Range is defined for GET only
    if request.method == "GET" and if_range_holds(asked.get("if-range"), entry.etag):
        ranges = resolve_ranges(asked.get("range"), entry.size)
    if ranges is not None and len(ranges) > 1 and "content-encoding" in headers:
        ranges = None  # clients would decode the multipart body instead of each part
    if ranges is None:
        headers["content-length"] = str(entry.size)
        whole = [ByteRange(0, entry.size)] if entry.size else []
        return _ranges_response(reader, 200, headers, whole)
    if len(ranges) == 1:
        headers["content-range"] = content_range(ranges[0], entry.size)
        headers["content-length"] = str(ranges[0].length)
        return _ranges_response(reader, 206, headers, ranges)
    boundary, part_type = secrets.token_hex(16), headers["content-type"]
    headers["content-type"] = byteranges_type(boundary)
    headers["content-length"] = str(byteranges_length(boundary, ranges, entry.size, part_type))
    return _ranges_response(reader, 206, headers, ranges, (boundary, part_type))


def object_headers(entry: Entry, viewed: bool = False) -> dict[str, str]:
    """The headers that describe an object, without its length.

    `viewed`: a person opens it in a tab; what is harmless under the policy is shown there.
    """
    metadata = entry.metadata
    printable = metadata.type.isascii() and metadata.type.isprintable()
    content_type = metadata.type if printable else OCTET_STREAM
    shown = "inline" if essence(content_type) in INLINE_TYPES else "attachment"
    if viewed and (kind := shown_type(content_type)) is not None:
        content_type, shown = kind, "inline"
    headers = {
        # With the charset that the uploader sent. A text without one gets none: it is not guessed.
        "content-type": content_type,
        "etag": format_etag(entry.etag),
        "last-modified": http_date(entry.modified),
        "accept-ranges": "bytes",
        "content-disposition": format_disposition(
            shown, metadata.filename or entry.key.rsplit("/", 1)[-1]
        ),
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT_POLICY,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    headers |= _stored_headers(entry, shown) | time_headers(entry)
    return headers | digest_headers(metadata.digests)


def _stored_headers(entry: Entry, shown: str) -> dict[str, str]:
    """The headers that the object was stored with.

    The bytes are sent as stored, so all clients get the stored Content-Encoding; tag, ranges,
    length and digest are those of the encoded bytes (RFC 9110 8.4). A stored Content-Disposition
    cannot make a browser show what would be an attachment here.
    """
    stored = {
        name: value
        for name, value in entry.metadata.headers
        if value.isascii() and value.isprintable()
    }
    disposition = stored.pop("content-disposition", "")
    if disposition and (
        shown == "inline" or disposition.partition(";")[0].strip().lower() == "attachment"
    ):
        stored["content-disposition"] = disposition
    return stored


def private_cache_control(cache_control: str) -> str:
    """The same for a response to a request with credentials: shared caches may not keep it."""
    directives = [one.strip() for one in cache_control.split(",")]
    kept = [
        one
        for one in directives
        if one.partition("=")[0].lower() not in ("", "public", "s-maxage", "private")
    ]
    return ", ".join(["private", *kept])


def _ranges_response(
    reader: ObjectReader,
    status: int,
    headers: dict[str, str],
    ranges: list[ByteRange],
    multipart: tuple[str, str] | None = None,
) -> Response:
    """`multipart`: the boundary and the type of each part, if there are several."""

    async def body(scope: Scope) -> AsyncIterator[Buffer | Message]:
        zerocopy = ZEROCOPY in (scope.get("extensions") or {}) and isinstance(reader, FileBacked)
        for part in ranges:
            if multipart is not None:
                yield byteranges_head(multipart[0], part, reader.entry.size, multipart[1])
            if zerocopy and part.length >= MIN_ZEROCOPY:
                for at in range(part.start, part.stop, ZEROCOPY_STRETCH):
                    yield _zerocopy_message(reader, at, min(ZEROCOPY_STRETCH, part.stop - at))
                continue
            chunks = reader.open(part.start, part.stop)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await close_stream(chunks)
        if multipart is not None:
            yield byteranges_tail(multipart[0])

    return StreamedResponse(body, headers, status, split=None, close=reader.aclose)


def _zerocopy_message(reader: ObjectReader, offset: int, count: int) -> Message:
    return {
        "type": ZEROCOPY,
        "file": reader,
        "offset": offset,
        "count": count,
        "more_body": True,
    }
