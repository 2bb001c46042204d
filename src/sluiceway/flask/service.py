"""The whole service inside a Flask app, and responses from any source.

The event loop and the server's code are loaded when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter

from sluiceway.client.bodies.inputs import Content
from sluiceway.errors import SluiceError, UploadRefused
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

__all__ = ["mount", "stream"]

Hook = TypeVar("Hook", bound=Callable[..., Any])

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "MOVE")


def mount(
    app: flask.Flask | flask.Blueprint,
    prefix: str,
    to: Places | PlaceHook[flask.Request] = "./uploads",
    *,
    on_start: StartHook[flask.Request] | None = None,
    on_kept: KeptHook[flask.Request] | None = None,
    on_published: PublishedHook[flask.Request] | None = None,
    on_end: EndHook[flask.Request] | None = None,
    **settings: Unpack[SettingArguments],
) -> Callable[..., flask.Response]:
    """Serve the whole service under `prefix`: its page, files, uploads and all else.

    The app decides who may use it, in `before_request` as for other views, or by `token=`. The
    functions may be plain or `async`; they run in the request's thread and context, so that
    `current_user`, the session and database sessions are there. What they raise is answered as the
    app answers it; an `abort` as problem+json.

    Args:
        app: The app, or a blueprint, before it is registered.
        prefix: A path, behind that of the blueprint; the page is at `prefix/`, files are at
            `prefix/files`.
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
        settings: The settings of `sluiceway serve` (docs/settings.md).

    Returns:
        The view, for decorators that exempt it.

    Raises:
        BadSetting: A setting cannot be used.

    Example:
        csrf.exempt(mount(app, "/drop", to="s3://bucket", token=TOKEN))
    """
    from sluiceway.server.mounted.hooks import AppHooks
    from sluiceway.server.settings.checked import Settings
    from sluiceway.wsgi.bridge import WsgiService

    prefix = prefix.rstrip("/")
    place, to = (to, "./uploads") if callable(to) else (None, to)
    hooks = AppHooks(
        to=place and _in_app(place),
        on_start=on_start and _in_app(on_start),
        on_kept=on_kept and _in_app(on_kept),
        on_published=on_published and _in_app(on_published),
        on_end=on_end and _in_app(on_end),
        known_error=_http_error,
        raises=True,
    )
    service = WsgiService(Settings.of(to, settings), hooks)

    def sluiceway_service(rest: str = "", **_: object) -> flask.Response:
        environ = dict(flask.request.environ)
        # The prefix of a blueprint may hold values. Nothing but slashes is the same in both texts.
        path: str = environ["PATH_INFO"]
        mounted = path.rsplit("/", rest.count("/") + 1)[0]
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + mounted
        environ["PATH_INFO"] = path[len(mounted) :]
        request, cors = flask.request._get_current_object(), _app_cors()  # type: ignore[attr-defined]
        made = flask.current_app.response_class.from_app(
            lambda known, start: service(known, start, request, cors), environ
        )
        return cast("flask.Response", made)

    if isinstance(app, flask.Blueprint):
        app.record(lambda state: _add_converter(cast("flask.Flask", state.app)))
    else:
        _add_converter(app)
    for rule in (f"{prefix}/", f"{prefix}/<sluiceway_rest:rest>"):
        app.add_url_rule(
            rule,
            f"sluiceway{prefix.replace('.', '-')}",
            sluiceway_service,
            methods=METHODS,
            provide_automatic_options=False,  # the service knows the methods of each path
            merge_slashes=False,
        )
    return sluiceway_service


def _add_converter(app: flask.Flask) -> None:
    app.url_map.converters.setdefault("sluiceway_rest", _Rest)


def _in_app(hook: Hook) -> Hook:
    """The hook as the app of the request runs its views: one that is `async`, too."""

    @wraps(hook)
    def run(*args: Any) -> Any:
        return flask.current_app.ensure_sync(hook)(*args)

    return cast("Hook", run)


def stream(
    source: Content,
    *,
    filename: str | None = None,
    type: str | None = None,
    size: int | None = None,
    etag: str | None = None,
    modified: float | None = None,
    inline: bool = False,
    allow: Sequence[str] = (),
    internal: Sequence[str] = (),
) -> flask.Response:
    """A response with the bytes of any source, in constant memory.

    It has ranges and validators if the source can be read from its middle; else it is sent whole,
    in chunks if its length is unknown.

    Args:
        source: A path, an open file, bytes, an iterable of bytes, a URL, or a file of a form.
        filename: The name to save it under. This and the next four: None if the source knows.
        type: Its media type.
        size: Its bytes.
        etag: A tag of its version, without quotes.
        modified: Seconds since the epoch.
        inline: A browser shows it, instead of saving it.
        allow: Of a URL: hosts that may be asked.
        internal: Of a URL: addresses that may be asked although they are not public (10.0.0.0/8).

    Raises:
        NotFound, SourceFailed, BadRequest, BadSetting: The source cannot be opened.
        PreconditionFailed, RangeUnsatisfiable: The request's conditions and ranges (RFC 9110).
        Forbidden, PeerFailed: The URL may not be asked, or its server fails.

    Example:
        return stream(f"/srv/books/{number}.pdf", filename="The book.pdf")
    """
    from sluiceway.wsgi.bridge import run_asgi_app
    from sluiceway.wsgi.stream_response import StreamOptions, stream_response

    options = StreamOptions(filename, type, size, etag, modified, inline, allow, internal)
    app = stream_response(source, options)
    # the request's body is the view's
    no_body = {"CONTENT_LENGTH": "0", "HTTP_TRANSFER_ENCODING": ""}
    response = flask.current_app.response_class.from_app(
        lambda *wsgi: run_asgi_app(app, *wsgi), {**flask.request.environ, **no_body}
    )
    return cast("flask.Response", response)


class _Rest(PathConverter):
    """Any path. Werkzeug's own `path` ends before a line feed; the service refuses such a path."""

    part_isolating = False  # it takes slashes
    regex = "(?s:.+?)"


def _http_error(error: Exception) -> SluiceError | None:
    """What `abort` raises, as an error of ours; None for all others."""
    if isinstance(error, HTTPException) and (error.code or 0) >= 400:
        return UploadRefused(error.description or error.name, error.code or 403)
    return None


def _app_cors() -> AppCors:
    """What the app's flask-cors says of this request: it is asked with an empty response."""
    from sluiceway.server.mounted.app_cors import app_cors

    app, blueprints = flask.current_app, [None, *flask.request.blueprints]
    rules = [
        function
        for name in blueprints
        for function in app.after_request_funcs.get(name, ())
        if getattr(function, "__module__", "").startswith("flask_cors")
    ]

    def allows(origin: str) -> bool:
        # flask-cors reads the current request, whose headers are these
        environ = flask.request.environ
        sent = environ["HTTP_ORIGIN"]
        environ["HTTP_ORIGIN"] = origin
        try:
            answers = [app.ensure_sync(rule)(app.response_class()) for rule in rules]
        finally:
            environ["HTTP_ORIGIN"] = sent
        return any("Access-Control-Allow-Origin" in answer.headers for answer in answers)

    return app_cors(flask.request.headers.getlist("Origin"), allows) if rules else ""
