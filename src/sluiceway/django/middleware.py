"""Middleware of a site: the answers to our errors, and the progress of the site's own views.

The site says who may watch: by its other middleware, or by a callable. What watchers see is made in
`wsgi/watched.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.crypto import salted_hmac
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.http import require_GET

from sluiceway.errors import Forbidden, SluiceError
from sluiceway.server.operator_log import log_error
from sluiceway.server.progress.watch import EVENT_HEADERS, UploadWatch
from sluiceway.server.responses import problem_response
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.view_progress import ViewProgress
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.watched import (
    WatchedInput,
    begin_watched,
    progress_of,
    upload_events,
    upload_snapshot,
)

__all__ = ["Problems", "WatchedUploads", "progress_urls"]

MayWatch = Callable[[HttpRequest, str], bool]


class Problems(MiddlewareMixin):
    """Middleware that answers this library's errors as problem+json (RFC 9457).

    Each error has its own status; a destination's refusal is passed on as it came.

    Example:
        MIDDLEWARE = ["sluiceway.django.Problems", ...]
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Django calls it with what a view raised. None for an error that is not ours."""
        if not isinstance(exception, SluiceError):
            return None
        log_error(exception, request.method)
        if (progress := progress_of(request.META)) is not None:
            progress.fail(exception)  # its watchers get its code
        problem = problem_response(exception)
        response = HttpResponse(bytes(problem.body), status=problem.status_code)
        for name in dict.fromkeys(problem.headers.keys()):
            response[name] = ", ".join(problem.headers.getlist(name))
        return response


class WatchedUploads(MiddlewareMixin):
    """Middleware: requests with `?upload=ID` can be watched. It stands first in the list.

    Example:
        MIDDLEWARE = ["sluiceway.django.WatchedUploads", "sluiceway.django.Problems", ...]
        urlpatterns = [path("uploads/", include(sluiceway.django.progress_urls()))]
    """

    def process_request(self, request: HttpRequest) -> None:
        """Count what is read of the body from here on."""
        begun = begin_watched(request.META, _progress())
        if begun is not None:
            _count_input(request, begun)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """The upload has ended when the response was sent and is closed."""
        progress = progress_of(request.META)
        if progress is not None:
            closers: list[Any] = response._resource_closers  # type: ignore[attr-defined]
            closers.append(lambda: progress.end(response.status_code))
        return response


def progress_urls(may_watch: MayWatch | None = None) -> list[URLPattern]:
    """The URLs of a site's progress: `ID` shows an upload, `page/sluice.js` is <sluice-drop>.

    Args:
        may_watch: Called with the request and the id before somebody may watch. Without it, those
            may watch who know the id and pass the site's middleware.

    Returns:
        Patterns for Django's `include`.

    Example:
        urlpatterns = [path("uploads/", include(progress_urls(lambda r, _: r.user.is_staff)))]
    """

    @require_GET
    def sluiceway_progress(request: HttpRequest, upload: str) -> HttpResponseBase:
        try:
            if may_watch is not None and not may_watch(request, upload):
                raise Forbidden("You may not watch this upload")
            return _shown(request, checked_id(upload))
        except SluiceError as error:  # also without the Problems middleware
            return _problem(error, request)

    return [
        path("page/<path:name>", _page_asset, name="sluiceway_page"),
        path("<str:upload>", sluiceway_progress, name="sluiceway_progress"),
    ]


def _shown(request: HttpRequest, upload: str) -> HttpResponseBase:
    if EVENT_STREAM_TYPE not in request.headers.get("Accept", ""):
        return JsonResponse(
            upload_snapshot(_progress(), upload), headers={"Cache-Control": "no-store"}
        )
    events: Any
    if "wsgi.input" in request.META:
        events = upload_events(_progress(), upload, bool(request.META.get("wsgi.multithread")))
    else:
        events = _events(upload)
    return StreamingHttpResponse(events, headers=dict(EVENT_HEADERS))


async def _events(upload: str) -> AsyncIterator[bytes]:
    """Under ASGI: Django would gather an iterator that blocks."""
    with UploadWatch(_progress(), upload, time.monotonic) as watch:
        while True:
            if data := watch.look():
                yield data
            if watch.ended:
                return
            await asyncio.sleep(watch.interval)


def _count_input(request: HttpRequest, progress: ViewProgress) -> None:
    """Count what Django and this library read: the first from its stream, we from the server's."""
    environ, ours = request.META, cast("Any", request)
    if "wsgi.input" not in environ:  # Django has stored the body already
        ours._stream = WatchedInput(ours._stream, progress)
        return
    environ["wsgi.input"] = counted = WatchedInput(environ["wsgi.input"], progress)
    ours._stream = type(ours._stream)(counted, progress.length or 0)


@cache
def _progress() -> AppProgress:
    """The site's secret makes a name that all its processes know, and nobody else."""
    name = salted_hmac("sluiceway.progress", settings.ROOT_URLCONF, algorithm="sha256")
    return AppProgress.of(f"django\0{name.hexdigest()}")


@require_GET
def _page_asset(request: HttpRequest, name: str) -> HttpResponse:
    from sluiceway.server.page.assets import asset_beside_progress

    try:
        asset = asset_beside_progress(name)
    except SluiceError as error:
        return _problem(error, request)
    return HttpResponse(asset.body, headers=dict(asset.headers))


def _problem(error: SluiceError, request: HttpRequest) -> HttpResponse:
    written = write_problem(error, request.path)
    return HttpResponse(written.body, status=written.status, headers=dict(written.headers))
