"""What every response of a resumable upload has: its fields, its limits, its errors.

`wire.resumable` writes the fields. Knows records of the ledger, and no store.
"""

from __future__ import annotations

from math import floor

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import Gone, NotFound, OffsetMismatch, SluiceError, TooLarge
from sluiceway.server.request_headers import joined_headers
from sluiceway.server.responses import problem_response
from sluiceway.server.resumable.kept import KEPT, kept_offset, upload_of_error
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.wire.resumable import (
    FINAL_FORM,
    MOST_SF_INTEGER,
    ProtocolVersion,
    UploadLimits,
    parse_version,
    write_fields,
)

__all__ = [
    "DIALECT",
    "check_active",
    "check_dialect",
    "fields_of",
    "limits_of",
    "no_limits",
    "offset_mismatch",
    "refusal",
    "replayed",
    "upload_url",
    "version_or_final",
]

DIALECT = "resumable"


def upload_url(request: Request, upload: str) -> str:
    """The path of an upload, below the path the app is mounted at."""
    return f"{request.scope.get('root_path', '')}/uploads/{upload}"


def limits_of(uploads: ResumableUploads, record: UploadRecord | None = None) -> UploadLimits:
    """What an upload may have; without one, what each may."""
    seconds = uploads.expiry.after
    if record is not None and record.state is LedgerState.DONE:
        seconds = None  # it needs no time: that after which its answer is forgotten is no limit
    elif record is not None:
        seconds = (
            None if record.expires is None else max(0.0, record.expires - uploads.ledger.now())
        )
    return UploadLimits(uploads.max_size, None if seconds is None else floor(seconds))


def no_limits(max_size: int | None) -> UploadLimits:
    """Of a destination that keeps no pieces: nothing is resumable."""
    return UploadLimits(max_size, min_size=MOST_SF_INTEGER)


def fields_of(
    version: ProtocolVersion, uploads: ResumableUploads, record: UploadRecord
) -> dict[str, str]:
    """The fields of a response about an upload."""
    return write_fields(
        version,
        offset=record.offset,
        complete=record.state is LedgerState.DONE,
        length=record.length,
        limits=limits_of(uploads, record),
    )


def version_or_final(request: Request) -> ProtocolVersion:
    """The version of a request that is answered in any case."""
    try:
        return parse_version(joined_headers(request))
    except SluiceError:
        return FINAL_FORM


def check_dialect(record: UploadRecord) -> None:
    """Raises NotFound for the upload of another protocol."""
    if record.dialect != DIALECT:
        raise NotFound("There is no such resumable upload")


def check_active(version: ProtocolVersion, record: UploadRecord) -> None:
    """Raises Gone, or NotFound where the version asks for it."""
    if record.state is LedgerState.GONE:
        text = "This upload has expired, was cancelled or lost, or got more bytes than it has"
        raise NotFound(text) if version.forgets_ended else Gone(text)


def offset_mismatch(record: UploadRecord, provided: int) -> OffsetMismatch:
    """The error of an append at another offset."""
    return OffsetMismatch(
        f"The upload goes on at byte {record.offset}, not at {provided}",
        **{"expected-offset": record.offset, "provided-offset": provided},
    )


def replayed(response: FinalResponse, fields: dict[str, str]) -> Response:
    """The final response of an upload, with the fields of this request's version."""
    replay = Response(response.body, response.status)
    for name in list(replay.headers):
        if name != "content-length":
            del replay.headers[name]
    for name, value in (*response.headers, *fields.items()):
        replay.headers[name] = value
    return replay


async def refusal(request: Request, uploads: ResumableUploads, error: SluiceError) -> Response:
    """The response to an error. It says by Upload-Complete: ?0 that it comes from the upload's
    protocol, so that its client may go on, and where: -01 to -05 ask for the offset."""
    response = problem_response(error)
    fields = write_fields(
        version_or_final(request),
        offset=await _offset_beside(error, request, uploads),
        complete=False,
        limits=limits_of(uploads) if isinstance(error, TooLarge) else None,
    )
    for name, value in fields.items():
        response.headers[name] = value
    return response


async def _offset_beside(
    error: SluiceError, request: Request, uploads: ResumableUploads
) -> int | None:
    """Where the upload of a refused request goes on; None where it does not, or where its client
    does not know its URL: then a creation has noted that nothing is kept."""
    if (offset := kept_offset(error)) is not None:
        return offset
    record = await upload_of_error(request, uploads)
    if record is None or record.dialect != DIALECT or record.state is LedgerState.GONE:
        return None
    is_creation = "id" not in request.scope.get("path_params", {})
    return None if is_creation and not request.scope.get(KEPT) else record.offset
