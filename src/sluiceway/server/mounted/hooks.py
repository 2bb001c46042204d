"""What an app decides about the uploads of a service inside it: where, whether, under which key.

The app's functions get the app's own request; plain ones run in a thread (in a WSGI app in that of
the request), coroutines in the event loop. It must not know stores or formats.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sluiceway.errors import (
    BodyCut,
    Cancelled,
    HookUnavailable,
    Refused,
    SluiceError,
    StoreFailed,
    TooSlow,
    UploadRefused,
)
from sluiceway.server.mounted.uploads import EndedUpload, Outcome, StartedUpload
from sluiceway.server.settings.arguments import Places
from sluiceway.stores.contract import MOST_METADATA, Entry, Replace, UploadRequest
from sluiceway.uploads.hooks.around import KeptUpload
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.names import check_key, clean_name

__all__ = [
    "CALL",
    "FRAMEWORK_REQUEST",
    "HOOKS",
    "AppHooks",
    "HookFailed",
    "RequestHooks",
    "http_error",
]

# In a request's scope: its RequestHooks; the app's own request, where that is not Starlette's; and
# how to run a plain function, where that is not any thread
HOOKS = "sluiceway.hooks"
FRAMEWORK_REQUEST = "sluiceway.request"
CALL = "sluiceway.call"

log: logging.Logger = logging.getLogger("sluiceway")


def http_error(error: Exception) -> SluiceError | None:
    """Starlette's HTTPException, and so FastAPI's, as an error of ours; None for all others."""
    if isinstance(error, HTTPException) and error.status_code >= 400:
        return UploadRefused(str(error.detail), error.status_code)
    return None


class HookFailed(
    HookUnavailable,
    code="hook-failed",
    status=500,
    title="The server made a mistake; its log says more",
    retryable=False,
):
    """A function of the app around the service raised `original`, which is none of ours."""

    def __init__(self, original: Exception) -> None:
        super().__init__(f"{type(original).__name__}: {original}")
        self.public: str | None = self.title
        self.original: Exception = original


@dataclass(frozen=True, slots=True)
class AppHooks:
    """The functions of an app. Any request type will do: the adapters hand over their own.

    Args:
        to: Gets the request and returns where its files go.
        on_start: As `mount` describes them; so the next three.
        on_kept: …
        on_published: …
        on_end: …
        known_error: Makes an error of ours of one of the framework's.
        raises: Whether other errors are raised to the framework, which has its own handlers.
    """

    to: Callable[[Any], Any] | None = None
    on_start: Callable[[StartedUpload, Any], Any] | None = None
    on_kept: Callable[[KeptUpload, Any], Any] | None = None
    on_published: Callable[[Entry, Any], Any] | None = None
    on_end: Callable[[EndedUpload, Any], Any] | None = None
    known_error: Callable[[Exception], SluiceError | None] = http_error
    raises: bool = False


class RequestHooks:
    """The hooks for one request; remembers what `on_end` needs."""

    def __init__(self, hooks: AppHooks, request: Request) -> None:
        self._hooks, self._request = hooks, request
        self.asks_kept: bool = hooks.on_kept is not None
        self.asks_published: bool = hooks.on_published is not None
        self._began = time.monotonic()
        self._entries: list[Entry] = []
        self._filenames: list[str] = []
        self._session: UploadSession | None = None
        self._upload = ""  # the id of one that the ledger has
        self._error: BaseException | None = None
        self._goes_on = False

    async def place(self) -> Places:
        """Where the files of this request go. Raises what the app's function raises."""
        return cast("Places", await self._call(cast("Callable[..., Any]", self._hooks.to)))

    def watch(self, session: UploadSession) -> None:
        """This request's upload has begun."""
        self._session = session
        session.app = self

    def goes_on(self) -> None:
        """The upload is in the ledger: it ends with another request, perhaps."""
        self._goes_on = True

    def note(self, error: BaseException) -> None:
        """The request was refused with this error, and `end` may hear of none."""
        self._error = error

    async def end_held(self, held: HeldUpload) -> None:
        """An upload of the ledger has ended with this request."""
        record = held.record
        self._upload, self._filenames = record.id, [record.request.filename]
        self._entries = [] if held.entry is None else [held.entry]
        seconds = time.time() - record.created
        await self._end(held.error, record.offset, seconds)

    async def start(
        self, upload: str, upload_request: UploadRequest, size: int | None, part: bool = False
    ) -> UploadRequest:
        """What is stored, as the app wants it. Raises what refuses it."""
        self._upload = upload
        self._filenames.append(upload_request.filename)
        if self._hooks.on_start is None:
            return upload_request
        started = StartedUpload(
            upload,
            upload_request.field,
            tuple(upload_request.fields),
            size,
            upload_request.filename,
            upload_request.type,
            upload_request.key,
            metadata=dict(upload_request.user),
            part=part,
        )
        await self._call(self._hooks.on_start, started)
        return _changed(upload_request, started)

    async def kept(self, kept: KeptUpload) -> None:
        """Called before the file is published. Raises what the app's function raises."""
        if self._hooks.on_kept is not None:
            await self._call(self._hooks.on_kept, kept)

    async def published(self, entry: Entry) -> None:
        """Called before anything is answered. Raises what the app's function raises."""
        self._entries.append(entry)
        if self._hooks.on_published is not None:
            await self._call(self._hooks.on_published, entry)

    async def end(self, error: BaseException | None) -> None:
        """Called at every ending. An error in the app's function is logged and changes nothing."""
        if not self._goes_on:
            received = 0 if self._session is None else self._session.record.received
            await self._end(error or self._error, received, time.monotonic() - self._began)

    async def _end(self, error: BaseException | None, received: int, seconds: float) -> None:
        if self._hooks.on_end is None:
            return
        ended = EndedUpload(
            self._id,
            _outcome(error),
            error.original if isinstance(error, HookFailed) else error,
            tuple(self._entries) if error is None else (),
            tuple(self._filenames),
            received,
            seconds,
        )
        try:
            await self._call(self._hooks.on_end, ended)
        except SluiceError as failed:
            log.error("on_end failed: %s", failed.for_log, exc_info=failed.__cause__ or failed)

    def check_ours(self, error: SluiceError) -> None:
        """Raises the error of an app's function that the app's framework answers."""
        if isinstance(error, HookFailed):
            if self._hooks.raises:
                raise error.original
            log.error("a function of the app failed", exc_info=error.original)

    @property
    def _id(self) -> str:
        return self._upload if self._session is None else self._session.id

    async def _call(self, hook: Callable[..., Any], *values: object) -> Any:
        scope = self._request.scope
        arguments = (*values, scope.get(FRAMEWORK_REQUEST, self._request))
        try:
            if inspect.iscoroutinefunction(hook):
                return await hook(*arguments)
            found = await scope.get(CALL, asyncio.to_thread)(hook, *arguments)
            return await found if inspect.isawaitable(found) else found
        except SluiceError:
            raise
        except Exception as error:
            known = self._hooks.known_error(error)
            raise (HookFailed(error) if known is None else known) from error


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "kept"
    if isinstance(error, BodyCut | TooSlow):
        return "cut"
    if isinstance(error, Cancelled | asyncio.CancelledError):
        return "cancelled"
    ours = isinstance(error, SluiceError) and error.fault == "client"
    return "refused" if ours or isinstance(error, Refused) else "failed"


