"""What a request of tus gets: each response names the version, errors included.

The rules behind the statuses are those of real clients: after which they send again, and after
which they begin anew.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import (
    DigestMismatch,
    Forbidden,
    Gone,
    NotFound,
    SluiceError,
    TooLarge,
    TooSlow,
)
from sluiceway.server.operator_log import CODE
from sluiceway.server.responses import object_url, problem_response, time_headers
from sluiceway.server.resumable.content import as_final
from sluiceway.server.resumable.kept import kept_offset, upload_of_error
from sluiceway.stores.contract import Entry
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.wire.headers.http_dates import http_date
from sluiceway.wire.tus import VERSION, UnsupportedVersion

__all__ = [
    "DIALECT",
    "ChecksumMismatch",
    "FinallyRefused",
    "TooSlowForTus",
    "check_taken",
    "described",
    "expires",
    "final_response",
    "refusal",
    "stored_at",
    "tus_response",
]

DIALECT = "tus"
SENT_AGAIN = (409, 423)  # statuses after which clients send the same again


class ChecksumMismatch(
    DigestMismatch, code="digest-mismatch", status=460, title="Checksum Mismatch"
): ...


class FinallyRefused(Forbidden, code="forbidden", title="The file was refused"):
    """An upload that ended with a refusal, which a repeated request gets again.

    But 403 for those after which clients send again, as any 409: one whose bytes are all there
    would then pass for stored.
    """

    def __init__(self, record: UploadRecord) -> None:
        super().__init__("The file was refused; nothing was stored", refused=record.code)
        found = record.response
        if found is not None and (found.status in SENT_AGAIN or found.status >= 500):
            found = None
        self.response: FinalResponse | None = found  # to repeat
        self.answered_code: str = self.code if found is None else record.code

    def as_response(self) -> Response:
        if (found := self.response) is None:
            return problem_response(self)
        return Response(found.body, found.status, dict(found.headers))


class TooSlowForTus(TooSlow, code="too-slow", status=423, title="No bytes arrived for too long"):
    """Not 408, as elsewhere: tus-js-client, Uppy and tus-java-client give up after each 4xx but 423
    (two of them but 409, too), and go on after that."""


async def refusal(request: Request, uploads: ResumableUploads, error: SluiceError) -> Response:
    """The response to an error, which says how long the upload lives, too."""
    if isinstance(error, FinallyRefused):
        response = error.as_response()
        request.scope[CODE] = error.answered_code
    else:
        response = problem_response(error)
    response.headers["Tus-Resumable"] = VERSION
    if isinstance(error, UnsupportedVersion):
        response.headers["Tus-Version"] = VERSION
    if (offset := kept_offset(error)) is not None:
        response.headers["Upload-Offset"] = str(offset)
    if isinstance(error, TooLarge) and uploads.max_size is not None:
        response.headers["Tus-Max-Size"] = str(uploads.max_size)
    record = await upload_of_error(request, uploads)
    if record is not None and record.dialect == DIALECT:
        for name, value in expires(record).items():
            response.headers[name] = value
    return response


def final_response(request: Request, outcome: Entry | SluiceError) -> FinalResponse:
    if isinstance(outcome, SluiceError):
        return as_final(problem_response(outcome), {})
    if outcome.reply is not None:  # the file is at another server, which may have said where
        place = outcome.reply.headers.get("location")
        return FinalResponse(204, () if place is None else (("Content-Location", place),))
    headers = (stored_at(request, outcome.key), *time_headers(outcome).items())
    return FinalResponse(204, headers)


def stored_at(request: Request, key: str) -> tuple[str, str]:
    """The header that says where the file is."""
    return "Content-Location", object_url(request, key)


def check_taken(record: UploadRecord) -> None:
    """Raises Gone, FinallyRefused, and NotFound for an upload of another protocol."""
    if record.state is LedgerState.GONE:
        raise Gone("This upload has expired, was cancelled or was lost; begin a new one")
    if record.state is LedgerState.DONE and record.code:
        raise FinallyRefused(record)
    if record.dialect != DIALECT:
        raise NotFound("There is no such upload of tus")


def described(record: UploadRecord) -> dict[str, str]:
    headers = {}
    if "parts" not in record.details or record.state is LedgerState.DONE:  # else not joined yet
        headers["Upload-Offset"] = str(record.offset)
    if record.length is not None:
        headers["Upload-Length"] = str(record.length)
    elif "parts" not in record.details:
        headers["Upload-Defer-Length"] = "1"
    if record.details.get("metadata"):
        headers["Upload-Metadata"] = record.details["metadata"]
    if record.details.get("concat"):
        headers["Upload-Concat"] = record.details["concat"]
    return headers | expires(record)


def expires(record: UploadRecord) -> dict[str, str]:
    if record.expires is None or record.state is not LedgerState.OPEN:
        return {}
    return {"Upload-Expires": http_date(record.expires)}


def tus_response(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, **headers})
