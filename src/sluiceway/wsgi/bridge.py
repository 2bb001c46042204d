"""The service on a WSGI server: its code runs in one event loop of the process, each request keeps the thread it came in.

The thread does what only it may: read the body, begin the answer, hand over its pieces; it does so when the service asks.
Nothing is gathered: at most one piece is on its way between the two, in either direction.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from http.client import responses
from typing import Any
from urllib.parse import quote_from_bytes

from starlette.types import ASGIApp, Message, Scope

from sluiceway.errors import SluiceError, Unavailable
from sluiceway.server.app import Sluiceway
from sluiceway.server.door.sites import TARGET
from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.server.settings import Settings
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.body import WsgiBody

__all__ = ["WsgiService", "wsgi_answer"]

STOP = 5.0  # seconds the service may take to let go of its uploads when the process ends
HOP = frozenset(
    ["connection", "keep-alive", "transfer-encoding", "upgrade"]
)  # PEP 3333: these are the server's to say

StartResponse = Callable[..., object]


class WsgiService:
    """A WSGI callable that is the whole service. Raises BadSetting at once for settings that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._process = 0
        self._app: Sluiceway

    def __call__(
        self, environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        with (
            self._lock
        ):  # at the first request of each process: servers fork after they have loaded the app
            if self._process != os.getpid():
                self._app, self._process = Sluiceway(self._settings), os.getpid()
                atexit.register(_end, _loop(), self._app)
        try:
            return wsgi_answer(self._app, environ, start_response)
        except SluiceError as error:  # of a body that this server's apps cannot read
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


def wsgi_answer(
    app: ASGIApp, environ: Mapping[str, Any], start_response: StartResponse
) -> Iterable[bytes]:
    """Run any ASGI app for one WSGI request. Raises LengthRequired, and what the app raises before it answers."""
    return _Exchange(environ, _loop(), app).begin(start_response)


_starting = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # process -> its event loop


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        if os.getpid() not in _loops:
            _loops[os.getpid()] = loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="sluiceway", daemon=True).start()
        return _loops[os.getpid()]


def _end(loop: asyncio.AbstractEventLoop, app: Sluiceway) -> None:
    with suppress(
        Exception
    ):  # the process ends anyway; what was left unfinished is swept at the next start
        asyncio.run_coroutine_threadsafe(app.aclose(), loop).result(STOP)


def _status_line(status: int) -> str:
    return f"{status} {responses.get(status, '-')}"


class _Exchange:
    """One request: `receive` and `send` are called by the service in its loop, everything else by the request's thread."""

    def __init__(
        self, environ: Mapping[str, Any], loop: asyncio.AbstractEventLoop, app: ASGIApp
    ) -> None:
        form = str(environ.get("CONTENT_TYPE", "")).lower().startswith("multipart/form-data")
        self._body = WsgiBody(environ, ends_itself=form)
        self._loop, self._app, self._scope = loop, app, _scope(environ)
        self._asked: queue.SimpleQueue[Message | None] = (
            queue.SimpleQueue()
        )  # a message to send; None: read on; or the end
        self._unread = self._body.length != 0
        self._coming: asyncio.Future[Message] | None = None  # the next piece of the body
        self._taken: asyncio.Future[None] | None = (
            None  # set when the server has taken what was sent last
        )
        self._left = asyncio.Event()  # the client, as far as a WSGI server tells
        self._told_empty = False

    # In the loop

    async def run(self) -> None:
        error: BaseException | None = None
        try:
            await self._app(self._scope, self.receive, self.send)
        except BaseException as caught:  # the thread waits for this word, whatever happened
            error = caught
        self._asked.put({"type": "ended", "error": error})

    async def receive(self) -> Message:
        if self._unread:
            if self._coming is None:
                self._coming = self._loop.create_future()
                self._asked.put(None)
            message = await asyncio.shield(
                self._coming
            )  # who gives up waiting loses nothing that came
            self._coming = None
            self._unread = bool(message.get("more_body"))
            return message
        if self._body.length == 0 and not self._told_empty:
            self._told_empty = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._left.is_set():
            return  # as every ASGI server does
        self._taken = self._loop.create_future()
        self._asked.put(message)
        await self._taken

    def _leave(self) -> None:
        self._left.set()
        self._take()

    def _take(self) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def _come(self, message: Message) -> None:
        if self._coming is not None and not self._coming.done():
            self._coming.set_result(message)

    # In the request's thread

    def begin(self, start_response: StartResponse) -> Iterable[bytes]:
        asyncio.run_coroutine_threadsafe(self.run(), self._loop)
        message = self._next()
        if message is None:
            raise SluiceError("The service ended without an answer")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
        ]
        start_response(
            _status_line(message["status"]), [one for one in headers if one[0].lower() not in HOP]
        )
        if self._scope["method"] != "HEAD":
            return _Pieces(self)
        # Frameworks drop the body of such an answer without closing it, and the service would wait for its reader.
        with closing(self):
            return list(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        while (message := self._next()) is not None:
            if data := message.get("body", b""):
                yield bytes(data)
            if not message.get("more_body"):
                return

    def close(self) -> None:
        """The server wants nothing more: all was sent, or the client left."""
        self._loop.call_soon_threadsafe(self._leave)

    def _next(self) -> Message | None:
        """What the service sends next; meanwhile the body is read as it asks. None when it has ended."""
        self._loop.call_soon_threadsafe(self._take)
        while True:
            message = self._asked.get()
            if message is None:
                self._loop.call_soon_threadsafe(self._come, self._read())
            elif message["type"] == "ended":
                if isinstance(message["error"], asyncio.CancelledError):
                    raise Unavailable("The server is stopping; send it again")
                if message["error"] is not None:
                    raise message["error"]
                return None
            else:
                return message

    def _read(self) -> Message:
        try:
            data = self._body.take()
        except SluiceError:
            return {"type": "http.disconnect"}
        return {
            "type": "http.request",
            "body": data,
            "more_body": bool(data) and self._body.taken != self._body.length,
        }


class _Pieces:
    """The answer's body as WSGI wants it: an iterator with `close`, which the server calls in any case."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange, self._pieces = exchange, exchange.pieces()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        self._exchange.close()


def _scope(environ: Mapping[str, Any]) -> Scope:
    """The request in ASGI's words. PEP 3333 gives bytes as Latin-1 text; ASGI wants the path as UTF-8.

    Bytes that are not UTF-8 become surrogates here, which the door refuses; a server may have repaired them before, so
    the target as it came is judged, too, where the server hands it on.
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
            (name.encode(), str(value).encode("latin-1")) for name, value in headers if value
        ],
        "client": (environ.get("REMOTE_ADDR") or "-", 0),
        "server": (environ.get("SERVER_NAME", ""), None),
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
