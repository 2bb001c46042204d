"""Raw bodies: PUT /files/{key} and POST /files. Reads headers, asks the upload service, responds.

It has no byte loop. Everything that can be refused is refused before the first byte of the body is
asked for (RFC 9110 10.1.1).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, TooLarge, Unsupported
from sluiceway.server.intake import PutTarget, begin_upload, publish
from sluiceway.server.request_body import BodySource, check_body, check_whole, content_length
from sluiceway.server.request_headers import (
    clean_file_name,
    conflict_terms,
    expected_digests,
    file_name,
    query_values,
)
from sluiceway.server.responses import upload_response
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import MOST_TYPE, essence, kept_type
from sluiceway.wire.headers.object_digests import wanted_digest
from sluiceway.wire.names import clean_folders, clean_name

__all__ = ["post_raw", "put_object"]

URL_ENCODED = "application/x-www-form-urlencoded"


async def put_object(request: Request, upload_service: UploadService, key: str) -> Response:
    """PUT /files/{key} with the file's bytes as its body."""
    target = await PutTarget.of(request, upload_service, key)
    name = clean_file_name(request) or clean_name(target.key)
    upload_request = _upload_request(request, name, target.key, target.replace)
    _check_length(request, upload_service)
    async with begin_upload(request, upload_service) as session:
        await session.take(BodySource(request, session.stages), upload_request)
        entries = await target.publish(request, upload_service, session)
    return upload_response(
        request, upload_service, session, entries, replaced=target.replaced(session, entries)
    )


async def post_raw(request: Request, upload_service: UploadService) -> Response:
    """POST /files with any body but a form: the server makes the key; a name is optional."""
    check_whole(request)
    _refuse_form_without_files(request)
    name = clean_file_name(request) or "unnamed"
    replace, keeps_both = Replace(), False
    if upload_service.store.traits.readable:  # else ?conflict= is a value for the next server
        replace, keeps_both = conflict_terms(request)
    upload_request = _upload_request(request, name, "", replace, keeps_both)
    _check_length(request, upload_service)
    async with begin_upload(request, upload_service) as session:
        await session.take(BodySource(request, session.stages), upload_request)
        entries = await publish(request, upload_service, session)
    return upload_response(request, upload_service, session, entries)


def _upload_request(
    request: Request, filename: str, key: str, replace: Replace, keeps_both: bool = False
) -> UploadRequest:
    check_body(request)
    expected = expected_digests(request)
    content_type = request.headers.get("content-type", "")
    if len(content_type) > MOST_TYPE:
        raise BadRequest(f"Content-Type has more than {MOST_TYPE} characters; shorten it")
    folders = "" if key else clean_folders(file_name(request) or "")
    return UploadRequest(
        key=key,
        filename=filename,
        type=kept_type(content_type, filename),
        expected=expected,
        wanted=wanted_digest(request.headers),
        method=request.method,
        values=query_values(request),
        replace=replace,
        folders=folders,
        keeps_both=keeps_both,
    )


def _refuse_form_without_files(request: Request) -> None:
    """Raises Unsupported for a page's form without enctype.

    Such a form sends the names of its files and no bytes; stored, it would look like a file. Only
    browsers send Sec-Fetch-Mode: navigate; over plain http they leave it out, but they accept
    text/html. curl --data-binary labels every file as URL-encoded, and does neither.
    """
    if essence(request.headers.get("content-type", "")) not in (URL_ENCODED, "text/plain"):
        return
    mode = request.headers.get("sec-fetch-mode", "")
    accepts_page = "text/html" in request.headers.get("accept", "").lower()
    if mode == "navigate" or (not mode and accepts_page):
        raise Unsupported(
            "This form cannot carry files: a form that sends files needs "
            'method="post" enctype="multipart/form-data". Nothing was stored'
        )


def _check_length(request: Request, upload_service: UploadService) -> None:
    length, limit = content_length(request), upload_service.max_size
    if limit is not None and length is not None and length > limit:
        raise TooLarge(
            f"The body has {length} bytes; this server takes at most {limit}", limit=limit
        )
