"""Whom a request is from: what the door found out, for the handlers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from sluiceway.uploads.access.grant import Grant

__all__ = ["GRANT", "grant_of", "owner_in"]

GRANT = "sluiceway.grant"  # in a request's scope


def grant_of(request: Request) -> Grant:
    """What the sender of this request may do. A request that passed no door is nobody's."""
    grant: Grant = request.scope[GRANT]
    return grant


def owner_in(scope: Scope) -> str:
    """The name of the sender for the log; "" for none."""
    grant: Grant | None = scope.get(GRANT)
    return "" if grant is None else grant.owner
