"""Which protocol of resumable uploads a request speaks, and its handler.

The one place that tells them apart; a request of none is left to the other handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, NotFound, Unavailable
from sluiceway.server.door.counted_send import MORE_HEADERS
from sluiceway.server.door.indexed_request import is_ordinary
from sluiceway.server.handlers.forms import is_form
from sluiceway.server.handlers.imports import may_be_import_request
from sluiceway.server.handlers.progress import NOTHING_TO_CANCEL, cancel_upload
from sluiceway.server.handlers.resumable_creation import Creation
from sluiceway.server.handlers.resumable_upload import ResumableHandler, limits_here, show_limits
from sluiceway.server.handlers.tus import TusHandler, is_tus, names_file
from sluiceway.server.mounted.held_uploads import held_upload
from sluiceway.server.resumable.fields import DIALECT, fields_of, version_or_final
from sluiceway.server.resumable.kept import answered
from sluiceway.server.resumable.tus_responses import DIALECT as TUS
from sluiceway.uploads.keys import is_id
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.resting import resting_snapshot
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import essence
from sluiceway.wire.resumable import PARTIAL_UPLOAD, is_creation, write_fields
from sluiceway.wire.tus import OFFSET_STREAM, VERSION

__all__ = [
    "append",
    "cancel",
    "correct_path",
    "create",
    "find_resting",
    "in_dialect",
    "in_version",
    "is_append",
    "offset_fields",
    "show_offset",
    "show_options",
]

WHOLE_ONLY = "This server keeps no pieces of files; send the whole file in one request"
APPENDED = "/files/uploads/"  # where aiotus looks for an upload


async def show_options(request: Request, upload_service: UploadService) -> Response:
    """OPTIONS of /files, /files/{key} and /uploads/{id}: what is spoken here."""
    response = Response(status_code=204)
    try:
        uploads = await upload_service.resumable_now()
    except Unavailable:  # of another server; a creation says so in words
        uploads = upload_service.resumable
    if uploads is not None:
        response = TusHandler(request, upload_service, uploads).options()
    for name, value in show_limits(request, uploads, upload_service.max_size).items():
        response.headers[name] = value
    return response


async def create(
    request: Request, upload_service: UploadService, interim: str, key: str | None = None
) -> Response | None:
    """A POST, or a PUT to `key`, that begins an upload; None for one that brings a whole file.

    `interim` is the setting. Raises BadRequest for a request that cannot be understood.
    """
    if is_tus(request) if key is None else names_file(request):
        if (uploads := await upload_service.resumable_now()) is None:
            raise BadRequest(
                "This server keeps no pieces of files; send the whole file in one request, "
                "without Tus-Resumable"
            )
        handler = TusHandler(request, upload_service, uploads)
        return await answered(request.scope, handler.create(key), handler.refused)
    if not is_creation(request.headers):
        return None
    creation = Creation(request, interim)
    uploads = await upload_service.resumable_now()
    may_resume = uploads is not None and creation.may_announce
    is_import = key is None and may_be_import_request(request)
    if is_form(request) or (creation.complete and (is_import or not may_resume)):
        creation.is_whole(limits_here(uploads, upload_service.max_size))
        return None
    return await creation.respond(upload_service, uploads, key)


async def show_offset(request: Request, upload_service: UploadService) -> Response:
    """HEAD of an upload. Its progress is in the body of GET: where no offset is known there is no
    upload for a HEAD. Raises NotFound where no upload outlives its request."""
    if (uploads := upload_service.resumable) is None:
        raise NotFound(WHOLE_ONLY)
    handler: TusHandler | ResumableHandler
    record = None if is_tus(request) else await uploads.look_up(request.path_params["id"])
    if is_tus(request) or (record is not None and record.dialect == TUS):
        handler = TusHandler(request, upload_service, uploads)
    else:
        handler = ResumableHandler(request, upload_service, uploads)
    return await answered(request.scope, handler.show(), handler.refused)


async def offset_fields(request: Request, upload_service: UploadService) -> Mapping[str, str]:
    """What GET of a resumable upload says beside its progress: the headers of HEAD.

    A client that names its version asks where to go on, so a request that still sends is
    interrupted. Any other one may only watch: it learns no offset that is about to move.
    """
    uploads = upload_service.resumable
    if uploads is None or is_tus(request):
        return {}
    record = await uploads.look_up(request.path_params["id"])
    if record is None or record.dialect != DIALECT or record.state is LedgerState.GONE:
        return {}
    version = version_or_final(request)
    if version.number is not None:
        record = await uploads.at_rest(record.id)
    fields = fields_of(version, uploads, record)
    if record.state is LedgerState.OPEN and record.holder:
        del fields["Upload-Offset"]
    return fields


async def in_version(request: Request, response: Awaitable[Response]) -> Response:
    """With the version of tus, if the request had one: each response names it."""
    found = await response
    if "tus-resumable" in request.headers:
        found.headers["Tus-Resumable"] = VERSION
    return found


def in_dialect(request: Request, response: Response) -> Response:
    """An error that no handler of a dialect saw, as its client has to get it: with the version of
    tus, or with the word that the protocol of uploads says it."""
    if is_ordinary(request):
        return response
    if "tus-resumable" in request.headers:
        response.headers["Tus-Resumable"] = VERSION
    elif is_creation(request.headers) and MORE_HEADERS not in request.scope:
        fields = write_fields(version_or_final(request), offset=None, complete=False)
        for name, value in fields.items():
            response.headers[name] = value
    return response


def correct_path(request: Request) -> None:
    """A creation may come to `/files/`, and OPTIONS to `*`, which is the whole server. Some clients
    of tus append a relative Location to the URL that they sent the creation to."""
    root = request.scope.get("root_path", "")
    target = request.method, request.scope["path"].removeprefix(root)
    if target in (("POST", "/files/"), ("OPTIONS", "*")):
        request.scope["path"] = f"{root}/files"
    wrong = f"{root}{APPENDED}"
    if "tus-resumable" in request.headers and request.scope["path"].startswith(wrong):
        upload = request.scope["path"].removeprefix(wrong)
        request.scope["path"] = f"{root}/uploads/{upload}"


def is_append(request: Request) -> bool:
    """Whether a PATCH is one of a protocol of uploads at all."""
    headers = request.headers
    kind = essence(headers.get("content-type", ""))
    return (
        is_tus(request)
        or "upload-offset" in headers
        or is_creation(headers)
        or kind in (OFFSET_STREAM, PARTIAL_UPLOAD)
    )


def append(request: Request, upload_service: UploadService, interim: str) -> Awaitable[Response]:
    """PATCH of an upload. Raises NotFound where no upload outlives its request."""
    uploads = upload_service.resumable
    if uploads is None:
        raise NotFound(WHOLE_ONLY)
    handler: TusHandler | ResumableHandler
    if is_tus(request):
        handler = TusHandler(request, upload_service, uploads)
    else:
        handler = ResumableHandler(request, upload_service, uploads, interim)
    return answered(request.scope, handler.append(), handler.refused)


async def cancel(request: Request, upload_service: UploadService) -> Response:
    """DELETE of an upload, of whichever kind. Raises NotFound for one that has ended."""
    upload: str = request.path_params["id"]
    if not is_id(upload):
        raise NotFound(NOTHING_TO_CANCEL)
    if (uploads := upload_service.resumable) is None:
        return await cancel_upload(upload_service, upload)
    handler: TusHandler | ResumableHandler
    if is_tus(request):
        handler = TusHandler(request, upload_service, uploads)
        return await answered(request.scope, handler.cancel(), handler.refused)
    if (record := await uploads.look_up(upload)) is None:
        return await cancel_upload(upload_service, upload)
    if record.dialect == DIALECT:
        handler = ResumableHandler(request, upload_service, uploads)
        return await answered(request.scope, handler.cancel(), handler.refused)
    async with held_upload(request, uploads, upload, cancels=True) as held:
        if held.record.state in (LedgerState.DONE, LedgerState.GONE):
            raise NotFound(NOTHING_TO_CANCEL)
        await held.cancel("cancelled")
    return Response(status_code=204)


async def find_resting(upload: str, upload_service: UploadService) -> Mapping[str, object] | None:
    """What the ledger knows of an upload; None for none."""
    if upload_service.resumable is None:
        return None
    record = await upload_service.resumable.look_up(upload)
    return None if record is None else resting_snapshot(record, upload_service.resumable.store)
