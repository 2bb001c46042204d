"""Uploads that outlive a request, with the functions of the app around the service.

Every dialect creates and holds its uploads here, so each function is called once for an upload,
however many requests bring it. Knows no dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType

from starlette.requests import Request
from starlette.types import Scope

from sluiceway.server.http1.peer_gone import has_unread, input_is_over
from sluiceway.server.log.access import UPLOAD
from sluiceway.server.mounted.hooks import HOOKS, RequestHooks
from sluiceway.server.resumable.kept import note_kept
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.adopting import begin_other
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.holding import Sender
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["create_part", "create_upload", "decided", "held_upload"]


async def create_upload(
    request: Request,
    uploads: ResumableUploads,
    dialect: str,
    upload_request: UploadRequest,
    length: int | None = None,
    details: Mapping[str, str] | None = None,
    *,
    upload: str | None = None,
    part: bool = False,
) -> UploadRecord:
    """As `ResumableUploads.create`; the app decides before. `part`: only bytes of another upload.

    Raises what the app's function raises.
    """
    upload, key = upload or new_id(), upload_request.key
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if hooks is not None:
        upload_request = await hooks.start(upload, upload_request, length, part)
    record = await uploads.create(
        dialect, upload_request, length, details, upload, is_part=part, asks=not part
    )
    if hooks is not None:
        hooks.goes_on()
    if request.method == "PUT":
        await begin_other(uploads, key)
    return record


async def create_part(
    request: Request,
    uploads: ResumableUploads,
    dialect: str,
    whole: str,
    length: int | None,
    details: Mapping[str, str],
) -> UploadRecord:
    """As `ResumableUploads.create_part`. The app has decided about the whole, and hears no more."""
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if hooks is not None:
        hooks.goes_on()
    return await uploads.create_part(dialect, whole, length, details)


async def decided(
    request: Request,
    uploads: ResumableUploads,
    upload: str,
    upload_request: UploadRequest,
    length: int | None,
) -> UploadRequest:
    """What the app and the operator's hook make of an upload that begins anew.

    Raises what the app's function raises, UploadRefused, HookUnavailable.
    """
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if hooks is not None:
        upload_request = await hooks.start(upload, upload_request, length, False)
    await uploads.rules.ask_start(upload, upload_request, length)
    if hooks is not None:
        hooks.goes_on()
    return upload_request


def held_upload(
    request: Request,
    uploads: ResumableUploads,
    upload: str,
    *,
    looks: bool = False,
    brief: bool = False,
    cancels: bool = False,
) -> AbstractAsyncContextManager[HeldUpload]:
    """As `ResumableUploads.hold`, or `look`; the app hears what is kept, and how the upload ended.

    But not of uploads that are only bytes of another one.
    """
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if looks:
        return _Heard(request, hooks, uploads.look(upload, hooks, is_logged=True))
    sender = partial(_sender_of, request.scope)
    taken = uploads.hold(upload, hooks, brief, sender, cancels=cancels, is_logged=True)
    return _Heard(request, hooks, taken)


def _sender_of(scope: Scope) -> Sender:
    if input_is_over(scope):
        return Sender.LEFT
    return Sender.SENDING if has_unread(scope) else Sender.SILENT


class _Heard(AbstractAsyncContextManager[HeldUpload]):
    """No generator: each slow upload would hold one more."""

    __slots__ = ("_held", "_hooks", "_request", "_taken")

    def __init__(
        self,
        request: Request,
        hooks: RequestHooks | None,
        taken: AbstractAsyncContextManager[HeldUpload],
    ) -> None:
        self._request, self._hooks, self._taken = request, hooks, taken

    async def __aenter__(self) -> HeldUpload:
        self._held = self._request.scope[UPLOAD] = await self._taken.__aenter__()
        return self._held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        held, hooks = self._held, self._hooks
        try:
            try:
                if hooks is not None and held.has_ended and not held.record.is_part:
                    await hooks.end_held(held)
            except BaseException as failed:
                await self._taken.__aexit__(type(failed), failed, failed.__traceback__)
                raise
            return await self._taken.__aexit__(kind, error, traceback)
        finally:  # left: the last offset is written down
            if held.record.state is LedgerState.OPEN:
                note_kept(self._request.scope, held.record.offset)