def _changed(asked: UploadRequest, upload: StartedUpload) -> UploadRequest:
    """What the client asked for, with what the app has set. Raises BadName."""
    key, allowed = asked.key, asked.replace
    if upload.key != key:
        # the client's conditions are about another key
        key, allowed = check_key(upload.key) if upload.key else "", Replace()
    if upload.replaces is not None:
        allowed = replace(allowed, allowed=upload.replaces)
    filename = asked.filename
    if upload.filename != filename:
        filename = clean_name(upload.filename)
    return replace(
        asked,
        key=key,
        filename=filename,
        type=asked.type if upload.type == asked.type else kept_type(upload.type, filename),
        replace=allowed,
        user=_metadata(upload.metadata),
    )


def _metadata(given: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """In order, as stores keep it. Raises StoreFailed for what no store could keep."""
    pairs = tuple(sorted((name.lower(), value) for name, value in given.items()))
    if sum(len(name.encode()) + len(value.encode()) for name, value in pairs) > MOST_METADATA:
        raise StoreFailed(
            f"on_start set more than {MOST_METADATA} bytes of metadata; keep it elsewhere"
        ).for_operator()
    for name, value in pairs:
        if not TOKEN.fullmatch(name) or not value.isprintable():
            raise StoreFailed(
                f"on_start set the metadata {name!r}: {value!r}; a name has letters, digits and "
                "-_., a value is printable text"
            ).for_operator()
    return pairs
