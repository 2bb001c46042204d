"""What the CORS rules of the app around the service say of a request, so that the two agree.

Exactly one of them writes the headers: the app where its rules allow the origin, else the service.
It must not know any framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

__all__ = ["AppCors", "app_cors"]

# of the request's origin: it is listed; every origin is allowed; the app does not allow it
AppCors = Literal["listed", "any", ""]

UNLISTED = "https://unlisted.invalid"  # RFC 2606: no site has this name


def app_cors(origins: Sequence[str], allows: Callable[[str], bool]) -> AppCors:
    """The app's answer for the values of a request's Origin."""
    if len(origins) != 1 or not allows(origins[0]):
        return ""
    return "any" if allows(UNLISTED) else "listed"
