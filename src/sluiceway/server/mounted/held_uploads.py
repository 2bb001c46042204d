"""Uploads that outlive a request, with the functions of the app around the service.

Every dialect creates and holds its uploads here, so each function is called once for an upload,
however many requests bring it. Knows no dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request

from sluiceway.server.http1.peer_gone import input_is_over
from sluiceway.server.log.access import UPLOAD
from sluiceway.server.mounted.hooks import HOOKS, RequestHooks
from sluiceway.server.resumable.kept import note_kept
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["create_part", "create_upload", "decided", "held_upload"]


async def create_upload(
    request: Request,
    uploads: ResumableUploads,
    dialect: str,
    wanted: UploadRequest,
    length: int | None = None,
    details: Mapping[str, str] | None = None,
    *,
    upload: str | None = None,
    part: bool = False,
) -> UploadRecord:
    """As `ResumableUploads.create`; the app decides before. `part`: only bytes of another upload.

    Raises what the app's function raises.
    """
    upload = upload or new_id()
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if hooks is not None:
        wanted = await hooks.start(upload, wanted, length, part)
    record = await uploads.create(
        dialect, wanted, length, details, upload, is_part=part, asks=not part
    )
    if hooks is not None:
        hooks.goes_on()
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
    wanted: UploadRequest,
    length: int | None,
) -> UploadRequest:
    """What the app and the operator's hook make of an upload that begins anew.

    Raises what the app's function raises, UploadRefused, HookUnavailable.
    """
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if hooks is not None:
        wanted = await hooks.start(upload, wanted, length, False)
    await uploads.rules.ask_start(upload, wanted, length)
    if hooks is not None:
        hooks.goes_on()
    return wanted


@asynccontextmanager
async def held_upload(
    request: Request,
    uploads: ResumableUploads,
    upload: str,
    *,
    looks: bool = False,
    brief: bool = False,
    cancels: bool = False,
) -> AsyncIterator[HeldUpload]:
    """As `ResumableUploads.hold`, or `look`; the app hears what is kept, and how the upload ended.

    But not of uploads that are only bytes of another one.
    """
    hooks: RequestHooks | None = request.scope.get(HOOKS)
    if looks:
        taken = uploads.look(upload, hooks, is_logged=True)
    else:
        ends = partial(input_is_over, request.scope)
        taken = uploads.hold(upload, hooks, brief, ends, cancels=cancels, is_logged=True)
    found: HeldUpload | None = None
    try:
        async with taken as held:
            found = request.scope[UPLOAD] = held
            try:
                yield held
            finally:
                if hooks is not None and held.has_ended and not held.record.is_part:
                    await hooks.end_held(held)
    finally:  # left: the last offset is written down
        if found is not None and found.record.state is LedgerState.OPEN:
            note_kept(request.scope, found.record.offset)
