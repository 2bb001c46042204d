"""What a client learns of a request that was cut or stopped: what is kept, and what can go on.

The errors are raised where nobody knows that, and say that nothing was stored. Knows no dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sluiceway.errors import BodyCut, SluiceError, Unavailable
from sluiceway.server.log.access import UPLOAD
from sluiceway.server.mounted.hooks import HOOKS, HookFailed
from sluiceway.server.operator_log import answered_with
from sluiceway.server.request_body import BROKEN
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.session import STOPPED

__all__ = ["FORM", "KEPT", "answered", "kept_offset", "note_kept", "upload_of_error", "with_kept"]

# In the scope of a request: bytes of its upload that are kept, and from which its client can go on.
KEPT = "sluiceway.kept"
# In the scope of a form, where the same file by another way could go on.
FORM = "sluiceway.form"

_OTHER_WAYS = (
    "a form cannot go on after a cut. Send it again, or each file as it is: a PUT to /files/NAME, "
    "tus and resumable uploads can go on"
)


def note_kept(scope: Scope, offset: int) -> None:
    """Only the first call counts: 0 for a client that does not know where it could go on."""
    scope.setdefault(KEPT, offset)


def kept_offset(error: SluiceError) -> int | None:
    """What the error says is kept: where the upload goes on, or went on when a newer request took
    it. None for one that does not say it."""
    offset = error.members.get("expected-offset", error.members.get("offset"))
    return offset if isinstance(offset, int) else None


async def upload_of_error(request: Request, uploads: ResumableUploads) -> UploadRecord | None:
    """The upload that a refused request is about, as far as its client may know of it: with the
    offset that is kept, or was when a newer request took it up. None where there is none."""
    held = request.scope.get(UPLOAD)
    if isinstance(held, HeldUpload):
        return None if held.is_unwritten else held.record
    upload = request.scope.get("path_params", {}).get("id")
    with suppress(SluiceError):  # the error that refused the request says more
        return None if upload is None else await uploads.look_up(str(upload))
    return None


def with_kept(scope: Scope, error: SluiceError) -> SluiceError:
    """The error as the client gets it."""
    is_stop, is_broken = error.detail == STOPPED, error is scope.get(BROKEN)
    if is_broken and (kept := scope.get(KEPT, 0)):
        what = error.detail.partition(";")[0]
        text = f"{what}; {kept} bytes of the upload are kept. Go on from there"
        return type(error)(text, **error.members)
    if not (is_stop or isinstance(error, BodyCut)):
        return error
    what = "The server is stopping" if is_stop else "The connection ended before the body did"
    if kept := scope.get(KEPT, 0):
        text = f"{what}; {kept} bytes of the upload are kept. Go on from there"
    elif scope.get(FORM):
        text = f"{what}; nothing was stored, and {_OTHER_WAYS}"
    else:
        return error
    return Unavailable(text) if is_stop else BodyCut(text, **error.members)


async def answered(
    scope: Scope, step: Awaitable[Response], refused: Callable[[SluiceError], Awaitable[Response]]
) -> Response:
    """The response of a step of a protocol; that to an error is what `refused` makes of it.

    The app's hooks and the log know of the error before. Raises HookFailed: the app's framework may
    have an answer.
    """
    try:
        return await step
    except (SluiceError, asyncio.CancelledError) as caught:
        # A cancelled request is one of a server that stops and has waited long enough.
        found = caught if isinstance(caught, SluiceError) else Unavailable(STOPPED)
        error = with_kept(scope, found)
        if (hooks := scope.get(HOOKS)) is not None:
            hooks.note(error)
        if isinstance(caught, HookFailed):
            raise
        answered_with(scope, error)
        return await refused(error)
