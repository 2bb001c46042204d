"""The service as an ASGI app: routes requests to handlers, and turns every error into a response.

Runs on any ASGI server and mounts into other apps; `server/run.py` starts it on ours.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Unpack, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.errors import NotFound, SluiceError, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.server import dialects
from sluiceway.server.destinations import open_destination, open_ledger
from sluiceway.server.door.auth import STAGES, check_token, check_use, log_access
from sluiceway.server.door.counted_send import CountedSend
from sluiceway.server.door.indexed_request import IndexedRequest
from sluiceway.server.door.sites import Sites
from sluiceway.server.door.urls import decode_url
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
from sluiceway.server.handlers.progress import STOPPING, show_upload
from sluiceway.server.handlers.raw import post_raw, put_object
from sluiceway.server.handlers.readiness import Readiness, show_liveness
from sluiceway.server.handlers.together import objects_together
from sluiceway.server.handlers.zip import list_as_zip, selection_as_zip
from sluiceway.server.http1.head_limits import check_fields
from sluiceway.server.mounted.hooks import HOOKS, AppHooks, RequestHooks
from sluiceway.server.mounted.open_places import OpenPlaces
from sluiceway.server.mounted.uploads import EndHook, KeptHook, PlaceHook, StartHook
from sluiceway.server.operator_log import Omissions, log_error
from sluiceway.server.page.assets import StartPage
from sluiceway.server.remote import Remote
from sluiceway.server.request_body import MIN_RATE
from sluiceway.server.request_headers import is_view
from sluiceway.server.responses import problem_response
from sluiceway.server.routing import ByMethod, Routes, no_such_path
from sluiceway.server.settings.arguments import Places, SettingArguments, as_places
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.streaming import send_response
from sluiceway.stores.contract import Store
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.names import compose, stays_inside
from sluiceway.wire.request_targets import check_path

__all__ = ["Sluiceway"]

log: logging.Logger = logging.getLogger("sluiceway")


DEFAULT_TO = "./uploads"
# In a request's scope: the place of its files and the open destination, where both depend on it
PLACE = "sluiceway.place"


class Sluiceway:
    """The service as an ASGI app, for any ASGI server, alone or mounted into another app.

    Args:
        settings: all settings as one object, instead of `to` and the others.
        to: where files go: one destination as `sluiceway serve --to` takes it, or several. By
            default "./uploads".
        progress_table: the table of running uploads, shared by several processes. By default each
            process has one of its own.
        hooks: the functions below as one object, for code that adapts another framework.
        **others: the other settings of `sluiceway serve`, by name with `_` for `-`. Sizes are
            bytes or texts such as "10GiB", times are seconds; docs/settings.md lists all.

    Raises:
        BadSetting: a setting has a value that cannot be used, or stands beside `settings`; the
            text names the setting.

    An app that mounts this one decides with functions, plain or `async`; each gets the request:

        to: as a function of the request, where its files go: a place for each user. Each place is
            opened when it is first needed, at most a hundred at a time.
        on_start: called with a StartedUpload before the first byte of each file is taken. It may
            set key, name, type and metadata, or refuse: `raise UploadRefused("words", 402)`.
        on_kept: called with the Entry of each file when its bytes are kept, before the answer. An
            error takes the files of the request back, where the destination can, and is the answer.
        on_end: called with an EndedUpload at every ending, for logs.

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
        to: Places | PlaceHook[Request] | None = None,
        progress_table: ProgressTable | None = None,
        on_start: StartHook[Request] | None = None,
        on_kept: KeptHook[Request] | None = None,
        on_end: EndHook[Request] | None = None,
        hooks: AppHooks | None = None,
        **others: Unpack[SettingArguments],
    ) -> None:
        if settings is not None and (not (to is None or callable(to)) or others):
            named = ", ".join(sorted([*others, *(["to"] if to is not None else [])]))
            raise BadSetting(f"{named}: give it in `settings`, or give no `settings`")
        if callable(to) or on_start or on_kept or on_end:
            hooks = AppHooks(to if callable(to) else None, on_start, on_kept, on_end)
        self._hooks = hooks
        places = DEFAULT_TO if to is None or callable(to) else to
        self.settings: Settings = settings or Settings.of(places, others)
        self.budget: Budget = Budget(self.settings.budget // self.settings.workers)
        self._min_rate = self.settings.min_bytes_per_second
        self._remote = Remote(self.settings, self.budget)
        self._omissions = Omissions()
        self._sites = Sites(self.settings)
        self._readiness = Readiness()
        self._progress_table = progress_table
        self._upload_service: UploadService | None = None
        self._places = OpenPlaces(self._open_place)
        page = StartPage(self.settings.branding)
        self._routes = Routes(
            {
                "/files": ByMethod(GET=self._list, POST=self._post, OPTIONS=self._options),
                "/": ByMethod(GET=page.show),
                "/fetch": ByMethod(GET=self._fetch),
                "/healthz": ByMethod(GET=show_liveness),
                "/readyz": ByMethod(GET=self._show_readiness),
            },
            {
                "/files": (
                    "key",
                    True,
                    ByMethod(GET=self._get, PUT=self._put, DELETE=self._delete, MOVE=self._rename),
                ),
                "/page": ("name", True, ByMethod(GET=page.show_asset)),
                "/uploads": (
                    "id",
                    False,
                    ByMethod(
                        GET=self._show,
                        PATCH=self._append,
                        DELETE=self._cancel,
                        OPTIONS=self._options,
                    ),
                ),
            },
        )

    @property
    def upload_service(self) -> UploadService:
        """Made at the first use: an app mounted into another one may never get a lifespan."""
        if self._upload_service is None:
            self._upload_service = self._open_place(self.settings.to)
        return self._upload_service

    @property
    def progress_table(self) -> ProgressTable:
        """One for all destinations, because a watcher knows only an upload's id."""
        if self._progress_table is None:
            self._progress_table = ProgressTable()
        return self._progress_table

    async def aclose(self) -> None:
        """Close the stores. Running uploads are discarded."""
        await self._places.aclose()
        if self._upload_service is not None:
            await self._upload_service.aclose()
            self._upload_service = None
        if self._progress_table is not None:
            self._progress_table.close()
            self._progress_table = None

    def _open_place(self, place: tuple[str, ...]) -> UploadService:
        settings = dataclasses.replace(self.settings, to=place)
        store = open_destination(settings, self.budget)
        return UploadService(
            store,
            self.budget,
            self.progress_table,
            template=KeyTemplate(settings.key_template),
            digests=settings.digests,
            max_size=settings.max_upload_bytes,
            flatten=settings.flatten,
            ledger=open_ledger(store),
        )

    async def _service(self, request: Request) -> UploadService:
        """The destination of this request. It stays open until the request has ended."""
        if self._hooks is None or self._hooks.to is None:
            return self.upload_service
        if PLACE not in request.scope:
            place = as_places(await request.scope[HOOKS].place())
            request.scope[PLACE] = place, await self._places.use(place)
        return cast("UploadService", request.scope[PLACE][1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        scope[MIN_RATE] = self._min_rate
        request = IndexedRequest(scope, receive)
        if self._hooks is not None:
            scope[HOOKS] = RequestHooks(self._hooks, request)
        counted = CountedSend(scope, send, self._sites.headers(request))
        try:
            response = self._check(request) or await self._routes.respond(request)
            await send_response(response, scope, receive, counted)
        except SluiceError as error:
            if self._hooks is not None and not counted.status:
                scope[HOOKS].check_ours(error)
            if not counted.status:
                stages, _ = scope.get(STAGES, (None, ""))
                await send_response(problem_response(error, stages), scope, receive, counted)
            log_error(error, scope["method"])
        except asyncio.CancelledError:
            # The server stops and has waited long enough. Raised further, it would become a
            # traceback and a bare 500.
            if not counted.status:
                stopping = Unavailable("The server is stopping; nothing was stored. Send it again")
                await send_response(problem_response(stopping), scope, receive, counted)
        except Exception:
            if counted.status:
                raise  # the response has begun: only a broken connection can tell its reader
            log.exception("unexpected error")
            failed = SluiceError("The server made a mistake; its log says more")
            await send_response(problem_response(failed), scope, receive, counted)
        finally:
            if PLACE in scope:
                await self._places.release(scope[PLACE][0])
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
            if self._hooks is None or self._hooks.to is None:
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
        store = (await self._service(request)).store
        if request.query_params.get("as") == "objects":
            return await objects_together(request, store, self.budget)
        if "as" in request.query_params:
            return await list_as_zip(request, store, self.budget, self._omissions)
        if is_view(request):
            return await list_view(request, store, self._omissions)
        return await list_objects(request, store, self._omissions)

    async def _post(self, request: Request) -> Response:
        if request.query_params.get("as") == "zip":
            store = (await self._service(request)).store
            if store.traits.readable:
                return await selection_as_zip(request, store, self.budget, self._omissions)
        return await self._until_it_ends(request, self._take_post)

    async def _put(self, request: Request) -> Response:
        return await self._until_it_ends(request, self._take_put)

    async def _until_it_ends(
        self, request: Request, take: Callable[[Request, UploadService], Awaitable[Response]]
    ) -> Response:
        """An upload, and the app's `on_end` at its ending."""
        if self._hooks is None:
            return await take(request, self.upload_service)
        hooks: RequestHooks = request.scope[HOOKS]
        error: BaseException | None = None
        try:
            return await take(request, await self._service(request))
        except BaseException as caught:
            error = caught
            raise
        finally:
            await hooks.end(error)

    async def _take_post(self, request: Request, upload_service: UploadService) -> Response:
        if (created := await dialects.create(request, upload_service)) is not None:
            return created
        if may_be_import_request(request):
            if self._remote.allowed:
                return await import_remote(request, upload_service, self._remote)
            request = await refuse_import_request(request)
        if is_form(request):
            return await post_form(request, upload_service, self.settings.form_limits)
        return await post_raw(request, upload_service)

    async def _take_put(self, request: Request, upload_service: UploadService) -> Response:
        key: str = request.path_params["key"]
        if is_form(request):
            return await put_form(request, upload_service, key, self.settings.form_limits)
        return await put_object(request, upload_service, key)

    async def _fetch(self, request: Request) -> Response:
        return pass_remote(request, self._remote)

    async def _get(self, request: Request) -> Response:
        store = (await self._service(request)).store
        key = await self._stored_key(request, store)
        return await get_object(request, store, key, self.settings.redirect_downloads)

    async def _delete(self, request: Request) -> Response:
        store = (await self._service(request)).store
        return await delete_object(request, store, await self._stored_key(request, store))

    async def _rename(self, request: Request) -> Response:
        store = (await self._service(request)).store
        return await rename_object(request, store, await self._stored_key(request, store))

    async def _stored_key(self, request: Request, store: Store) -> str:
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
                await store.stat(key)
            except NotFound:
                if unprintable:
                    check_path(key)
                return ours
        return key

    async def _options(self, request: Request) -> Response:
        return dialects.show_options(await self._service(request))

    async def _show(self, request: Request) -> Response:
        if request.method == "HEAD":
            shown = await dialects.show_offset(request, await self._service(request))
            if shown is not None:
                return shown
        return await show_upload(request, self.progress_table, request.path_params["id"])

    async def _append(self, request: Request) -> Response:
        return await dialects.append(request, await self._service(request))

    async def _cancel(self, request: Request) -> Response:
        return await dialects.cancel(request, await self._service(request))

    async def _show_readiness(self, request: Request) -> Response:
        if self._hooks is not None and self._hooks.to is not None:
            return await show_liveness(request)  # a probe has no place of its own
        return await self._readiness.show(self.upload_service.store)
