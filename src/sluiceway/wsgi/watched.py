"""Watched uploads of a WSGI app's own views: `?upload=ID` counts a request, and watchers look.

A request without an id passes through untouched. Knows WSGI, and no framework.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sluiceway.errors import NotFound
from sluiceway.server.progress.query import watched_id, watched_length
from sluiceway.server.progress.watch import ThreadLimits, UploadWatch
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.view_progress import FileProgress, ViewProgress
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "WatchedApp",
    "WatchedInput",
    "begin_watched",
    "file_progress",
    "progress_of",
    "thread_limits",
    "upload_events",
    "upload_snapshot",
]

PROGRESS = "sluiceway.progress"  # the name of a watched request's ViewProgress in its environ
# Seconds that a watcher may hold a thread of the app while its upload has not begun.
BEGIN_TIMEOUT = 10.0
# Watchers of a process that may wait so at the same time. With more, watching ids that never begin
# would take every thread of the app; those that are turned away open their stream again.
MOST_WAITING = 2

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WatchedApp:
    """A WSGI app whose requests with `?upload=ID` can be watched."""

    def __init__(self, app: WsgiApplication, progress: AppProgress) -> None:
        self._app, self._progress = app, progress

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        progress = begin_watched(environ, self._progress)
        if progress is None:
            return self._app(environ, start_response)
        environ["wsgi.input"] = WatchedInput(environ["wsgi.input"], progress)
        status: list[int] = []

        def started(line: str, *rest: Any) -> Any:
            status[:] = [ascii_uint(line[:3], "status")]
            return start_response(line, *rest)

        try:
            body = self._app(environ, started)
        except BaseException as error:
            progress.end(None, error)
            raise
        return _WatchedResponse(body, lambda error: progress.end(next(iter(status), None), error))


class _WatchedResponse:
    """The response's body. The upload has ended when the server has taken or closed it."""

    def __init__(
        self, body: Iterable[bytes], at_end: Callable[[BaseException | None], None]
    ) -> None:
        self._body, self._at_end = body, at_end

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            self._at_end(error)
            raise
        self._at_end(None)

    def close(self) -> None:
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        finally:
            self._at_end(None)


class WatchedInput:
    """`wsgi.input`, or another body of the request, counted while it is read."""

    def __init__(self, body: Any, progress: ViewProgress) -> None:
        self._body, self._progress, self._left = body, progress, progress.length

    def read(self, *size: int) -> bytes:
        return self._counted(self._body.read, size)

    def readline(self, *size: int) -> bytes:
        return self._counted(self._body.readline, size)

    def readlines(self, *hint: int) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def _counted(self, read: Callable[..., bytes], size: tuple[int, ...]) -> bytes:
        self._progress.begin_read()
        try:
            data = read(*size)
        except Exception:
            self._progress.cut()  # whatever a server raises, it is the body that it cannot read
            raise
        if size != (0,):
            self._count(len(data))
        return data

    def _count(self, size: int) -> None:
        if self._left is not None:
            if not size and self._left:
                self._progress.cut()
            self._left -= min(size, self._left)
        self._progress.count_received(size)


def begin_watched(environ: dict[str, Any], progress: AppProgress) -> ViewProgress | None:
    """Watch the request if it has a body and an id in its query; None if it has not."""
    upload = watched_id(environ.get("REQUEST_METHOD", ""), environ.get("QUERY_STRING", ""))
    if upload is None:
        return None
    length = watched_length(str(environ.get("CONTENT_LENGTH") or ""))
    watched = progress.begin(upload, length)
    if watched is not None:
        environ[PROGRESS] = watched
    return watched


def progress_of(environ: Mapping[str, Any]) -> ViewProgress | None:
    """The progress of a request that is watched."""
    found: ViewProgress | None = environ.get(PROGRESS)
    return found


def file_progress(environ: Mapping[str, Any]) -> Callable[[], FileProgress] | None:
    """What makes the progress of a file in the request's form; None unless it is watched."""
    progress = progress_of(environ)
    return None if progress is None else progress.add_file


def upload_snapshot(progress: AppProgress, upload: str) -> dict[str, object]:
    """The counters of an upload, as JSON values. Raises NotFound, BadRequest."""
    record = progress.find(checked_id(upload))
    if record is None:
        raise NotFound("No upload with this id is running, or it ended a while ago")
    record.watch()
    progress.end_if_orphan(record)
    return record.snapshot()


def thread_limits(threaded: bool) -> ThreadLimits:
    """Of a watcher in a WSGI app; `threaded` is the server's `wsgi.multithread`."""
    return ThreadLimits(BEGIN_TIMEOUT, MOST_WAITING, alone=not threaded)


def upload_events(progress: AppProgress, upload: str, threaded: bool) -> Iterator[bytes]:
    """The event stream of an upload; it blocks between its events. Raises BadRequest.

    A worker that has one thread gives the state as it is and ends: else it would take no upload
    while somebody watches one. Clients open the stream again.
    """
    checked_id(upload)
    return _events(progress, upload, threaded)


def _events(progress: AppProgress, upload: str, threaded: bool) -> Iterator[bytes]:
    with UploadWatch(progress, upload, time.monotonic, thread_limits(threaded)) as watch:
        while True:
            if data := watch.look():
                yield data
            if watch.ended or watch.must_leave:
                return
            time.sleep(watch.interval)
