"""The service as an ASGI app: routes requests to handlers, and turns every error into a response.

Runs on any ASGI server and mounts into other apps; `server/run.py` starts it on ours.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from random import getrandbits
from typing import Unpack, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.errors import SluiceError, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import run_each
from sluiceway.server.access.door import Door
from sluiceway.server.access.entering import LINK, enter_link
from sluiceway.server.access.identity import GRANT
from sluiceway.server.destinations import open_destination, open_undo_locks
from sluiceway.server.dialects import in_dialect
from sluiceway.server.door.browser_use import check_use
from sluiceway.server.door.counted_send import CountedSend
from sluiceway.server.door.indexed_request import IndexedRequest, is_ordinary
from sluiceway.server.door.sites import APP_CORS, Sites
from sluiceway.server.door.urls import decode_url
from sluiceway.server.endpoints import Endpoints
from sluiceway.server.http1.head_limits import check_fields
from sluiceway.server.http1.stopping import STOPPING, Stopping
from sluiceway.server.log.access import STAGES, log_access
from sluiceway.server.log.spans import open_spans
from sluiceway.server.metrics.gauges import GaugeWriter
from sluiceway.server.mounted.hooks import HOOKS, AppHooks, RequestHooks
from sluiceway.server.mounted.open_places import OpenPlaces
from sluiceway.server.mounted.uploads import (
    EndHook,
    KeptHook,
    PlaceHook,
    PublishedHook,
    StartHook,
)
from sluiceway.server.operator_log import CODE, log_error
from sluiceway.server.request_body import MIN_RATE
from sluiceway.server.responses import problem_response
from sluiceway.server.resumable.kept import with_kept
from sluiceway.server.resumable.late_responses import respond_later
from sluiceway.server.settings.arguments import Places, SettingArguments, as_places
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.hooking import HOOK_SETTINGS
from sluiceway.server.state.ledgers import (
    open_channel,
    open_download_counts,
    open_ledger,
    open_link_uses,
    open_quotas,
)
from sluiceway.server.streaming import send_response
from sluiceway.uploads.hooks.asking import HookAsker, ServiceHooks
from sluiceway.uploads.hooks.events import EventWriter
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import SEND_AT_END, UploadService
from sluiceway.uploads.session import STOPPED
from sluiceway.wire.request_trace import current_trace, read_trace

__all__ = ["Sluiceway"]

log: logging.Logger = logging.getLogger("sluiceway")


DEFAULT_TO = "./uploads"
# In a request's scope: the place of its files and the open destination, where both depend on it
PLACE = "sluiceway.place"
TRACE_FIELDS = ("x-request-id", "traceparent", "tracestate")
_TRACED = frozenset(name.encode() for name in TRACE_FIELDS)


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
        on_kept: called with the KeptUpload of each file when all bytes are kept and no reader can
            see it yet, as `--on-kept` is. It may refuse.
        on_published: called with the Entry of each file when it is published, before the answer. An
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
        on_published: PublishedHook[Request] | None = None,
        on_end: EndHook[Request] | None = None,
        hooks: AppHooks | None = None,
        **others: Unpack[SettingArguments],
    ) -> None:
        if settings is not None and (not (to is None or callable(to)) or others):
            named = ", ".join(sorted([*others, *(["to"] if to is not None else [])]))
            raise BadSetting(f"{named}: give it in `settings`, or give no `settings`")
        if callable(to) or on_start or on_kept or on_published or on_end:
            place = to if callable(to) else None
            hooks = AppHooks(place, on_start, on_kept, on_published, on_end)
        self._hooks = hooks
        places = DEFAULT_TO if to is None or callable(to) else to
        self.settings: Settings = settings or Settings.of(places, others)
        self.budget: Budget = Budget(self.settings.budget // self.settings.workers)
        self._min_rate = self.settings.min_bytes_per_second
        self._sites = Sites(self.settings)
        self._door = Door(self.settings)
        self._spans = open_spans()
        self._progress_table = progress_table
        self._asker: HookAsker | None = None
        self._gauges: GaugeWriter | None = None
        self._upload_service: UploadService | None = None
        self._opening = threading.Lock()  # of what several places share
        self._places = OpenPlaces(self._open_place)
        self._endpoints = Endpoints(
            self.settings,
            self.budget,
            self._service,
            lambda: self.progress_table,
            lambda: self.gauges,
            has_hooks=hooks is not None,
            has_one_place=hooks is None or hooks.to is None,
            is_allowed_origin=self._sites.is_allowed_origin,
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

    @property
    def gauges(self) -> GaugeWriter:
        """Writes how this process is, for `/metrics` of any process."""
        if self._gauges is None:
            self._gauges = GaugeWriter(self.progress_table, self.budget)
        return self._gauges

    def reload(self) -> None:
        """Read again what can change while the app runs: tokens, keys. Nothing is interrupted."""
        self._door.reload()

    async def aclose(self) -> None:
        """Close the stores. Running uploads are discarded."""
        steps: list[Callable[[], Awaitable[object]]] = [self._door.aclose, self._places.aclose]
        if self._spans is not None:
            steps.insert(1, self._spans.aclose)
        if self._upload_service is not None:
            timeout = min(SEND_AT_END, self.settings.shutdown_timeout)
            steps.append(partial(self._upload_service.aclose, timeout))
        steps += [each.aclose for each in (self._asker, self._gauges) if each is not None]
        await run_each(*steps)
        self._spans = self._upload_service = self._asker = self._gauges = None
        if self._progress_table is not None:
            self._progress_table.close()
            self._progress_table = None

    def _open_place(self, place: tuple[str, ...]) -> UploadService:
        """Blocking, and called by several threads where a request chooses the place."""
        with self._opening:
            table, hooks = self.progress_table, self._open_hooks()
        settings = dataclasses.replace(self.settings, to=place)
        store = open_destination(settings, self.budget)
        chosen = "" if place == self.settings.to else "\n".join(place)
        ledger = open_ledger(settings, store, chosen)
        return UploadService(
            store,
            self.budget,
            table,
            template=KeyTemplate(settings.key_template),
            digests=settings.digests,
            max_size=settings.max_upload_bytes,
            flatten=settings.flatten,
            ledger=ledger,
            expiry=settings.expiry,
            hooks=hooks,
            respond_later=respond_later,
            link_uses=open_link_uses(settings, store, ledger),
            quotas=open_quotas(settings, store, ledger),
            lifetimes=settings.lifetimes,
            counts=open_download_counts(settings, store, ledger),
            channel=open_channel(ledger),
            undo_locks=open_undo_locks(settings, store),
        )

    def _open_hooks(self) -> ServiceHooks:
        """The operator's hooks for one place. What may refuse files is shared by all places."""
        settings = self.settings
        if not any(getattr(settings, name) is not None for name in HOOK_SETTINGS):
            return ServiceHooks()
        # Late: without hooks the service needs no HTTP client and starts no commands.
        from sluiceway.server.hooks.opening import open_asker, open_hook

        if self._asker is None:
            self._asker = open_asker(settings, self.progress_table.totals)
        finish = None if settings.on_finish is None else open_hook(settings, settings.on_finish)
        events = EventWriter(settings.event_source)
        return ServiceHooks(self._asker, finish, events, settings.hook_timeout)

    async def _service(self, request: Request) -> UploadService:
        """The destination of this request. It stays open until the request has ended."""
        if self._hooks is None or self._hooks.to is None:
            upload_service = self._upload_service or self.upload_service
        else:
            if PLACE not in request.scope:
                place = as_places(await request.scope[HOOKS].place())
                request.scope[PLACE] = place, await self._places.use(place)
            upload_service = cast("UploadService", request.scope[PLACE][1])
        # Here, not at the start: a mounted app gets no lifespan, and a place may have been chosen.
        upload_service.start_sending()
        upload_service.start_sweeping()
        return upload_service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._respond(enter_link(scope), receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        scope[MIN_RATE] = self._min_rate
        request = IndexedRequest(scope, receive)
        if self._hooks is not None:
            scope[HOOKS] = RequestHooks(self._hooks, request)
        random = getrandbits(192)  # fast; the ids are no secret and prove nothing
        sent = map(request.headers.get, TRACE_FIELDS) if request.has_any(_TRACED) else ()
        trace = read_trace(random, *sent)
        if self._spans is not None:
            trace = self._spans.begin(trace)
        current_trace.set(trace)
        counted = CountedSend(scope, send, self._sites.headers(request), trace)
        try:
            response = await self._check(request) or await self._endpoints.respond(request)
            await send_response(response, scope, receive, counted)
        except SluiceError as raised:
            error = with_kept(scope, raised)
            scope[CODE] = error.code
            if self._hooks is not None and not counted.status:
                scope[HOOKS].check_ours(error)
            if not counted.status:
                stages, _ = scope.get(STAGES, (None, ""))
                await send_response(
                    in_dialect(request, problem_response(error, stages)), scope, receive, counted
                )
            log_error(error, scope["method"])
        except asyncio.CancelledError:
            # The server stops and has waited long enough. Raised further, it would become a
            # traceback and a bare 500.
            if not counted.status:
                scope[CODE] = Unavailable.code
                stopping = problem_response(with_kept(scope, Unavailable(STOPPED)))
                await send_response(in_dialect(request, stopping), scope, receive, counted)
        except Exception:
            scope[CODE] = SluiceError.code
            if counted.status:
                raise  # the response has begun: only a broken connection can tell its reader
            log.exception("unexpected error")
            failed = SluiceError("The server made a mistake; its log says more")
            await send_response(problem_response(failed), scope, receive, counted)
        finally:
            if PLACE in scope:
                await self._places.release(scope[PLACE][0])
            self._note_end(scope, counted, time.monotonic() - began)

    def _note_end(self, scope: Scope, counted: CountedSend, seconds: float) -> None:
        """The request has ended: metrics, access log and spans learn of it."""
        code = scope.get(CODE, "")
        totals, spent = self.progress_table.totals, None
        totals.count_request(code)
        if STAGES in scope:
            spent = scope[STAGES][0].spent()
            totals.count_stages(spent)
        log_access(scope, counted.status, counted.sent, seconds, code, spent)
        if self._spans is not None:
            self._spans.end(scope, counted.status, seconds, code)

    async def _check(self, request: Request) -> Response | None:
        """The checks of every request, before routing; the response to a CORS preflight, if it is
        one. Raises what the checks raise."""
        scope = request.scope
        check_fields(len(scope["headers"]))
        self._sites.check_host(request)
        may_be_page = not is_ordinary(request) or APP_CORS in scope
        if may_be_page and (preflight := self._sites.preflight(request)) is not None:
            return preflight
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if LINK in scope:
            scope[GRANT] = self._door.link(scope[LINK])
        else:
            scope[GRANT] = await self._door.grant(request, path)
        decode_url(scope)
        if may_be_page:
            self._sites.check_origin(request)
            check_use(request)
        return None

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope.get("state", {})[STOPPING] = Stopping()
        try:
            # A folder that cannot be made is reported now, and not at the first upload.
            if self._hooks is None or self._hooks.to is None:
                self.upload_service.start_sweeping()
                self.upload_service.start_sending()
        except (SluiceError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": f"sluiceway: {error}"})
            return
        self.gauges.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})
