"""The service as an ASGI app: routes requests to handlers, and turns every error into a response.

Runs on any ASGI server and mounts into other apps; `server/run.py` starts it on ours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Unpack

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from sluiceway.errors import NotFound, SluiceError, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.door.auth import STAGES, check_token, check_use, log_access
from sluiceway.server.door.sites import Sites
from sluiceway.server.door.urls import decode_url, with_headers
from sluiceway.server.guarded_settings import BadSetting
from sluiceway.server.handlers.download import get_object
from sluiceway.server.handlers.fetch import pass_remote
from sluiceway.server.handlers.forms import is_form, post_form, put_form
from sluiceway.server.handlers.imports import (
    import_remote,
    may_be_import_request,
    refuse_import_request,
)
from sluiceway.server.handlers.listing import (
    delete_object,
    list_objects,
    list_view,
    rename_object,
)
from sluiceway.server.handlers.progress import STOPPING, cancel_upload, show_upload
from sluiceway.server.handlers.raw import post_raw, put_object
from sluiceway.server.handlers.readiness import Readiness, show_liveness
from sluiceway.server.handlers.zip import list_as_zip, selection_as_zip
from sluiceway.server.http1.head_limits import check_fields
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.http1.sendfile import ZEROCOPY, reader_deadline
from sluiceway.server.operator_log import Omissions, log_error
from sluiceway.server.page.assets import show_asset, show_page
from sluiceway.server.remote import Remote
from sluiceway.server.request_body import MIN_RATE
from sluiceway.server.request_headers import is_view
from sluiceway.server.responses import problem_response
from sluiceway.server.routing import ByMethod, no_such_path, raise_no_such_path
from sluiceway.server.setting_arguments import Places, SettingArguments
from sluiceway.server.settings import Settings
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.names import compose, stays_inside
from sluiceway.wire.request_targets import check_path

__all__ = ["Sluiceway"]

log: logging.Logger = logging.getLogger("sluiceway")


DEFAULT_TO = "./uploads"


class Sluiceway:
    """The service as an ASGI app, for any ASGI server, alone or mounted into another app.

    Args:
        settings: all settings as one object, instead of `to` and the others.
        to: where files go: one destination as `sluiceway serve --to` takes it, or several. By
            default "./uploads".
        progress_table: the table of running uploads, shared by several processes. By default each
            process has one of its own.
        **others: the other settings of `sluiceway serve`, by name with `_` for `-`. Sizes are
            bytes or texts such as "10GiB", times are seconds; docs/settings.md lists all.

    Raises:
        BadSetting: a setting has a value that cannot be used, or stands beside `settings`; the
            text names the setting.

    Without `token` and without `no_auth=True` the app answers only to names of this machine and to
    `allowed_host`. The destination is opened at the first use or at the lifespan's startup.

    Example:
        app = Sluiceway(to="./uploads", max_size="10GiB")
        outer.mount("/drop", app)  # Starlette, FastAPI
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        to: Places | None = None,
        progress_table: ProgressTable | None = None,
        **others: Unpack[SettingArguments],
    ) -> None:
        if settings is not None and (to is not None or others):
            named = ", ".join(sorted([*others, *(["to"] if to is not None else [])]))
            raise BadSetting(f"{named}: give it in `settings`, or give no `settings`")
        self.settings: Settings = settings or Settings.of(DEFAULT_TO if to is None else to, others)
        self.budget: Budget = Budget(self.settings.budget // self.settings.workers)
        self._min_rate = self.settings.min_bytes_per_second
        self._remote = Remote(self.settings, self.budget)
        self._omissions = Omissions()
        self._sites = Sites(self.settings)
        self._readiness = Readiness()
        self._progress_table = progress_table
        self._upload_service: UploadService | None = None
        self._router = Router(
            [
                Route("/", ByMethod(GET=show_page)),
                Route("/page/{name:path}", ByMethod(GET=show_asset)),
                Route("/files", ByMethod(GET=self._list, POST=self._post)),
                Route(
                    "/files/{key:key}",
                    ByMethod(GET=self._get, PUT=self._put, DELETE=self._delete, MOVE=self._rename),
                ),
                Route("/fetch", ByMethod(GET=self._fetch)),
                Route("/uploads/{id}", ByMethod(GET=self._show, DELETE=self._cancel)),
                Route("/healthz", ByMethod(GET=show_liveness)),
                Route("/readyz", ByMethod(GET=self._show_readiness)),
            ],
            redirect_slashes=False,
            default=raise_no_such_path,
        )

    @property
    def upload_service(self) -> UploadService:
        """Made at the first use: an app mounted into another one may never get a lifespan."""
        if self._upload_service is None:
            settings = self.settings
            self._upload_service = UploadService(
                open_destination(settings, self.budget),
                self.budget,
                self._progress_table or ProgressTable(),
                template=KeyTemplate(settings.key_template),
                digests=settings.digests,
                max_size=settings.max_upload_bytes,
                flatten=settings.flatten,
            )
        return self._upload_service

    async def aclose(self) -> None:
        """Close the store. Running uploads are discarded."""
        if self._upload_service is not None:
            await self._upload_service.aclose()
            self._upload_service = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        counted = _CountedSend(scope, send)
        scope[MIN_RATE] = self._min_rate
        request = Request(scope, receive)
        send = with_headers(counted, self._sites.headers(request))
        try:
            if (preflight := self._check(request)) is not None:
                await preflight(scope, receive, send)
                return
            await self._router(scope, receive, send)
        except SluiceError as error:
            if not counted.status:
                stages, _ = scope.get(STAGES, (None, ""))
                await problem_response(error, stages)(scope, receive, send)
            log_error(error, scope["method"])
        except asyncio.CancelledError:
            # The server stops and has waited long enough. Raised further, it would become a
            # traceback and a bare 500.
            if not counted.status:
                stopping = Unavailable("The server is stopping; nothing was stored. Send it again")
                await problem_response(stopping)(scope, receive, send)
        except Exception:
            if counted.status:
                raise  # the response has begun: only a broken connection can tell its reader
            log.exception("unexpected error")
            failed = SluiceError("The server made a mistake; its log says more")
            await problem_response(failed)(scope, receive, send)
        finally:
            log_access(scope, counted.status, counted.sent, time.monotonic() - began)

    def _check(self, request: Request) -> Response | None:
        """The checks of every request, before routing; the response to a CORS preflight, if it is
        one. Raises what the checks raise."""
        scope = request.scope
        check_fields(len(scope["headers"]))
        self._sites.check_host(request)
        if (preflight := self._sites.preflight(request)) is not None:
            return preflight
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        check_token(request, path, self.settings.token)
        decode_url(scope)
        self._sites.check_origin(request)
        check_use(request)
        return None

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope.get("state", {})[STOPPING] = asyncio.Event()
        try:
            # A folder that cannot be made is reported now, and not at the first upload.
            _ = self.upload_service
        except (SluiceError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": f"sluiceway: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    # Handlers: each calls the module of its dialect

    async def _list(self, request: Request) -> Response:
        store = self.upload_service.store
        if "as" in request.query_params:
            return await list_as_zip(request, store, self.budget, self._omissions)
        if is_view(request):
            return await list_view(request, store, self._omissions)
        return await list_objects(request, store, self._omissions)

    async def _post(self, request: Request) -> Response:
        store = self.upload_service.store
        if request.query_params.get("as") == "zip" and store.traits.readable:
            return await selection_as_zip(request, store, self.budget, self._omissions)
        if may_be_import_request(request):
            if self._remote.allowed:
                return await import_remote(request, self.upload_service, self._remote)
            request = await refuse_import_request(request)
        if is_form(request):
            return await post_form(request, self.upload_service, self.settings.form_limits)
        return await post_raw(request, self.upload_service)

    async def _fetch(self, request: Request) -> Response:
        return pass_remote(request, self._remote)

    async def _get(self, request: Request) -> Response:
        key = await self._stored_key(request)
        seconds = self.settings.redirect_downloads
        return await get_object(request, self.upload_service.store, key, seconds)

    async def _put(self, request: Request) -> Response:
        key: str = request.path_params["key"]
        if is_form(request):
            return await put_form(request, self.upload_service, key, self.settings.form_limits)
        return await put_object(request, self.upload_service, key)

    async def _delete(self, request: Request) -> Response:
        key = await self._stored_key(request)
        return await delete_object(request, self.upload_service.store, key)

    async def _rename(self, request: Request) -> Response:
        key = await self._stored_key(request)
        return await rename_object(request, self.upload_service.store, key)

    async def _stored_key(self, request: Request) -> str:
        """The key as it is stored: ours are NFC, macOS asks in NFD, other programs store anything.

        Raises NotFound for a key that no object can have.
        """
        key: str = request.path_params["key"]
        if not key:
            raise no_such_path(request.scope)
        if not stays_inside(key):
            raise NotFound(f"There is no object {key!r}")
        ours, unprintable = compose(key), not key.isprintable()
        if ours != key or unprintable:
            try:
                await self.upload_service.store.stat(key)
            except NotFound:
                if unprintable:
                    check_path(key)
                return ours
        return key

    async def _show(self, request: Request) -> Response:
        table = self.upload_service.progress_table
        return await show_upload(request, table, request.path_params["id"])

    async def _cancel(self, request: Request) -> Response:
        return await cancel_upload(self.upload_service, request.path_params["id"])

    async def _show_readiness(self, _: Request) -> Response:
        return await self._readiness.show(self.upload_service.store)


class _CountedSend:
    """A `send` that knows the status and the bytes sent so far, with a deadline for the client."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.status = 0
        self.sent = 0
        self._send = send
        # Our own protocol drops clients that take nothing.
        self._has_deadline = PROTOCOL in scope

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:  # `count`: bytes of a file that the server sends by itself
            self.sent += message.get("count") or len(message.get("body", b""))
        if self._has_deadline or message["type"] == ZEROCOPY:
            await self._send(message)
        else:
            async with reader_deadline():
                await self._send(message)
