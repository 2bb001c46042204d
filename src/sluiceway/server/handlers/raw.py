"""Raw bodies: PUT /files/{key} and POST /files. Reads headers, asks the upload service, writes headers; it has no byte loop.

Everything that can be refused is refused before the first byte of the body is asked for (RFC 9110 10.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, Exists, NotFound, PreconditionFailed, TooLarge, Unsupported
from sluiceway.server.intake import published, query_values, received
from sluiceway.server.request_body import body_source, check_body, check_whole, content_length
from sluiceway.server.responses import upload_answer
from sluiceway.stores.contract import Entry, Replace, UploadRequest
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.headers.conditions import PutTerms, Verdict, evaluate, join_fields, put_replace
from sluiceway.wire.headers.disposition import parse_disposition
from sluiceway.wire.headers.media_types import MOST_TYPE, essence, kept_type
from sluiceway.wire.names import check_key, clean_folders, clean_name

__all__ = [
    "Target",
    "conditions",
    "expected_digests",
    "name_told",
    "post_raw",
    "put_object",
    "replace_for",
]

URL_ENCODED = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Target:
    """The object a PUT names: its key, whether one is there now, and whether that may be replaced."""

    key: str
    there: bool
    replace: Replace

    @classmethod
    async def of(cls, request: Request, upload_service: UploadService, key: str) -> Target:
        """Raises BadName, BadRequest, PreconditionFailed; an object that is there is replaced unless a condition forbids it."""
        key = check_key(key, upload_service.store.traits.max_key_bytes)
        check_whole(request)
        if (
            not upload_service.store.traits.readable
        ):  # only the destination knows what is there: it gets the condition
            return cls(key, False, _replace_over_there(request))
        there = await _stat(upload_service, key)
        return cls(key, there is not None, replace_for(request, there))

    async def publish(
        self, request: Request, upload_service: UploadService, incoming: UploadSession
    ) -> list[Entry]:
        try:
            return await published(request, upload_service, incoming)
        except Exists as error:
            if self.replace.allowed:
                raise
            raise PreconditionFailed(
                error.detail
            ) from None  # another client was quicker: still If-None-Match's no


async def put_object(request: Request, upload_service: UploadService, key: str) -> Response:
    """PUT /files/{key} with the file's bytes as its body."""
    target = await Target.of(request, upload_service, key)
    upload_request = _upload_request(
        request, name_told(request) or clean_name(target.key), target.key, target.replace
    )
    _check_length(request, upload_service)
    async with received(request, upload_service) as incoming:
        await incoming.take(body_source(request, incoming.stages), upload_request)
        entries = await target.publish(request, upload_service, incoming)
    return upload_answer(request, upload_service, incoming, entries, replaced=target.there)


async def post_raw(request: Request, upload_service: UploadService) -> Response:
    """POST /files with anything but a form: the server makes the key, the client may give a name."""
    check_whole(request)
    _refuse_form_without_files(request)
    upload_request = _upload_request(request, name_told(request) or "unnamed", None, Replace())
    _check_length(request, upload_service)
    async with received(request, upload_service) as incoming:
        await incoming.take(body_source(request, incoming.stages), upload_request)
        entries = await published(request, upload_service, incoming)
    return upload_answer(request, upload_service, incoming, entries)


def conditions(request: Request) -> dict[str, str]:
    """The headers with field lines sent twice joined, as preconditions are read (RFC 9110 5.2)."""
    return join_fields(request.headers.raw)


def replace_for(request: Request, there: Entry | None) -> Replace:
    """What If-Match and its relatives allow, checked now and kept by the store at the end. Raises PreconditionFailed."""
    headers = conditions(request)
    etag, modified = (there.etag, there.modified) if there else (None, None)
    if evaluate(request.method, headers, etag, modified, there is not None) is not Verdict.GO:
        state = "exists already" if there else "does not exist"
        raise PreconditionFailed(
            f"The object {state}, or is not the version you named; nothing was changed"
        )
    terms: PutTerms = put_replace(headers)
    if terms.create_only:
        return Replace()
    if there and (terms.any_existing or terms.etags is not None):
        return Replace(allowed=True, etag=there.etag)
    return Replace(allowed=True)


def expected_digests(request: Request) -> dict[str, bytes]:
    """What the bytes of the whole body must hash to, by algorithm. Raises BadDigest, BadRequest."""
    return expected_of(conditions(request))


def _replace_over_there(request: Request) -> Replace:
    """If-Match and If-None-Match as a destination that cannot be looked into is told them."""
    terms = put_replace(conditions(request))
    if terms.create_only:
        return Replace()
    if terms.any_existing or (terms.etags is not None and len(terms.etags) != 1):
        raise BadRequest(
            "This server passes files on: it can pass on If-None-Match: * or an If-Match with one tag"
        )
    return Replace(allowed=True, etag=terms.etags[0] if terms.etags else None)


async def _stat(upload_service: UploadService, key: str) -> Entry | None:
    try:
        return await upload_service.store.stat(key)
    except NotFound:
        return None


def _upload_request(
    request: Request, filename: str, key: str | None, replace: Replace
) -> UploadRequest:
    check_body(request)
    expected = expected_digests(request)
    told = request.headers.get("content-type", "")
    if len(told) > MOST_TYPE:
        raise BadRequest(f"Content-Type has more than {MOST_TYPE} characters; shorten it")
    kind = kept_type(told, filename)
    folders = "" if key is not None else clean_folders(_name_as_sent(request) or "")
    return UploadRequest(
        key=key or "",
        filename=filename,
        type=kind,
        expected=expected,
        method=request.method,
        values=query_values(request),
        replace=replace,
        folders=folders,
    )


def name_told(request: Request) -> str | None:
    """The name from ?name=, else from Content-Disposition; cleaned."""
    name = _name_as_sent(request)
    return clean_name(name) if name else None


def _name_as_sent(request: Request) -> str | None:
    name = request.query_params.get("name")
    if not name and "content-disposition" in request.headers:
        name = parse_disposition(request.headers["content-disposition"]).filename
    return name


def _refuse_form_without_files(request: Request) -> None:
    """A page's form without enctype sends the names of its files and none of their bytes: stored, it would pass for a file.

    Only browsers say that they navigate; over plain http they do not say it, but ask for a page. curl --data-binary, which
    calls every file URL-encoded, does neither.
    """
    if essence(request.headers.get("content-type", "")) not in (URL_ENCODED, "text/plain"):
        return
    mode = request.headers.get("sec-fetch-mode", "")
    asks_for_page = "text/html" in request.headers.get("accept", "").lower()
    if mode == "navigate" or (not mode and asks_for_page):
        raise Unsupported(
            'This form cannot carry files: a form that sends files says method="post" enctype="multipart/form-data". '
            "Nothing was stored"
        )


def _check_length(request: Request, upload_service: UploadService) -> None:
    length = content_length(request)
    if (
        upload_service.max_size is not None
        and length is not None
        and length > upload_service.max_size
    ):
        raise TooLarge(
            f"The body has {length} bytes; this server takes at most {upload_service.max_size}",
            limit=upload_service.max_size,
        )
