"""Which line of the app asks for something: for the log, never for a client.

Looks at the stack of the running request, and knows which files are libraries.
"""

from __future__ import annotations

import inspect
import os
import sysconfig
from types import CodeType, FrameType
from typing import Any

import flask

__all__ = ["app_line", "called_by"]

_LIBRARIES = tuple(
    os.path.join(path, "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(os.path.dirname(__file__)),
    }
)
_DISPATCH: CodeType = flask.Flask.wsgi_app.__code__  # behind it is the server


def app_line() -> str:
    """The innermost line of the app's own code; the view's first line where none is running.

    An extension's hook, as that of a CSRF check, runs before the view.
    """
    for frame in _frames():
        if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    if not flask.has_request_context():
        return "a thread of the app"
    return _first_line(flask.current_app.view_functions.get(flask.request.endpoint or ""))


def called_by(*modules: str) -> bool:
    """Whether the code that runs was called by one of these modules."""
    return any(frame.f_globals.get("__name__") in modules for frame in _frames())


def _frames() -> list[FrameType]:
    """From the caller outwards to Flask's dispatch of the request."""
    frames: list[FrameType] = []
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not _DISPATCH:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _first_line(view: Any) -> str:
    view = inspect.unwrap(getattr(view, "view_class", view))
    code = getattr(view, "__code__", None)
    if code is None:
        return f"the view of {flask.request.endpoint!r}"
    return f"{code.co_filename}:{code.co_firstlineno} (before the view runs)"
