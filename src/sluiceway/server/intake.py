"""What every handler that takes files does around their bytes: begin an upload, publish its files.

Knows no format of a body.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from sluiceway.errors import BodyCut, Exists, NotFound, PreconditionFailed
from sluiceway.server.door.auth import STAGES
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.mounted.hooks import HOOKS
from sluiceway.server.request_body import check_whole, content_length
from sluiceway.server.request_headers import relayed_replace, replace_for
from sluiceway.server.streaming import on_client_leaving
from sluiceway.stores.contract import Entry, Replace
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.headers.conditions import has_conditions
from sluiceway.wire.names import check_key

__all__ = ["PutTarget", "begin_upload", "publish"]

# Bytes. Before a larger body the key is looked up, so that a refusal saves its client the sending.
# For a smaller one the look would be a fifth of its time, and publishing finds out the same.
LOOK_FROM = 1 << 20


def begin_upload(
    request: Request, upload_service: UploadService, length: int | None = None
) -> UploadSession:
    """Begin an upload under the id from ?upload=, or a fresh one.

    `length` is the bytes that will come, where Content-Length does not say it.
    """
    chosen = request.query_params.get("upload")
    upload = None if chosen is None else checked_id(chosen)
    session = upload_service.receive(upload, content_length(request) if length is None else length)
    if (protocol := request.scope.get(PROTOCOL)) is not None:
        session.client_left = protocol.client_left
    if (hooks := request.scope.get(HOOKS)) is not None:
        hooks.watch(session)
    request.scope[STAGES] = session.stages, upload_service.store.traits.name
    return session


async def publish(
    request: Request, upload_service: UploadService, session: UploadSession
) -> list[Entry]:
    """Make the files visible.

    Where another server has to accept them and the client leaves meanwhile, the request to that
    server is ended too.
    """
    if not upload_service.store.traits.remote:
        return await session.publish()
    gone = BodyCut("The client left before the destination had answered")
    with on_client_leaving(request.receive, lambda: session.stop(gone)):
        return await session.publish()


@dataclass(frozen=True, slots=True)
class PutTarget:
    """The object that a PUT names: its key, whether it was seen, and whether it may be replaced."""

    key: str
    exists: bool
    replace: Replace

    @classmethod
    async def of(cls, request: Request, upload_service: UploadService, key: str) -> PutTarget:
        """An object that exists is replaced unless a condition forbids it.

        Raises BadName, BadRequest, PreconditionFailed.
        """
        store = upload_service.store
        key = check_key(key, store.traits.max_key_bytes)
        check_whole(request)
        if not store.traits.readable:  # only the destination can check the condition
            return cls(key, False, relayed_replace(request))
        if store.traits.tells_replaced and not _is_worth_a_look(request):
            return cls(key, False, Replace(allowed=True))
        try:
            existing = await store.stat(key)
        except NotFound:
            existing = None
        return cls(key, existing is not None, replace_for(request, existing))

    def replaced(self, session: UploadSession, entries: list[Entry]) -> bool:
        """Whether an object was replaced; an app may have chosen another key."""
        keys = [entry.key for entry in entries]
        if session.tells_replaced:
            return not session.replaced.isdisjoint(keys)
        return self.exists and keys == [self.key]

    async def publish(
        self, request: Request, upload_service: UploadService, session: UploadSession
    ) -> list[Entry]:
        """As `publish` of this module. Raises PreconditionFailed if another client was faster."""
        try:
            return await publish(request, upload_service, session)
        except Exists as error:
            if self.replace.allowed:
                raise
            raise PreconditionFailed(error.detail) from None  # If-None-Match: * still fails


def _is_worth_a_look(request: Request) -> bool:
    """Whether the object is looked up before the body comes, and not only when it is replaced."""
    headers, length = request.headers, content_length(request)
    large = length is None or length >= LOOK_FROM or "expect" in headers
    return large or has_conditions(headers.raw)
