"""What the debug log says of a form that could not be read live: the app's line, and the cure.

Once for each request. Knows frames and scopes; it must not know forms.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import starlette
from starlette.requests import HTTPConnection

__all__ = ["ENDPOINT", "note_spooled"]

log: logging.Logger = logging.getLogger("sluiceway")

# In a scope: the view, which Starlette puts there
ENDPOINT = "endpoint"
_NOTED = "sluiceway.noted"
_INSIDE = tuple(
    os.path.dirname(file or "") + os.sep
    for file in (__file__, starlette.__file__, asyncio.__file__)
)
_OTHERS = ("fastapi", "pydantic", "anyio", "uvicorn")  # wherever they are installed


def note_spooled(
    request: HTTPConnection, filename: str | None, name: str, why: str, *, view_runs: bool
) -> None:
    """One line in the debug log for each request: `why` names what the file is spooled for."""
    if request.scope.get(_NOTED) or not log.isEnabledFor(logging.DEBUG):
        return
    request.scope[_NOTED] = True
    log.debug(
        "%s: the file %r in field %r is spooled instead of read while it arrives, because of %s",
        _app_line() if view_runs else _view_line(request),
        filename,
        name,
        why,
    )


def _app_line() -> str:
    """The app's own line that runs: the innermost that is neither ours nor the framework's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_inside(path: str) -> bool:
    return path.startswith(_INSIDE) or any(f"{os.sep}{name}{os.sep}" in path for name in _OTHERS)


def _view_line(request: HTTPConnection) -> str:
    code = getattr(request.scope.get(ENDPOINT), "__code__", None)
    return "a view" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
