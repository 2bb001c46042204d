"""The service on a WSGI server: one event loop a process runs it, each request keeps its thread.

The thread does what only it may, when the service asks for it: it reads the body, begins the
response and hands over its chunks. Nothing is gathered: at most one chunk is on its way between
the two, in each direction.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from http.client import responses
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_from_bytes

from starlette.types import ASGIApp, Message, Scope

from sluiceway.errors import SluiceError, Unavailable
from sluiceway.server.app import Sluiceway
from sluiceway.server.doctor.arrival import APP_SERVER
from sluiceway.server.door.sites import APP_CORS, TARGET
from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.server.handlers.progress import THREAD_LIMITS
from sluiceway.server.mounted.app_cors import AppCors
from sluiceway.server.mounted.hooks import CALL, FRAMEWORK_REQUEST, AppHooks
from sluiceway.server.settings.checked import Settings
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.body import WsgiBody
from sluiceway.wsgi.watched import thread_limits

__all__ = ["WsgiService", "run_asgi_app"]

# Seconds in which the service lets go of its uploads when the process ends.
SHUTDOWN_TIMEOUT = 5.0
# Headers that only the server may set (PEP 3333).
HOP_BY_HOP = frozenset(["connection", "keep-alive", "transfer-encoding", "upgrade"])

StartResponse = Callable[..., object]


class WsgiService:
    """A WSGI callable that is the whole service."""

    def __init__(self, settings: Settings, hooks: AppHooks | None = None) -> None:
        self._settings, self._hooks = settings, hooks
        self._lock = threading.Lock()
        self._process = 0
        self._app: Sluiceway

    def __call__(
        self,
        environ: Mapping[str, Any],
        start_response: StartResponse,
        request: object = None,
        app_cors: AppCors = "",
    ) -> Iterable[bytes]:
        """`request` is what the hooks get; `app_cors` what the app's CORS rules say of it."""
        with self._lock:
            # at the first request of each process: servers fork after they have loaded the app
            if self._process != os.getpid():
                self._app, self._process = self._new_app(), os.getpid()
                atexit.register(_close_app, _event_loop(), self._app)
        try:
            limits = thread_limits(bool(environ.get("wsgi.multithread")))
            known = {FRAMEWORK_REQUEST: request, APP_CORS: app_cors, THREAD_LIMITS: limits}
            return run_asgi_app(self._app, environ, start_response, known)
        except SluiceError as error:  # of a body that apps of this server cannot read
            written = write_problem(error)
            names = {name.lower() for name, _ in written.headers}
            safe = [(name.decode(), value.decode()) for name, value in SAFE_HEADERS]
            headers = [
                *written.headers,
                ("Content-Length", str(len(written.body))),
                *(field for field in safe if field[0] not in names),
            ]
            start_response(_status_line(written.status), headers)
            return [written.body]

    def _new_app(self) -> Sluiceway:
        return Sluiceway(self._settings, hooks=self._hooks)


def run_asgi_app(
    app: ASGIApp,
    environ: Mapping[str, Any],
    start_response: StartResponse,
    known: Mapping[str, object] = MappingProxyType({}),
) -> Iterable[bytes]:
    """Run any ASGI app for one WSGI request, with `known` in its scope.

    Raises LengthRequired, and what the app raises before it responds.
    """
    return _Exchange(environ, _event_loop(), app, known).begin(start_response)


_starting = threading.Lock()
_event_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process, because servers fork


def _event_loop() -> asyncio.AbstractEventLoop:
    with _starting:
        if os.getpid() not in _event_loops:
            _event_loops[os.getpid()] = loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="sluiceway", daemon=True).start()
        return _event_loops[os.getpid()]


def _close_app(loop: asyncio.AbstractEventLoop, app: Sluiceway) -> None:
    # The process ends in any case; leftovers are swept at the next start.
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(app.aclose(), loop).result(SHUTDOWN_TIMEOUT)


def _status_line(status: int) -> str:
    return f"{status} {responses.get(status, '-')}"


