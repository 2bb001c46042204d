"""Which protocol of resumable uploads a request speaks, and its handler.

The one place that tells them apart; a request of none is left to the other handlers.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.server.handlers.progress import cancel_upload
from sluiceway.server.handlers.tus import TusHandler, is_tus
from sluiceway.uploads.service import UploadService

__all__ = ["append", "cancel", "create", "show_offset", "show_options"]


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
    if upload_service.resumable is not None and is_tus(request):
        return await TusHandler(upload_service.resumable).show(request)
    return None


async def append(request: Request, upload_service: UploadService) -> Response:
    """PATCH of an upload. Raises NotFound where no upload outlives its request."""
    if upload_service.resumable is None:
        raise NotFound("This server keeps no pieces of files; send the whole file in one request")
    return await TusHandler(upload_service.resumable).append(request)


async def cancel(request: Request, upload_service: UploadService) -> Response:
    """DELETE of an upload, of whichever kind."""
    if upload_service.resumable is not None and is_tus(request):
        return await TusHandler(upload_service.resumable).terminate(request)
    return await cancel_upload(upload_service, request.path_params["id"])
