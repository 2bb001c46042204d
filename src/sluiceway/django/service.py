"""The whole service inside a Django site, with functions of the site around uploads.

A URL pattern whose view hands the request to the service (`wsgi/bridge.py`). The event loop and the
server's code are loaded when it is made.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.conf import settings as site_settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from sluiceway.errors import BadOrder, SluiceError, UploadRefused
from sluiceway.server.settings.arguments import Places, SettingArguments

if TYPE_CHECKING:
    from sluiceway.server.mounted.app_cors import AppCors
    from sluiceway.server.mounted.uploads import (
        EndHook,
        KeptHook,
        PlaceHook,
        PublishedHook,
        StartHook,
    )

__all__ = ["mount"]


def mount(
    prefix: str,
    to: Places | PlaceHook[HttpRequest] = "./uploads",
    *,
    on_start: StartHook[HttpRequest] | None = None,
    on_kept: KeptHook[HttpRequest] | None = None,
    on_published: PublishedHook[HttpRequest] | None = None,
    on_end: EndHook[HttpRequest] | None = None,
    decorator: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    **settings: Unpack[SettingArguments],
) -> URLPattern:
    """A URL pattern for the whole service: its page, files, uploads and all else. Under WSGI.

    The site decides who may use it, by its middleware, by `decorator`, or by `token=`. The
    functions may be plain or `async`; they run in the request's thread, so that the user, the
    session and the database are there. What they raise is answered as the site answers it;
    PermissionDenied, Http404 and the exceptions of Django REST framework as problem+json.

    Args:
        prefix: A path as for `path()`, such as "drop/"; files are at `drop/files`.
        to: Where files go, one place or several, as for `sluiceway serve --to`; or a function that
            gets the request and returns it.
        on_start: Called with a StartedUpload and the request before the first byte of each file is
            taken. It may set key, name, type and metadata, or raise UploadRefused.
        on_kept: Called with the KeptUpload of each file and the request when all bytes are kept and
            no reader can see the file yet, as `--on-kept` is. It may raise UploadRefused.
        on_published: Called with the Entry of each file and the request when it is published,
            before the answer. An error takes the files of the request back, where the destination
            can, and is the answer.
        on_end: Called with an EndedUpload and the request at every ending, for logs.
        decorator: Of the view, such as `login_required`.
        settings: The settings of `sluiceway serve` (docs/settings.md).

    Raises:
        BadSetting: A setting cannot be used.

    Example:
        urlpatterns = [
            mount("drop/", to=lambda request: f"/srv/{request.user.pk}", decorator=login_required),
        ]
    """
    from sluiceway.server.mounted.hooks import AppHooks
    from sluiceway.server.settings.checked import Settings
    from sluiceway.wsgi.bridge import WsgiService

    place, to = (to, "./uploads") if callable(to) else (None, to)
    hooks = AppHooks(
        to=_plain(place),
        on_start=_plain(on_start),
        on_kept=_plain(on_kept),
        on_published=_plain(on_published),
        on_end=_plain(on_end),
        known_error=_http_error,
        raises=True,
    )
    service = WsgiService(Settings.of(to, settings), hooks)

    def sluiceway_service(request: HttpRequest, rest: str, **_: Any) -> HttpResponseBase:
        if "wsgi.input" not in request.META:
            raise BadOrder(
                "Under ASGI Django stores the whole body before it calls a view; mount "
                "sluiceway.Sluiceway beside Django in asgi.py, or run the site under WSGI"
            ).for_operator()
        response = _Response()
        body = service(_below(request, rest), response.start, request, _app_cors(request))
        return response.made(body)

    view: Callable[..., Any] = sluiceway_service
    if decorator is not None:
        view = decorator(view)
    # the service itself refuses requests from pages of other sites, by their Origin
    return re_path(rf"^{re.escape(prefix)}(?P<rest>(?s:.*))\Z", csrf_exempt(view))


class _Response:
    """What a WSGI app answers, as Django's response."""

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self._status, self._headers = int(status[:3]), headers

    def made(self, body: Iterable[bytes]) -> HttpResponseBase:
        response = StreamingHttpResponse(body, status=self._status)
        del response["Content-Type"]
        for name, value in self._headers:  # Django keeps one of each name
            response[name] = f"{response[name]}, {value}" if name in response else value
        return response


def _below(request: HttpRequest, rest: str) -> dict[str, Any]:
    """The environ with the pattern's path in SCRIPT_NAME (PEP 3333: bytes as Latin-1 text)."""
    environ = dict(request.META)
    path = str(environ["PATH_INFO"])
    mounted = request.path_info[: len(request.path_info) - len(rest)].rstrip("/")
    mounted = mounted.encode("utf-8", "surrogateescape").decode("latin-1")
    environ["SCRIPT_NAME"] = str(environ.get("SCRIPT_NAME", "")) + mounted
    environ["PATH_INFO"] = path[len(mounted) :]
    return environ


def _plain(hook: Callable[..., Any] | None) -> Callable[..., Any] | None:
    return async_to_sync(hook) if hook is not None and iscoroutinefunction(hook) else hook


def _http_error(error: Exception) -> SluiceError | None:
    """What views of Django and of its REST framework raise, as an error of ours."""
    if isinstance(error, PermissionDenied):
        return UploadRefused(str(error), 403)
    if isinstance(error, Http404):
        return UploadRefused(str(error), 404)
    if isinstance(error, SuspiciousOperation):
        return UploadRefused("", 400)
    status, detail = getattr(error, "status_code", 0), getattr(error, "detail", None)
    if isinstance(status, int) and status >= 400 and isinstance(detail, str):
        return UploadRefused(str(detail), status)
    return None


def _app_cors(request: HttpRequest) -> AppCors:
    """What the site's django-cors-headers says of this request: it is asked about no response."""
    from sluiceway.server.mounted.app_cors import app_cors

    names = [name for name in site_settings.MIDDLEWARE if name.startswith("corsheaders.")]
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or not names:
        return ""
    rules = [import_string(name)(lambda _: HttpResponse()) for name in names]

    def allows(asked: str) -> bool:
        other = copy.copy(request)
        other.META = {**request.META, "HTTP_ORIGIN": asked}
        other.__dict__.pop("headers", None)  # Django's cache of them
        answers = [rule.add_response_headers(other, HttpResponse()) for rule in rules]
        return any("Access-Control-Allow-Origin" in answer for answer in answers)

    return app_cors([origin], allows)
