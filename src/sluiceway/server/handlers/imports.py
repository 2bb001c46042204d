"""POST /files with {"url": …}: a remote file is stored as if the client had uploaded it.

The same upload service, checks and response as for an upload; only the bytes come from another
server.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
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
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import SOURCE
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.server.http1.peer_gone import READER
from sluiceway.server.intake import begin_upload, publish
from sluiceway.server.remote import Remote
from sluiceway.server.remote_headers import remote_file_name, remote_refusal
from sluiceway.server.request_body import IDLE, content_length, small_body
from sluiceway.server.request_headers import expected_digests, query_values
from sluiceway.server.responses import upload_response
from sluiceway.server.resumable.whole import note_stored
from sluiceway.server.streaming import on_client_leaving
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.rules import check_digests
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.digests import WANTED
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.headers.object_digests import announced_digests, wanted_digest
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import redact_url

__all__ = [
    "ImportRequest",
    "import_remote",
    "may_be_import_request",
    "refuse_import_request",
]

# bytes of the JSON: the longest URL and the longest name, every character escaped
MOST_IMPORT_REQUEST = 64 << 10


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import, and the name and media type that override the remote server's."""

    url: str
    name: str | None = None
    type: str | None = None


def may_be_import_request(request: Request) -> bool:
    """Whether a POST's headers fit an import request. JSON with a name is a file like any other."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        media_type == "application/json"
        and not request.query_params.get("name")
        and "content-disposition" not in request.headers
    )


async def import_remote(
    request: Request, upload_service: UploadService, remote: Remote
) -> Response:
    """The response of an upload. A client that leaves ends it; so does DELETE /uploads/{id}."""
    wanted = await _read_request(request)
    request.scope[READER] = True
    gone = Cancelled("The client left before the remote file had arrived; nothing was stored")
    async with begin_upload(request, upload_service) as session:
        # Content-Length was that of the import request; the file's length is not known yet.
        session.record.length = None
        with on_client_leaving(request.receive, lambda: session.stop(gone)):
            before = session.stages.enter(SOURCE)
            asked = {"want-repr-digest": WANTED}
            async with remote.open(request, wanted.url, asked) as response:
                head = response.head
                if head.status not in (200, 203):
                    text = "" if "content-encoding" in head.headers else await response.text()
                    refusal = remote_refusal(head, text)
                    # The remote server's 404 would mean that /files does not exist here.
                    raise PeerFailed(refusal.detail, **refusal.members).for_everyone()
                upload_request = _upload_request(request, wanted, head)
                length = _file_length(head)
                remote.check_length(length)
                session.record.length = length
                session.stages.enter(before)
                source = TimedSource(PassingSource(paced(response), length), session.stages)
                try:
                    await session.take(source, upload_request)
                except DigestMismatch as error:
                    raise PeerFailed(
                        f"The bytes from {redact_url(head.url)} do not have the digest that it "
                        "announced; nothing was stored, try again",
                        **error.members,
                    ).for_everyone() from error
        entries = await publish(request, upload_service, session)
    note_stored(request.scope, None)
    return upload_response(request, upload_service, session, entries)


async def refuse_import_request(request: Request) -> Request:
    """For a server that imports nothing: the request with its body unread.

    Raises Forbidden for an import request, which must not be stored as a file. Other JSON without a
    name is a file. What has to be read to know that is at most MOST_IMPORT_REQUEST bytes and a
    chunk; it is read again.
    """
    if (content_length(request) or 0) > MOST_IMPORT_REQUEST:
        return request
    messages: deque[Message] = deque()
    body, whole = b"", False
    while not whole and len(body) <= MOST_IMPORT_REQUEST:
        try:
            async with asyncio.timeout(IDLE):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow(
                f"No byte arrived for {IDLE:g} seconds; nothing was stored. Send it again"
            ) from None
        messages.append(message)
        if message["type"] != "http.request":
            break  # the client left; reading the body will raise
        body += message.get("body", b"")
        whole = not message.get("more_body", False)
    if whole and len(body) <= MOST_IMPORT_REQUEST and _has_its_keys(_parsed(body)):
        raise Forbidden(
            "This asks the server to fetch a file. It fetches only from hosts that its operator "
            "allows with --fetch-from. To store this JSON as a file, send its name as ?name="
        )

    async def receive_again() -> Message:
        return messages.popleft() if messages else await request.receive()

    return Request(request.scope, receive_again)


async def _read_request(request: Request) -> ImportRequest:
    if (body := await small_body(request, MOST_IMPORT_REQUEST)) is None:
        raise TooLarge(
            f"JSON without a name says what to import, in at most {MOST_IMPORT_REQUEST} bytes; to "
            "store it as a file send ?name=",
            limit=MOST_IMPORT_REQUEST,
        )
    expected = expected_digests(request)
    check_digests({name: digest_of(name, body) for name in expected}, expected)
    return _import_request(body)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _has_its_keys(content: object) -> TypeGuard[dict[str, object]]:
    return (
        isinstance(content, dict) and "url" in content and set(content) <= {"url", "name", "type"}
    )


def _is_valid(content: object) -> TypeGuard[dict[str, str]]:
    return _has_its_keys(content) and all(isinstance(value, str) for value in content.values())


def _import_request(body: bytes) -> ImportRequest:
    content = _parsed(body)
    if not _is_valid(content):
        raise BadRequest(
            'JSON without a name says what to import: {"url": "https://…"}, and perhaps "name" and '
            '"type". To store JSON as a file, send its name as ?name='
        )
    media_type = content.get("type")
    if media_type is not None:
        halves = media_type.split("/")
        if len(halves) != 2 or not all(TOKEN.fullmatch(half) for half in halves):
            raise BadRequest('"type" is a media type such as image/png')
    return ImportRequest(content["url"], content.get("name"), media_type and media_type.lower())


def _upload_request(request: Request, wanted: ImportRequest, head: Head) -> UploadRequest:
    name = clean_name(wanted.name) if wanted.name else remote_file_name(head)
    return UploadRequest(
        filename=name,
        type=kept_type(wanted.type or head.headers.get("content-type", ""), name),
        expected={one.algorithm: one.value for one in announced_digests(head.headers)},
        wanted=wanted_digest(request.headers),
        method="POST",
        values=query_values(request),
    )


def _file_length(head: Head) -> int | None:
    coding = head.headers.get("content-encoding", "").lower()
    if coding not in ("", "identity"):
        raise PeerFailed(
            f"{redact_url(head.url)} sends the file as {coding!r} although it was asked for the "
            "file as it is; nothing was stored"
        ).for_everyone()
    return body_length(head)
