"""Which protocol of resumable uploads a request speaks, and its handler.

The one place that tells them apart; a request of none is left to the other handlers.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.server.handlers.progress import NOTHING_TO_CANCEL, cancel_upload
from sluiceway.server.handlers.tus import DIALECT, TusHandler, is_tus
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.resting import resting_snapshot
from sluiceway.uploads.service import UploadService

__all__ = ["append", "cancel", "create", "find_resting", "is_append", "show_offset", "show_options"]


def show_options(upload_service: UploadService) -> Response:
    """OPTIONS of /files and /uploads/{id}: what is spoken here."""
    if upload_service.resumable is None:
        return Response(status_code=204)
    return TusHandler(upload_service.resumable).options()


async def create(request: Request, upload_service: UploadService) -> Response | None:
    """A POST that begins an upload; None for one that brings a whole file."""
    if upload_service.resumable is not None and is_tus(request):
        return await TusHandler(upload_service.resumable).create(request)
    return None


async def show_offset(request: Request, upload_service: UploadService) -> Response | None:
    """HEAD of an upload; None for a request that asks for its progress."""
    if (uploads := upload_service.resumable) is None:
        return None
    record = None if is_tus(request) else await uploads.ledger.find(request.path_params["id"])
    if is_tus(request) or (record is not None and record.dialect == DIALECT):
        return await TusHandler(uploads).show(request)
    return None


def is_append(request: Request) -> bool:
    """Whether a PATCH is one of a protocol of uploads at all."""
    headers = request.headers
    return is_tus(request) or "upload-offset" in headers or "upload-complete" in headers


async def append(request: Request, upload_service: UploadService) -> Response:
    """PATCH of an upload. Raises NotFound where no upload outlives its request."""
    if upload_service.resumable is None:
        raise NotFound("This server keeps no pieces of files; send the whole file in one request")
    return await TusHandler(upload_service.resumable).append(request)


async def cancel(request: Request, upload_service: UploadService) -> Response:
    """DELETE of an upload, of whichever kind. Raises NotFound for one that has ended."""
    upload: str = checked_id(request.path_params["id"])
    if (uploads := upload_service.resumable) is None:
        return await cancel_upload(upload_service, upload)
    if is_tus(request):
        return await TusHandler(uploads).terminate(request)
    if await uploads.ledger.find(upload) is None:
        return await cancel_upload(upload_service, upload)
    async with uploads.hold(upload) as held:
        if held.record.state in (LedgerState.DONE, LedgerState.GONE):
            raise NotFound(NOTHING_TO_CANCEL)
        await held.cancel("cancelled")
    return Response(status_code=204)


async def find_resting(upload: str, upload_service: UploadService) -> Mapping[str, object] | None:
    """What the ledger knows of an upload; None for none."""
    if upload_service.resumable is None:
        return None
    record = await upload_service.resumable.ledger.find(upload)
    return None if record is None else resting_snapshot(record)
