"""The browser page and its assets: read once from the package, answered from memory.

Must not know: uploads, stores, tokens. `server/app.py` decides who may read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.wire.conditions import Verdict, evaluate, format_etag

__all__ = ["CONTENT_SECURITY_POLICY", "show_page", "show_part"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# A module script is run only under a JavaScript type, and nosniff forbids the browser to guess one, so the types are
# written here and not taken from the machine's own list, which may lack or misname them.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_INDEX: Final = "index.html"


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file of the page, ready to be sent."""

    body: bytes
    tag: str  # without quotes
    headers: MappingProxyType[str, str]


@cache
def _assets() -> MappingProxyType[str, _Asset]:
    """Every file of the page by name. The names that can be asked for are these and no others: no path is built."""
    found: dict[str, _Asset] = {}
    for file in files("sluiceway.server").joinpath("page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _TYPES and file.is_file():
            found[file.name] = _asset(file.read_bytes(), _TYPES[suffix])
    return MappingProxyType(found)


def _asset(body: bytes, content_type: str) -> _Asset:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {
        "Content-Type": content_type,
        "ETag": format_etag(tag),
        # Always asked for again: an upgraded server must not be driven by yesterday's script.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return _Asset(body, tag, MappingProxyType(headers))


def _answer(request: Request, name: str) -> Response:
    asset = _assets().get(name)
    if asset is None:
        raise NotFound(f"The page has no part called {name!r}. Start at the page itself.")
    # Several field lines are one list (RFC 9110 5.3); Starlette's mapping would show the first alone.
    conditions = {"if-none-match": ", ".join(lines)} if (lines := request.headers.getlist("if-none-match")) else {}
    if evaluate(request.method, conditions, asset.tag, None, exists=True) is Verdict.NOT_MODIFIED:
        kept = {name: value for name, value in asset.headers.items() if name != "Content-Type"}
        return Response(status_code=304, headers=kept)
    return Response(asset.body, headers=dict(asset.headers))


async def show_page(request: Request) -> Response:
    """The page itself, at "/"."""
    return _answer(request, _INDEX)


async def show_part(request: Request) -> Response:
    """A part of it, below "/page/". Raises NotFound for one that does not exist."""
    return _answer(request, request.path_params["name"])
