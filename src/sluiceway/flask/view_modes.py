"""Whether a view reads forms live: what is said on the view, its blueprint, or for the app.

Knows marks and where they are found; how a form is read is in `form_reading.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import wraps
from typing import Any, TypeVar, cast, overload

import flask

__all__ = ["FormMode", "live", "mark", "mode_of_request", "spooled"]

MARK = "__sluiceway_mode__"
APP_MODE = "sluiceway"  # in app.extensions

Marked = TypeVar("Marked", bound=Callable[..., Any])


class FormMode(Enum):
    """How the forms of a view are read."""

    LIVE = "live where it can be, spooled where it must be"
    STRICT = "live, and refused where it cannot be"
    SPOOLED = "as without Sluiceway"

    @classmethod
    def of(cls, *, live: bool, strict: bool) -> FormMode:
        """The mode for an app or a blueprint."""
        return cls.SPOOLED if not live else cls.STRICT if strict else cls.LIVE


@overload
def live(target: flask.Blueprint) -> flask.Blueprint: ...
@overload
def live(target: Marked) -> Marked: ...
def live(target: Any) -> Any:
    """Views that read `request.files` while the client sends, whatever the app does elsewhere.

    Args:
        target: A view, a class of views, or a blueprint. The order of decorators does not matter.

    Returns:
        The view or the blueprint.

    Example:
        @app.post("/books")
        @live
        def book(): ...
    """
    return mark(target, FormMode.LIVE)


@overload
def spooled(target: flask.Blueprint) -> flask.Blueprint: ...
@overload
def spooled(target: Marked) -> Marked: ...
def spooled(target: Any) -> Any:
    """Views that get whole files, as without Sluiceway: they may go back in a file of any size.

    Args:
        target: A view, a class of views, or a blueprint. The order of decorators does not matter.

    Returns:
        The view or the blueprint.

    Example:
        @app.post("/photos")
        @spooled
        def photo(): ...
    """
    return mark(target, FormMode.SPOOLED)


def mark(target: Any, mode: FormMode) -> Any:
    """Mark a view, a class of views or a blueprint."""
    setattr(target, MARK, mode)
    if isinstance(target, type | flask.Blueprint):
        return target

    @wraps(target)
    def marked(*args: Any, **kwargs: Any) -> Any:
        # for a decorator above that hides this mark: it is known when the view is called
        request = flask.request._get_current_object()  # type: ignore[attr-defined]
        request.__dict__.setdefault(MARK, mode)
        return flask.current_app.ensure_sync(target)(*args, **kwargs)

    return cast("Callable[..., Any]", marked)


def mode_of_request(request: flask.Request) -> FormMode:
    """What holds for this request: its view's mark, its blueprint's, or the app's."""
    if not flask.current_app:
        return FormMode.LIVE
    app = flask.current_app
    found = [
        _mark_of(one) for one in _of_view(app.view_functions.get(request.endpoint or ""), request)
    ]
    found.append(request.__dict__.get(MARK))
    found += [_mark_of(app.blueprints.get(name)) for name in request.blueprints]
    found.append(app.extensions.get(APP_MODE))
    return next((mode for mode in found if mode is not None), FormMode.SPOOLED)


def _mark_of(target: Any) -> FormMode | None:
    mode = getattr(target, "__dict__", {}).get(MARK)
    return mode if isinstance(mode, FormMode) else None


def _of_view(view: Any, request: flask.Request) -> Iterator[Any]:
    """The view function, what its decorators wrap, and the class and method behind it."""
    while view is not None:
        kind = getattr(view, "view_class", None)
        if kind is not None:
            yield getattr(kind, request.method.lower(), None)
            yield from kind.__mro__
        yield view
        view = getattr(view, "__wrapped__", None)
