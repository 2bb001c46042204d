"""What every intake does around its bytes: an id and a place on the board first, then a publish nobody waits for in vain."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from sluiceway.errors import BodyCut
from sluiceway.server.door.auth import STAGES
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.request_body import content_length, wait_until_gone
from sluiceway.stores.contract import Entry
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession

__all__ = ["published", "query_values", "received"]

OURS = frozenset(["upload", "name"])  # parameters of the query that speak to this server


def received(
    request: Request, upload_service: UploadService, length: int | None = None
) -> UploadSession:
    """Begin an upload under the id the client chose by ?upload=, or a fresh one; `length` where the request's is not it."""
    chosen = request.query_params.get("upload")
    upload = None if chosen is None else checked_id(chosen)
    incoming = upload_service.receive(upload, content_length(request) if length is None else length)
    if (protocol := request.scope.get(PROTOCOL)) is not None:
        incoming.client_left = protocol.client_left
    request.scope[STAGES] = incoming.stages, upload_service.store.traits.name
    return incoming


async def published(
    request: Request, upload_service: UploadService, incoming: UploadSession
) -> list[Entry]:
    """Make the files visible. Where another server has to say yes and the client leaves meanwhile, that request ends, too."""
    if not upload_service.store.traits.remote:
        return await incoming.publish()

    def stop(gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            incoming.stop(BodyCut("The client left before the destination had answered"))

    gone = asyncio.ensure_future(wait_until_gone(request.receive))
    gone.add_done_callback(stop)
    try:
        return await incoming.publish()
    finally:
        gone.cancel()


def query_values(request: Request) -> dict[str, str]:
    """Parameters of the query that are not for this server."""
    return {name: value for name, value in request.query_params.items() if name not in OURS}
