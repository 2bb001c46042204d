"""What each path does with each method: the handlers of a service, in one table.

Each calls the module of its dialect. Knows no ASGI, and not how a destination is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound, Unsupported
from sluiceway.pipe.budget import Budget
from sluiceway.server import dialects
from sluiceway.server.access.counted_download import get_counted
from sluiceway.server.access.entering import LINK
from sluiceway.server.access.identity import grant_of
from sluiceway.server.doctor.arrival import show_arrival
from sluiceway.server.door.indexed_request import IndexedRequest, is_ordinary
from sluiceway.server.handlers.download import get_object
from sluiceway.server.handlers.fetch import pass_remote
from sluiceway.server.handlers.forms import is_form, post_form, put_form
from sluiceway.server.handlers.imports import (
    import_remote,
    may_be_import_request,
    refuse_import_request,
)
from sluiceway.server.handlers.links import drop_link, make_link
from sluiceway.server.handlers.listing import (
    delete_object,
    list_objects,
    list_view,
    rename_object,
)
from sluiceway.server.handlers.partial_put import is_partial, put_piece
from sluiceway.server.handlers.progress import show_running, show_upload
from sluiceway.server.handlers.raw import post_raw, put_object
from sluiceway.server.handlers.readiness import Readiness, show_liveness
from sluiceway.server.handlers.together import objects_together
from sluiceway.server.handlers.zip import list_as_zip, selection_as_zip
from sluiceway.server.metrics.endpoint import Metrics
from sluiceway.server.metrics.gauges import GaugeWriter
from sluiceway.server.mounted.hooks import HOOKS, RequestHooks
from sluiceway.server.operator_log import Omissions
from sluiceway.server.page.assets import StartPage
from sluiceway.server.progress.granted_table import GrantedTable
from sluiceway.server.progress.watch import WatchedTable
from sluiceway.server.remote import Remote
from sluiceway.server.request_headers import is_view
from sluiceway.server.responses import object_url
from sluiceway.server.routing import (
    ByMethod,
    Guarded,
    Routes,
    needs,
    no_such_path,
    what_works,
    wrong_method,
    wrong_override,
)
from sluiceway.server.settings.checked import Settings
from sluiceway.stores.contract import Store
from sluiceway.uploads.access.grant import FULL, Right
from sluiceway.uploads.elsewhere.exchange import ElsewhereTable
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE
from sluiceway.wire.names import compose, stays_inside
from sluiceway.wire.request_targets import check_path
from sluiceway.wire.resumable import PARTIAL_UPLOAD
from sluiceway.wire.tus import OFFSET_STREAM

__all__ = ["Endpoints"]

CREATION_METHODS = "GET, HEAD, OPTIONS, POST"  # of /files
UPLOAD_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH"  # of an upload


class Endpoints:
    """The handlers of one service.

    `service` finds the destination of a request, `progress_table` the table of running uploads,
    `gauges` what writes into it how this process is.
    """

    def __init__(
        self,
        settings: Settings,
        budget: Budget,
        service: Callable[[Request], Awaitable[UploadService]],
        progress_table: Callable[[], ProgressTable],
        gauges: Callable[[], GaugeWriter],
        has_hooks: bool,
        has_one_place: bool,
        is_allowed_origin: Callable[[Request], bool],
    ) -> None:
        self._settings, self._budget, self._interim = settings, budget, settings.interim
        self._whole_service, self._progress_table = service, progress_table
        self._gauges, self._metrics = gauges, Metrics(settings)
        self._has_hooks, self._has_one_place = has_hooks, has_one_place
        self._is_allowed_origin = is_allowed_origin
        self._remote = Remote(settings, budget)
        self._omissions = Omissions()
        self._readiness = Readiness()
        self._page = page = StartPage(settings.branding)
        self._routes = Routes(
            {
                "/files": ByMethod(
                    GET=needs(self._list, Right.LIST, Right.UPLOAD, Right.READ),
                    # a selection as a zip comes as a form, too
                    POST=needs(self._post, Right.UPLOAD, Right.READ),
                    OPTIONS=needs(self._options),
                ),
                "/": ByMethod(GET=needs(self._show_page)),
                "": ByMethod(GET=needs(self._show_page)),
                "/fetch": ByMethod(GET=needs(self._fetch, Right.READ)),
                "/links": ByMethod(POST=needs(self._make_link, Right.ADMIN)),
                "/uploads": ByMethod(GET=needs(self._show_running, Right.ADMIN)),
                "/metrics": ByMethod(GET=needs(self._show_metrics, Right.ADMIN)),
                "/doctor": ByMethod(
                    GET=needs(self._show_arrival, Right.ADMIN),
                    POST=needs(self._show_arrival, Right.ADMIN),
                ),
                "/healthz": ByMethod(GET=needs(show_liveness)),
                "/readyz": ByMethod(GET=needs(self._show_readiness)),
            },
            {
                "/files": (
                    "key",
                    True,
                    ByMethod(
                        GET=needs(self._get, Right.READ, Right.UPLOAD),
                        PUT=needs(self._put, Right.UPLOAD),
                        DELETE=needs(self._delete, Right.DELETE),
                        MOVE=needs(self._rename, Right.DELETE),
                        OPTIONS=needs(self._options),
                    ),
                ),
                "/links": ("id", False, ByMethod(DELETE=needs(self._revoke_link, Right.ADMIN))),
                "/page": ("name", True, ByMethod(GET=needs(page.show_asset))),
                "/uploads": (
                    "id",
                    False,
                    ByMethod(
                        UPLOAD_METHODS,  # a POST only in the place of another method
                        GET=needs(self._show, Right.UPLOAD),
                        POST=needs(self._override, Right.UPLOAD),
                        PATCH=needs(self._append, Right.UPLOAD),
                        DELETE=needs(self._cancel, Right.UPLOAD),
                        OPTIONS=needs(self._options),
                    ),
                ),
            },
        )

    @property
    def routes(self) -> Mapping[str, Guarded]:
        """Each method and path, with the rights that it needs."""
        return self._routes.guarded()

    def respond(self, request: Request) -> Awaitable[Response]:
        """Raises what the handler raises, NotFound and MethodNotAllowed."""
        is_usual = is_ordinary(request)
        if not is_usual or request.scope["path"].endswith(("/files/", "*")):
            dialects.correct_path(request)
        response = self._routes.respond(request)
        return response if is_usual else dialects.in_version(request, response)

    async def _service(self, request: Request) -> UploadService:
        """The destination of this request, as its sender may use it."""
        return (await self._whole_service(request)).granted(grant_of(request))

    async def _readable(self, request: Request) -> Store:
        """The same with only those files that the sender may read: what a zip has is read."""
        return (await self._whole_service(request)).granted(grant_of(request).reading).store

    async def _list(self, request: Request) -> Response:
        if request.query_params.get("as") == "objects":
            return await objects_together(request, await self._readable(request), self._budget)
        if "as" in request.query_params:
            store = await self._readable(request)
            return await list_as_zip(request, store, self._budget, self._omissions)
        store = (await self._service(request)).store
        if is_view(request):
            return await list_view(request, store, self._omissions)
        return await list_objects(request, store, self._omissions)

    async def _post(self, request: Request) -> Response:
        if request.query_params.get("as") == "zip":
            store = await self._readable(request)
            if store.traits.readable:
                return await selection_as_zip(request, store, self._budget, self._omissions)
        grant_of(request).require(Right.UPLOAD)  # a zip needs only that of the route
        return await self._until_it_ends(request, self._take_post)

    def _put(self, request: Request) -> Awaitable[Response]:
        return self._until_it_ends(request, self._take_put)

    async def _until_it_ends(
        self, request: Request, take: Callable[[Request, UploadService], Awaitable[Response]]
    ) -> Response:
        """An upload, and the app's `on_end` at its ending."""
        if not self._has_hooks:
            return await take(request, await self._service(request))
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
        if not is_ordinary(request) and "tus-resumable" in request.headers:
            if (method := _override_of(request)) == "OPTIONS":
                return await self._options(request)
            if method != "POST":
                raise wrong_override(method, CREATION_METHODS)
        if (created := await dialects.create(request, upload_service, self._interim)) is not None:
            return created
        if may_be_import_request(request):
            if self._remote.allowed and not grant_of(request).link:
                return await import_remote(request, upload_service, self._remote)
            request = await refuse_import_request(request)
        if is_form(request):
            return await post_form(request, upload_service, self._settings.form_limits)
        return await post_raw(request, upload_service)

    async def _take_put(self, request: Request, upload_service: UploadService) -> Response:
        key: str = request.path_params["key"]
        if not is_ordinary(request):
            if is_partial(request) and not is_form(request):
                return await put_piece(request, upload_service, key)
            created = await dialects.create(request, upload_service, self._interim, key)
            if created is not None:
                return created
        if is_form(request):
            return await put_form(request, upload_service, key, self._settings.form_limits)
        return await put_object(request, upload_service, key)

    async def _show_page(self, request: Request) -> Response:
        """A link to one file leads there; a link without its last `/`, to its page."""
        root, grant = request.scope.get("root_path", ""), grant_of(request)
        if request.scope["path"] == root:
            if LINK not in request.scope:
                raise no_such_path(request.scope)
            return Response(status_code=308, headers={"Location": f"{root}/"})
        if grant.key and not grant.has(Right.UPLOAD):
            location = object_url(request, grant.key)
            return Response(status_code=303, headers={"Location": location})
        return await self._page.show(request)

    async def _show_arrival(self, request: Request) -> Response:
        origin_allowed = self._is_allowed_origin(request)
        return await show_arrival(request, self._interim, origin_allowed)

    async def _make_link(self, request: Request) -> Response:
        return await make_link(request, self._settings.link_key_file)

    async def _revoke_link(self, request: Request) -> Response:
        return await drop_link(request, self._settings.link_key_file)

    async def _fetch(self, request: Request) -> Response:
        grant_of(request).check_remote()
        return pass_remote(request, self._remote)

    async def _get(self, request: Request) -> Response:
        service = await self._service(request)
        key = await self._stored_key(request, service.store)
        if service.counts is not None:
            return await get_counted(request, service.store, service.counts, key)
        return await get_object(request, service.store, key, self._settings.redirect_downloads)

    async def _delete(self, request: Request) -> Response:
        store = (await self._service(request)).store
        return await delete_object(request, store, await self._stored_key(request, store))

    async def _rename(self, request: Request) -> Response:
        grant_of(request).require(Right.UPLOAD)  # besides that of the route
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
        return await dialects.show_options(request, await self._service(request))

    async def _show(self, request: Request) -> Response:
        if request.method == "HEAD":
            return await dialects.show_offset(request, await self._service(request))

        async def find_resting(upload: str) -> Mapping[str, object] | None:
            return await dialects.find_resting(upload, await self._service(request))

        upload: str = request.path_params["id"]
        elsewhere = (await self._service(request)).elsewhere
        table: WatchedTable = self._progress_table()
        if elsewhere is not None:
            table = ElsewhereTable(self._progress_table(), elsewhere)
        if (grant := grant_of(request)) is not FULL:
            table = GrantedTable(table, grant)
        watches = EVENT_STREAM_TYPE in request.headers.get("accept", "")
        fields = (
            {} if watches else await dialects.offset_fields(request, await self._service(request))
        )
        response = await show_upload(request, table, upload, find_resting, elsewhere)
        response.headers.update(fields)
        return response

    async def _override(self, request: Request) -> Response:
        """A POST that names another method: for clients whose proxies let only GET and POST pass.

        No other method may: a GET never deletes.
        """
        handlers = {
            "HEAD": self._show,
            "PATCH": self._append,
            "DELETE": self._cancel,
            "OPTIONS": self._options,
        }
        method = _override_of(request)
        if method == "POST":
            raise wrong_method(request, UPLOAD_METHODS)
        if method not in handlers:
            raise wrong_override(method, UPLOAD_METHODS)
        await self._service(request)  # known to this request, which gives its place back
        named = IndexedRequest({**request.scope, "method": method}, request.receive)
        return await handlers[method](named)

    async def _append(self, request: Request) -> Response:
        if not dialects.is_append(request):
            raise Unsupported(
                "A PATCH adds bytes to an upload: send it with Upload-Offset, Upload-Complete and "
                f"Content-Type: {PARTIAL_UPLOAD}, or by tus. {what_works(request.scope)}",
                accept_patch=f"{PARTIAL_UPLOAD}, {OFFSET_STREAM}",
            )
        return await dialects.append(request, await self._service(request), self._interim)

    async def _cancel(self, request: Request) -> Response:
        return await dialects.cancel(request, await self._service(request))

    async def _show_running(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", "").lower():
            return await self._page.show_live(request)
        self._gauges().write()
        elsewhere = (await self._service(request)).elsewhere if self._has_one_place else None
        return await show_running(request, self._progress_table(), elsewhere)

    async def _show_metrics(self, request: Request) -> Response:
        return self._metrics.show(request, self._progress_table(), self._gauges())

    async def _show_readiness(self, request: Request) -> Response:
        if not self._has_one_place:
            return await show_liveness(request)  # a probe has no place of its own
        return await self._readiness.show(request, await self._whole_service(request))


def _override_of(request: Request) -> str:
    """The method that a POST names, if it names one."""
    return request.headers.get("x-http-method-override", "").strip().upper() or "POST"
