"""tus 1.0.0: POST /files creates an upload; HEAD, PATCH and DELETE /uploads/{id} go on with it.

Reads and writes headers; `wire.tus` parses them, `uploads.resumable` has the rules. Each response
names the version, errors included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import (
    BadRequest,
    DigestMismatch,
    Forbidden,
    Gone,
    Locked,
    NotFound,
    OffsetMismatch,
    SluiceError,
    TooLarge,
    TooSlow,
    Unavailable,
    Unsupported,
)
from sluiceway.pipe.source import Source
from sluiceway.server.door.auth import STAGES
from sluiceway.server.operator_log import log_error
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.server.request_headers import joined_headers
from sluiceway.server.responses import object_url, problem_response
from sluiceway.server.up_to import UpTo
from sluiceway.stores.contract import Entry, UploadRequest
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.wire.headers.http_dates import http_date
from sluiceway.wire.headers.media_types import essence, kept_type
from sluiceway.wire.names import clean_folders, clean_name
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.problems import write_problem
from sluiceway.wire.tus import (
    CHECKSUMS,
    EXTENSIONS,
    OFFSET_STREAM,
    VERSION,
    UnsupportedVersion,
    check_version,
    parse_checksum,
    parse_creation,
    parse_offset,
)

__all__ = ["DIALECT", "ChecksumMismatch", "TooSlowForTus", "TusHandler", "is_tus"]

DIALECT = "tus"
STOPPING = "The server is stopping; what arrived of the upload is kept. Go on from there"
OTHERS = ("upload-complete", "upload-incomplete", "upload-draft-interop-version")  # of the IETF
NAMES = ("filename", "name")  # keys of Upload-Metadata that clients use for the file's name
TYPES = ("filetype", "type", "contentType")  # and for its media type


class ChecksumMismatch(
    DigestMismatch, code="digest-mismatch", status=460, title="Checksum Mismatch"
): ...


class TooSlowForTus(TooSlow, code="too-slow", status=500, title="No bytes arrived for too long"):
    """Its clients send again after a 5xx; any other 4xx they report to their user."""


def is_tus(request: Request) -> bool:
    """Whether the request speaks tus, perhaps without the version that each request must have."""
    headers = request.headers
    if "tus-resumable" in headers or "upload-defer-length" in headers or "upload-concat" in headers:
        return True
    if any(name in headers for name in OTHERS):
        return False
    announced = headers.get("upload-length", "0").strip() != "0"
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    return (announced and empty) or essence(headers.get("content-type", "")) == OFFSET_STREAM


@dataclass(frozen=True, slots=True)
class TusHandler:
    """tus over the uploads of one service."""

    uploads: ResumableUploads

    def options(self) -> Response:
        """What this server speaks. Tus-Resumable of the request does not matter here."""
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(EXTENSIONS),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        }
        if self.uploads.max_size is not None:
            headers["Tus-Max-Size"] = str(self.uploads.max_size)
        return _response(204, headers)

    async def create(self, request: Request) -> Response:
        """POST /files: 201 with the URL of the upload; bytes of the body are its first ones."""
        return await _answered(request, self._create)

    async def show(self, request: Request) -> Response:
        """HEAD /uploads/{id}: the offset. A request that still sends to it is interrupted."""
        return await _answered(request, self._show)

    async def append(self, request: Request) -> Response:
        """PATCH /uploads/{id}: 204 with the new offset."""
        return await _answered(request, self._append)

    async def terminate(self, request: Request) -> Response:
        """DELETE /uploads/{id}: 204."""
        return await _answered(request, self._terminate)

    async def _create(self, request: Request) -> Response:
        headers = joined_headers(request)
        check_version(headers)
        creation = parse_creation(headers)
        name = next((creation.metadata[key] for key in NAMES if key in creation.metadata), "")
        kind = next((creation.metadata[key] for key in TYPES if key in creation.metadata), "")
        filename = clean_name(name) if name else "unnamed"
        details = {"metadata": creation.metadata_text}
        if creation.concatenation is not None:
            details["concat"] = creation.concatenation.text
        upload_request = UploadRequest(
            filename=filename,
            type=kept_type(kind, filename),
            method="POST",
            folders=clean_folders(name) if name else "",
        )
        record = await self.uploads.create(DIALECT, upload_request, creation.length, details)
        location = f"{request.scope.get('root_path', '')}/uploads/{record.id}"
        found = {"Location": location}
        has_bytes = essence(headers.get("content-type", "")) == OFFSET_STREAM
        if has_bytes or record.length == 0:
            async with self.uploads.hold(record.id) as held:
                if has_bytes:
                    await _take(request, held)
                record = held.record
                found |= await _finished(request, held)
                record = held.record
        if has_bytes:
            found["Upload-Offset"] = str(record.offset)
        return _response(201, found | _expires(record))

    async def _show(self, request: Request) -> Response:
        check_version(joined_headers(request))
        try:
            async with self.uploads.look(_id(request)) as held:
                _check_taken(held.record)
                await _finished(request, held)
                _check_taken(held.record)
                return _response(200, _described(held.record) | {"Cache-Control": "no-store"})
        except SluiceError as error:
            if error.status < 500:
                raise
            # Clients ask again after this one; after any other error they begin a new upload. One
            # that finds all of its bytes takes the file for stored: it learns the offset only when
            # that is true.
            log_error(error, request.method)
            raise Locked("The upload cannot be looked at now; ask again") from error

    async def _append(self, request: Request) -> Response:
        headers = joined_headers(request)
        check_version(headers)
        if essence(headers.get("content-type", "")) != OFFSET_STREAM:
            raise Unsupported(f"A PATCH of tus needs Content-Type: {OFFSET_STREAM}")
        offset = parse_offset(headers)
        async with self.uploads.hold(_id(request)) as held:
            _check_taken(held.record)
            held.check_offset(offset)
            if "upload-length" in headers:
                await _set_length(held, ascii_uint(headers["upload-length"], "Upload-Length"))
            await _take(request, held)
            found = await _finished(request, held)
            return _response(
                204, {"Upload-Offset": str(held.record.offset)} | found | _expires(held.record)
            )

    async def _terminate(self, request: Request) -> Response:
        check_version(joined_headers(request))
        async with self.uploads.hold(_id(request)) as held:
            _check_taken(held.record)
            await held.cancel("cancelled")
            return _response(204, {})


async def _answered(request: Request, step: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await step(request)
    except (SluiceError, asyncio.CancelledError) as caught:
        # Cancelled: the server stops and has waited long enough.
        error = caught if isinstance(caught, SluiceError) else Unavailable(STOPPING)
        log_error(error, request.method)
        response = problem_response(error)
        response.headers["Tus-Resumable"] = VERSION
        if isinstance(error, UnsupportedVersion):
            response.headers["Tus-Version"] = VERSION
        if isinstance(error, OffsetMismatch):
            response.headers["Upload-Offset"] = str(error.members["offset"])
        return response


async def _take(request: Request, held: HeldUpload) -> None:
    """Append the body. Raises TooLarge before its first byte where its length says so."""
    request.scope[STAGES] = held.stages, "upload"
    length, left = content_length(request), None
    if held.record.length is not None:
        left = held.record.length - held.record.offset
    if left is not None and length is not None and length > left:
        raise TooLarge(f"{left} bytes of the upload are missing; the request has {length}")
    if length == 0:
        return
    expected = parse_checksum(request.headers.get("upload-checksum"))
    source: Source = BodySource(request, held.stages)
    if length is None and left is not None:
        source = UpTo(source, left)
    try:
        await held.append(source, expected)
    except DigestMismatch as error:
        raise ChecksumMismatch(error.detail) from None
    except TooSlow as error:
        raise TooSlowForTus(error.detail) from error


async def _set_length(held: HeldUpload, length: int) -> None:
    """Raises BadRequest for another length than before, or one that is passed already."""
    if held.record.length is None and length >= held.record.offset:
        await held.set_length(length)
    elif held.record.length != length:
        raise BadRequest(
            f"The upload has {held.record.length or held.record.offset} bytes; that cannot change"
        )


async def _finished(request: Request, held: HeldUpload) -> dict[str, str]:
    """Publish a whole upload, where it is one. Returns the headers that say so."""
    response = held.record.response
    if held.record.state is LedgerState.OPEN and held.is_whole:
        if "concat" in held.record.details:
            return {}  # a part of another upload
        response = await held.finish(lambda outcome: _final(request, outcome))
        _check_taken(held.record)
    return {} if response is None else dict(response.headers)


def _final(request: Request, outcome: Entry | SluiceError) -> FinalResponse:
    if isinstance(outcome, SluiceError):
        written = write_problem(outcome)
        return FinalResponse(written.status, tuple(written.headers), written.body.decode())
    return FinalResponse(204, (("Content-Location", object_url(request, outcome.key)),))


def _check_taken(record: UploadRecord) -> None:
    """Raises Gone, and Forbidden for an upload that was refused: clients send it again after any
    409, and take one whose bytes are all there for stored."""
    if record.state is LedgerState.GONE:
        raise Gone("This upload has expired or was cancelled; begin a new one")
    if record.state is LedgerState.DONE and record.code:
        raise Forbidden("The file was refused; nothing was stored", refused=record.code)
    if record.dialect != DIALECT:
        raise NotFound("There is no such upload of tus")


def _described(record: UploadRecord) -> dict[str, str]:
    headers = {"Upload-Offset": str(record.offset)}
    if record.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(record.length)
    if record.details.get("metadata"):
        headers["Upload-Metadata"] = record.details["metadata"]
    if record.details.get("concat"):
        headers["Upload-Concat"] = record.details["concat"]
    return headers | _expires(record)


def _expires(record: UploadRecord) -> dict[str, str]:
    if record.expires is None or record.state is not LedgerState.OPEN:
        return {}
    return {"Upload-Expires": http_date(record.expires)}


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _response(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, **headers})
