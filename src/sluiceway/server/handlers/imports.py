"""POST /files with {"url": …}: a remote file comes into the destination as if the client had sent it.

The same upload service, the same checks, the same answer; only the bytes come from another server.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from sluiceway.client.guarded_fetch import body_length, paced
from sluiceway.client.http.exchange import Head
from sluiceway.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    Forbidden,
    PeerFailed,
    TooLarge,
    TooSlow,
)
from sluiceway.pipe.hashes import digest_of
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import SOURCE, Stages
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.server.handlers.fetch import Remote
from sluiceway.server.handlers.raw import expected_digests
from sluiceway.server.http1.peer_gone import READER
from sluiceway.server.intake import published, query_values, received
from sluiceway.server.remote import file_name, remote_refusal
from sluiceway.server.request_body import (
    IDLE,
    body_chunks,
    check_body,
    content_length,
    wait_until_gone,
)
from sluiceway.server.responses import upload_answer
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession, check_digests
from sluiceway.wire.headers.digests import WANTED, parse_digests
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import redact_url

__all__ = ["ImportRequest", "import_remote", "is_order", "not_an_order"]

MOST_ORDER = 64 << 10  # bytes of the JSON: the longest URL and name, every character escaped


@dataclass(frozen=True, slots=True)
class ImportRequest:
    url: str
    name: str | None = None
    type: str | None = None


def is_order(request: Request) -> bool:
    """Whether a POST's body says what to import. JSON with a name is a file like any other."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        kind == "application/json"
        and not request.query_params.get("name")
        and "content-disposition" not in request.headers
    )


async def import_remote(
    request: Request, upload_service: UploadService, remote: Remote
) -> Response:
    """The answer of an upload. A client that leaves ends it; so does DELETE /uploads/{id}."""
    order = await _order(request)
    request.scope[READER] = True
    async with received(request, upload_service) as incoming:
        incoming.record.length = (
            None  # the body was the order; how long the file is nobody knows yet
        )
        with _ended_by_leaving(request, incoming):
            before = incoming.stages.enter(SOURCE)
            async with remote.open(request, order.url, {"want-repr-digest": WANTED}) as answer:
                head = answer.head
                if head.status not in (200, 203):
                    text = "" if "content-encoding" in head.headers else await answer.text()
                    refused = remote_refusal(head, text)
                    raise PeerFailed(
                        refused.detail, **refused.members
                    )  # a 404 here would be said of /files
                upload_request, length = _upload_request(request, order, head), _length(head)
                remote.check_length(length)
                incoming.record.length = length
                incoming.stages.enter(before)
                source = TimedSource(PassingSource(paced(answer), length), incoming.stages)
                try:
                    await incoming.take(source, upload_request)
                except DigestMismatch as error:
                    said = f"What came from {redact_url(head.url)} does not have the digest it told; nothing was stored, try again"
                    raise PeerFailed(said, **error.members) from error
        entries = await published(request, upload_service, incoming)
    return upload_answer(request, upload_service, incoming, entries)


async def not_an_order(request: Request) -> Request:
    """The request with its body unread, where nothing is imported. Raises Forbidden for an order: it is no file to be stored.

    Other JSON without a name is a file. What had to be read to know that, at most MOST_ORDER bytes and a chunk, is read again.
    """
    if (content_length(request) or 0) > MOST_ORDER:
        return request
    messages: deque[Message] = deque()
    body, whole = b"", False
    while not whole and len(body) <= MOST_ORDER:
        try:
            async with asyncio.timeout(IDLE):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow(
                f"No byte arrived for {IDLE:g} seconds; nothing was stored. Send it again"
            ) from None
        messages.append(message)
        if message["type"] != "http.request":
            break  # the client left: whoever reads the body says so
        body += message.get("body", b"")
        whole = not message.get("more_body", False)
    if whole and len(body) <= MOST_ORDER and _means_order(_parsed(body)):
        raise Forbidden(
            "This asks the server to fetch a file, which it does only for hosts that its operator allowed with --fetch-from. "
            "To store this JSON as a file send its name as ?name="
        )

    async def again() -> Message:
        return messages.popleft() if messages else await request.receive()

    return Request(request.scope, again)


async def _order(request: Request) -> ImportRequest:
    check_body(request)
    body = b""
    if (content_length(request) or 0) <= MOST_ORDER:  # else refused before it is sent
        chunks = body_chunks(request, Stages())
        try:
            async for chunk in chunks:
                body += chunk
                if len(body) > MOST_ORDER:
                    break
        finally:
            await close_stream(chunks)
    if max(len(body), content_length(request) or 0) > MOST_ORDER:
        raise TooLarge(
            f"JSON without a name says what to import, in at most {MOST_ORDER} bytes; to store it as a file send ?name=",
            limit=MOST_ORDER,
        )
    expected = expected_digests(request)
    check_digests({name: digest_of(name, body) for name in expected}, expected)
    return _read(body)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _means_order(told: object) -> TypeGuard[dict[str, object]]:
    return isinstance(told, dict) and "url" in told and set(told) <= {"url", "name", "type"}


def _is_order(told: object) -> TypeGuard[dict[str, str]]:
    return _means_order(told) and all(isinstance(value, str) for value in told.values())


def _read(body: bytes) -> ImportRequest:
    told = _parsed(body)
    if not _is_order(told):
        raise BadRequest(
            'JSON without a name says what to import: {"url": "https://…"}, with "name" and "type" as well if wanted. '
            "To store JSON as a file send its name as ?name="
        )
    kind = told.get("type")
    if kind is not None and not (
        kind.count("/") == 1 and all(TOKEN.fullmatch(half) for half in kind.split("/"))
    ):
        raise BadRequest('"type" is a media type such as image/png')
    return ImportRequest(told["url"], told.get("name"), kind and kind.lower())


def _upload_request(request: Request, order: ImportRequest, head: Head) -> UploadRequest:
    name = clean_name(order.name) if order.name else file_name(head)
    return UploadRequest(
        filename=name,
        type=kept_type(order.type or head.headers.get("content-type", ""), name),
        expected=_promised(head),
        values=query_values(request),
    )


def _length(head: Head) -> int | None:
    coding = head.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise PeerFailed(
            f"{redact_url(head.url)} sends the file as {coding!r} although it was asked for the file as it is; nothing was stored"
        )
    return body_length(head)


def _promised(head: Head) -> dict[str, bytes]:
    """The digests the remote server told; a field that cannot be read promises nothing (RFC 9530 2: it may be ignored)."""
    try:
        return {
            promise.algorithm: promise.value
            for promise in parse_digests(None, head.headers.get("repr-digest"))
        }
    except BadRequest:
        return {}


@contextmanager
def _ended_by_leaving(request: Request, incoming: UploadSession) -> Iterator[None]:
    """Within the block the client is listened to: its leaving ends the upload."""

    def stop(gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            incoming.stop(
                Cancelled("The client left before the remote file had come; nothing was stored")
            )

    gone = asyncio.ensure_future(wait_until_gone(request.receive))
    gone.add_done_callback(stop)
    try:
        yield
    finally:
        gone.remove_done_callback(stop)
        gone.cancel()
