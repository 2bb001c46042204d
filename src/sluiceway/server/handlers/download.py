"""GET and HEAD of an object: validators, ranges, and headers that keep what users uploaded inert in a browser.

RFC 9110 sections 13 and 14. The bytes come from the store in blocks; a reader that goes away stops the reading.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from sluiceway.errors import PreconditionFailed
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.server.handlers.raw import conditions
from sluiceway.server.http1.sendfile import ZEROCOPY, patience
from sluiceway.server.request_body import wait_until_gone
from sluiceway.stores.contract import Entry, FileBacked, ObjectReader, SignedUrls, Store
from sluiceway.wire.headers.conditions import (
    Verdict,
    evaluate,
    format_etag,
    http_date,
    if_range_holds,
)
from sluiceway.wire.headers.digests import format_digest
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import INLINE_TYPES, essence
from sluiceway.wire.headers.ranges import (
    ByteRange,
    byteranges_head,
    byteranges_length,
    byteranges_tail,
    byteranges_type,
    content_range,
    resolve_ranges,
)

__all__ = ["Download", "for_one_reader", "get_object", "object_headers", "opened_answer"]

WORTH = (
    1 << 20
)  # bytes; shorter ranges are sooner read and written than handed to the server: 0.1 ms of 0.6 at 64 KiB
STRETCH = (
    64 << 20
)  # bytes of a file the server sends by itself, until we count them and look whether the reader is there
INERT = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"


async def get_object(request: Request, store: Store, key: str, redirect: float = 0.0) -> Response:
    """`redirect`: seconds that a signed URL holds to which a GET is sent instead; 0 sends the bytes.

    Raises NotFound, PreconditionFailed, RangeUnsatisfiable.
    """
    if (
        redirect
        and isinstance(store, SignedUrls)
        and request.method == "GET"
        and not _conditional(request)
    ):
        entry = await store.stat(key)
        headers = object_headers(entry)
        place = await store.signed_url(entry, redirect, headers["content-disposition"])
        return Response(status_code=307, headers={"location": place, "cache-control": "no-store"})
    opened = await store.open(key)
    try:
        headers = object_headers(opened.entry)
        if opened.entry.metadata.headers and (
            "authorization" in request.headers or "cookie" in request.headers
        ):
            headers["cache-control"] = for_one_reader(headers["cache-control"])
        return opened_answer(request, opened, headers)
    except BaseException:
        await opened.aclose()
        raise


def _conditional(request: Request) -> bool:
    """Whether the answer may be that it has not changed: that is said here, by our own tag and time."""
    return any(
        name in request.headers
        for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    )


def opened_answer(request: Request, opened: ObjectReader, headers: dict[str, str]) -> Response:
    """What of an open object is asked for, which closes it in the end. Raises PreconditionFailed, RangeUnsatisfiable."""
    entry, told = opened.entry, conditions(request)
    verdict = evaluate(request.method, told, entry.etag, entry.modified, True)
    if verdict is Verdict.FAILED:
        raise PreconditionFailed("The object is not the version you named; read it again")
    if verdict is Verdict.NOT_MODIFIED:
        keep = (
            "etag",
            "last-modified",
            "cache-control",
            "expires",
            "x-content-type-options",
            "content-security-policy",
        )
        return Download(opened, 304, {name: headers[name] for name in keep if name in headers}, [])
    whole = [ByteRange(0, entry.size)] if entry.size and request.method == "GET" else []
    ranges = None
    # RFC 9110 14.2: Range is defined for GET only
    if request.method == "GET" and if_range_holds(told.get("if-range"), entry.etag):
        ranges = resolve_ranges(told.get("range"), entry.size)
    if ranges is not None and len(ranges) > 1 and "content-encoding" in headers:
        ranges = None  # several parts would be read as one body in that coding
    if ranges is None:
        headers["content-length"] = str(entry.size)
        return Download(opened, 200, headers, whole)
    if len(ranges) == 1:
        headers["content-range"] = content_range(ranges[0], entry.size)
        headers["content-length"] = str(ranges[0].length)
        return Download(opened, 206, headers, ranges)
    boundary, kind = secrets.token_hex(16), headers["content-type"]
    headers["content-type"] = byteranges_type(boundary)
    headers["content-length"] = str(byteranges_length(boundary, ranges, entry.size, kind))
    return Download(opened, 206, headers, ranges, (boundary, kind))


def object_headers(entry: Entry) -> dict[str, str]:
    """What an answer says of an object, without its length."""
    kind = (
        entry.metadata.type
        if entry.metadata.type.isascii() and entry.metadata.type.isprintable()
        else "application/octet-stream"
    )
    shown = "inline" if essence(kind) in INLINE_TYPES else "attachment"
    headers = {
        "content-type": kind,  # with the charset its sender told; a text of which nobody told one is given none
        "etag": format_etag(entry.etag),
        "last-modified": http_date(entry.modified),
        "accept-ranges": "bytes",
        "content-disposition": format_disposition(
            shown, entry.metadata.filename or entry.key.rsplit("/", 1)[-1]
        ),
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    headers |= _kept(entry, shown)
    if entry.metadata.sha256:
        headers["repr-digest"] = format_digest("sha-256", bytes.fromhex(entry.metadata.sha256))
    return headers


def _kept(entry: Entry, shown: str) -> dict[str, str]:
    """Headers the object was stored with. Its bytes are sent as stored, so its coding is told to everybody.

    Tag, ranges, length and digest are those of the encoded bytes (RFC 9110, 8.4). A disposition that would show in a browser
    what is not shown here otherwise has no say.
    """
    told = {
        name: value
        for name, value in entry.metadata.headers
        if value.isascii() and value.isprintable()
    }
    disposition = told.pop("content-disposition", "")
    if disposition and (
        shown == "inline" or disposition.partition(";")[0].strip().lower() == "attachment"
    ):
        told["content-disposition"] = disposition
    return told


def for_one_reader(cache_control: str) -> str:
    """What may be kept of an answer that was given to a token: not by caches that others share."""
    asked = [one.strip() for one in cache_control.split(",")]
    kept = [
        one
        for one in asked
        if one.partition("=")[0].lower() not in ("", "public", "s-maxage", "private")
    ]
    return ", ".join(["private", *kept])


class Download(Response):
    """An answer whose body is ranges of an open object; it closes the object at its end, however it ends."""

    def __init__(
        self,
        opened: ObjectReader,
        status: int,
        headers: dict[str, str],
        ranges: list[ByteRange],
        multipart: tuple[str, str] | None = None,
    ) -> None:
        self.status_code = status
        self.background: BackgroundTask | None = None
        self.body = b""
        self.raw_headers: list[tuple[bytes, bytes]] = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        self._opened, self._ranges, self._multipart = opened, ranges, multipart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(wait_until_gone(receive))
        by_server = ZEROCOPY in (scope.get("extensions") or {}) and isinstance(
            self._opened, FileBacked
        )
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async with aclosing(self._messages(by_server)) as messages:
                async for message in messages:
                    if gone.done():
                        return  # send() tells nobody that the reader left
                    await _patiently(send, message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            await self._opened.aclose()

    async def _messages(self, by_server: bool) -> AsyncGenerator[Message, None]:
        for part in self._ranges:
            if self._multipart is not None:
                yield _body(
                    byteranges_head(
                        self._multipart[0], part, self._opened.entry.size, self._multipart[1]
                    )
                )
            if by_server and part.length >= WORTH:
                for at in range(part.start, part.stop, STRETCH):
                    size = min(STRETCH, part.stop - at)
                    yield {
                        "type": ZEROCOPY,
                        "file": self._opened,
                        "offset": at,
                        "count": size,
                        "more_body": True,
                    }
                continue
            stream = self._opened.open(part.start, part.stop)
            try:
                async for chunk in stream:
                    yield _body(chunk)
            finally:
                await close_stream(stream)
        if self._multipart is not None:
            yield _body(byteranges_tail(self._multipart[0]))


def _body(data: Buffer) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _patiently(send: Send, message: Message) -> None:
    """Raises TooSlow. A stretch of a file may take a slow reader hours; who sends it sees to it that something moves."""
    if message["type"] == ZEROCOPY:
        await send(message)
        return
    async with patience():
        await send(message)