class _Exchange:
    """One request and its response.

    The service calls `receive` and `send` in its event loop; the request's thread calls the rest.
    """

    def __init__(
        self,
        environ: Mapping[str, Any],
        loop: asyncio.AbstractEventLoop,
        app: ASGIApp,
        known: Mapping[str, object],
    ) -> None:
        form = str(environ.get("CONTENT_TYPE", "")).lower().startswith("multipart/form-data")
        self._body = WsgiBody(environ, ends_itself=form)
        self._loop, self._app = loop, app
        self._scope = {**_scope(environ), **known, CALL: self.call}
        # To the thread: a message to send, the end of the service, None: read the body, or a
        # function to run.
        self._jobs: queue.SimpleQueue[Message | Callable[[], None] | None] = queue.SimpleQueue()
        self._context = contextvars.copy_context()  # of the request: Flask's own is in it
        self._unread = self._body.length != 0
        self._next_chunk: asyncio.Future[Message] | None = None  # of the body
        # Done when the server has taken what was sent last.
        self._taken: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()  # by the server: the client left, or has everything
        self._empty_body_delivered = False

    # In the event loop

    async def run(self) -> None:
        error: BaseException | None = None
        try:
            await self._app(self._scope, self.receive, self.send)
        except BaseException as caught:  # the thread waits for the end, whatever it is
            error = caught
        self._jobs.put({"type": "ended", "error": error})

    async def receive(self) -> Message:
        if self._unread:
            if self._next_chunk is None:
                self._next_chunk = self._loop.create_future()
                self._jobs.put(None)
            # shielded: a wait that is cancelled loses no chunk
            message = await asyncio.shield(self._next_chunk)
            self._next_chunk = None
            self._unread = bool(message.get("more_body"))
            return message
        if self._body.length == 0 and not self._empty_body_delivered:
            self._empty_body_delivered = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._closed.wait()
        return {"type": "http.disconnect"}

    async def call(self, function: Callable[..., Any], *values: object) -> Any:
        """Run the app's function in the request's thread: what it knows of its request, and its
        database connections, are there."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def run() -> None:
            result, error = None, None
            try:
                result = function(*values)
            except Exception as caught:
                error = caught
            self._loop.call_soon_threadsafe(settle, result, error)

        if self._closed.is_set():  # the thread has left
            return await self._loop.run_in_executor(
                None, self._context.run, functools.partial(function, *values)
            )
        self._jobs.put(run)
        return await done

    async def send(self, message: Message) -> None:
        if self._closed.is_set():
            return  # as every ASGI server does
        self._taken = self._loop.create_future()
        self._jobs.put(message)
        await self._taken

    def _set_closed(self) -> None:
        self._closed.set()
        self._set_taken()

    def _set_taken(self) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def _set_next_chunk(self, message: Message) -> None:
        if self._next_chunk is not None and not self._next_chunk.done():
            self._next_chunk.set_result(message)

    # In the request's thread

    def begin(self, start_response: StartResponse) -> Iterable[bytes]:
        asyncio.run_coroutine_threadsafe(self.run(), self._loop)
        message = self._next_message()
        if message is None:
            raise SluiceError("The service ended without a response")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
        ]
        start_response(
            _status_line(message["status"]),
            [field for field in headers if field[0].lower() not in HOP_BY_HOP],
        )
        if self._scope["method"] != "HEAD":
            return _ResponseBody(self)
        # Frameworks drop the body of such a response without closing it, and the service would
        # wait for its reader.
        with closing(self):
            return list(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The chunks of the response's body, none empty."""
        while (message := self._next_message()) is not None:
            if data := message.get("body", b""):
                yield bytes(data)
            if not message.get("more_body"):
                return

    def close(self) -> None:
        """The server wants nothing more: all was sent, or the client left."""
        self._loop.call_soon_threadsafe(self._set_closed)

    def _next_message(self) -> Message | None:
        """The next message of the service; None when it has ended. Reads the body as it asks."""
        self._loop.call_soon_threadsafe(self._set_taken)
        while True:
            message = self._jobs.get()
            if callable(message):
                message()
            elif message is None:
                self._loop.call_soon_threadsafe(self._set_next_chunk, self._read_body())
            elif message["type"] == "ended":
                if isinstance(message["error"], asyncio.CancelledError):
                    raise Unavailable("The server is stopping; send it again")
                if message["error"] is not None:
                    raise message["error"]
                return None
            else:
                return message

    def _read_body(self) -> Message:
        try:
            data = self._body.take()
        except SluiceError:
            return {"type": "http.disconnect"}
        return {
            "type": "http.request",
            "body": data,
            "more_body": bool(data) and self._body.taken != self._body.length,
        }


class _ResponseBody:
    """A WSGI response's body: an iterator with `close`, which the server calls in any case."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange, self._chunks = exchange, exchange.chunks()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._exchange.close()


def _scope(environ: Mapping[str, Any]) -> Scope:
    """The request as an ASGI scope. PEP 3333 gives bytes as Latin-1 text; ASGI wants UTF-8 paths.

    Bytes that are not UTF-8 become surrogates here, which the service refuses. A server may have
    repaired them before, so the target as it came is checked as well, where the server has it.
    """
    mounted, path = (
        environ.get(name, "").encode("latin-1") for name in ("SCRIPT_NAME", "PATH_INFO")
    )
    headers = [
        (name[5:].replace("_", "-").lower(), value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers += [
        (name.replace("_", "-").lower(), environ.get(name))
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    ]
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": (mounted + path).decode("utf-8", "surrogateescape"),
        "root_path": mounted.decode("utf-8", "surrogateescape"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [
            (name.encode(), str(value).encode("latin-1"))
            for name, value in headers
            if value not in (None, "")  # an empty CONTENT_LENGTH means that there is none
        ],
        "client": (environ.get("REMOTE_ADDR") or "-", 0),
        "server": (environ.get("SERVER_NAME", ""), None),
        APP_SERVER: str(
            environ.get("SERVER_SOFTWARE") or ("uWSGI" if "uwsgi.version" in environ else "")
        ),
        "extensions": {},
    }
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").encode(
        "latin-1", "replace"
    )
    before, absolute, rest = target.partition(b"://")
    if absolute and b"/" not in before:
        scope[TARGET], _, target = rest.partition(b"/")
    scope["raw_path"] = target.partition(b"?")[0] or quote_from_bytes(mounted + path).encode()
    return scope
