"""The Flask extension: live requests for an app or a blueprint, and responses to their errors.

Knows an app and its views; how a form is read is in `form_reading.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import flask
from werkzeug.datastructures import Headers

from sluiceway.errors import MissingField, SluiceError
from sluiceway.flask.form_reading import FlaskTooLarge
from sluiceway.flask.live_request import OF_THE_PARSER, LiveRequest
from sluiceway.flask.progress import PREFIX, add_progress
from sluiceway.flask.view_modes import APP_MODE, FormMode, mark
from sluiceway.server.operator_log import log_error
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.body import can_say_close
from sluiceway.wsgi.watched import progress_of

__all__ = ["Sluiceway", "needs"]

View = TypeVar("View", bound=Callable[..., Any])


class Sluiceway:
    """The Flask extension: from then on views read forms while the client sends them.

    What a file under way cannot give is spooled as Werkzeug would have done, so every view goes on
    working; the debug log says which line asked for it.

    A request with `?upload=ID` in its address can be watched at `progress`/ID.

    Args:
        app: The app, before its first request, or a blueprint, before it is registered; None to
            call `init_app` later.
        strict: Refuse instead of spooling: the client gets an error, and the log names the line.
        live: Whether views without a mark are live; False for those under `@live` alone.
        progress: The path below which watchers find uploads; None for no bar. A blueprint has none.
        may_watch: Called with the id before somebody may watch; the app's own `before_request`
            decides as well. Without it, those may watch who know the id.

    Example:
        app = Flask(__name__)
        Sluiceway(app)
    """

    def __init__(
        self,
        app: flask.Flask | flask.Blueprint | None = None,
        *,
        strict: bool = False,
        live: bool = True,
        progress: str | None = PREFIX,
        may_watch: Callable[[str], bool] | None = None,
    ) -> None:
        self._mode = FormMode.of(live=live, strict=strict)
        self._progress, self._may_watch = progress, may_watch
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask | flask.Blueprint) -> None:
        """The same for an app or a blueprint that is created later."""
        if isinstance(app, flask.Blueprint):
            mark(app, self._mode)
            app.record(lambda state: _install(cast("flask.Flask", state.app)))
        else:
            app.extensions[APP_MODE] = self._mode
            _install(app)
            if self._progress is not None:
                add_progress(app, self._progress.rstrip("/"), self._may_watch)


def _install(app: flask.Flask) -> None:
    """Once for an app, whoever asks."""
    kind = app.request_class
    if issubclass(kind, LiveRequest):
        return
    own = any(getattr(kind, name) is not getattr(flask.Request, name) for name in OF_THE_PARSER)
    app.request_class = type("LiveRequest", (LiveRequest, kind), {"own_parser": own})
    app.after_request(_end_reading)
    if SluiceError not in app.error_handler_spec[None][None]:
        app.register_error_handler(SluiceError, _problem_response)


def _end_reading(response: flask.Response) -> flask.Response:
    """The form is read until the response has ended: it may be made of a file of the form."""
    reading = flask.request.__dict__.get("reading")
    if reading is not None:
        reading.answered = True
        response.call_on_close(reading.close)
    return response


def needs(*fields: str) -> Callable[[View], View]:
    """A decorator below a route: the view needs these fields before the file.

    A form that sends its file first is answered 422 at once, instead of being read in vain.

    Args:
        fields: Names of fields.

    Example:
        @app.post("/books")
        @needs("title")
        def book(): ...
    """

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            reading = cast("LiveRequest", flask.request).reading
            missing = (
                [name for name in fields if name not in flask.request.form]
                if reading is None
                else reading.begin(*fields)
            )
            if missing:
                raise MissingField(
                    f"The field {missing[0]!r} must come before the file; put it first in the form",
                    fields=missing,
                )
            return flask.current_app.ensure_sync(view)(*args, **kwargs)

        return cast("View", guarded)

    return wrap


def _problem_response(error: SluiceError) -> flask.Response:
    """As problem+json. The connection ends, because the client may still be sending."""
    if isinstance(error, FlaskTooLarge):
        error = error.as_problem()
    reading = flask.request.__dict__.get("reading")
    if reading is not None:
        reading.refused = True
    log_error(error, flask.request.method)
    if (progress := progress_of(flask.request.environ)) is not None:
        progress.fail(error)  # its watchers get its code
    written = write_problem(error, flask.request.path)
    headers = Headers(written.headers)
    if can_say_close(flask.request.environ):
        headers.add("Connection", "close")
    return flask.Response(written.body, written.status, headers)
