"""The Flask extension: live requests for an app, and answers to the errors that they raise.

Knows an app and its views; how a form is read is in `live_request.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import flask
from werkzeug.datastructures import Headers

from sluiceway.errors import MissingField, SluiceError
from sluiceway.flask.live_request import LiveRequest
from sluiceway.flask.progress import PREFIX, add_progress
from sluiceway.server.operator_log import log_error
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.body import can_say_close
from sluiceway.wsgi.watched import progress_of

__all__ = ["Sluiceway", "needs"]

View = TypeVar("View", bound=Callable[..., Any])


class Sluiceway:
    """The Flask extension: from then on the app's views read forms while the client sends them.

    A request with `?upload=ID` in its address can be watched at `progress`/ID.

    Args:
        app: The app, before its first request; None to call `init_app` later.
        progress: The path below which watchers find uploads; None for no bar.
        may_watch: Called with the id before somebody may watch; the app's own `before_request`
            decides as well. Without it, those may watch who know the id.

    Example:
        app = Flask(__name__)
        Sluiceway(app)
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        *,
        progress: str | None = PREFIX,
        may_watch: Callable[[str], bool] | None = None,
    ) -> None:
        self._progress, self._may_watch = progress, may_watch
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """The same for an app that is created later."""
        if not issubclass(app.request_class, LiveRequest):
            app.request_class = type("LiveRequest", (LiveRequest, app.request_class), {})
        app.register_error_handler(SluiceError, _problem_response)
        if self._progress is not None:
            add_progress(app, self._progress.rstrip("/"), self._may_watch)


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
            live = cast("LiveRequest", flask.request).live
            missing = list(fields) if live is None else live.begin(*fields)
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
    log_error(error, flask.request.method)
    if (progress := progress_of(flask.request.environ)) is not None:
        progress.fail(error)  # its watchers get its code
    written = write_problem(error, flask.request.path)
    headers = Headers(written.headers)
    if can_say_close(flask.request.environ):
        headers.add("Connection", "close")
    return flask.Response(written.body, written.status, headers)
