"""The browser page and its assets: read once from the package, answered from memory.

The page's policy lets it run its own parts and nothing that was uploaded.
Must not know: uploads, stores, tokens. `server/app.py` decides who may read them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.wire.headers.conditions import Verdict, evaluate, format_etag

__all__ = ["show_page", "show_part"]

# Scripts and styles come from this page's own parts and from nowhere else of this server: others upload to it. The parts are
# named twice. The nonce holds behind proxies that change Host; the address holds where a browser gives a module's imports none.
_POLICY: Final = (
    "default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data:; connect-src 'self'; worker-src 'none'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HOST_SOURCE: Final = re.compile(
    r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]{1,5})?"
)  # CSP 2.3.1: no brackets of IPv6

# A module script is run only under a JavaScript type, and nosniff forbids the browser to guess one, so the types are
# written here and not taken from the machine's own list, which may lack or misname them.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_INDEX: Final = "index.html"
_LOADS: Final = re.compile(rb"<(?:script|link)(?= )")  # elements that load a part


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
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return _Asset(body, tag, MappingProxyType(headers))


def _policy(request: Request, nonce: str) -> str:
    own, host = f"'nonce-{nonce}'", request.headers.get("host", "")
    if _HOST_SOURCE.fullmatch(host):
        own += f" {host}{quote(request.scope.get('root_path', ''), safe='/')}/page/"
    return _POLICY.format(own=own)


def _answer(request: Request, name: str) -> Response:
    asset = _assets().get(name)
    if asset is None:
        raise NotFound(f"The page has no part called {name!r}. Start at the page itself.")
    # Several field lines are one list (RFC 9110 5.3); Starlette's mapping would show the first alone.
    conditions = (
        {"if-none-match": ", ".join(lines)}
        if (lines := request.headers.getlist("if-none-match"))
        else {}
    )
    if evaluate(request.method, conditions, asset.tag, None, exists=True) is Verdict.NOT_MODIFIED:
        kept = {name: value for name, value in asset.headers.items() if name != "Content-Type"}
        return Response(status_code=304, headers=kept)
    return Response(asset.body, headers=dict(asset.headers))


async def show_page(request: Request) -> Response:
    """The page itself, at "/", each time with a nonce of its own: it is sent anew, and never answered as unchanged."""
    nonce, asset = secrets.token_urlsafe(16), _assets()[_INDEX]
    body = _LOADS.sub(rb'\g<0> nonce="' + nonce.encode() + rb'"', asset.body)
    kept = {name: value for name, value in asset.headers.items() if name != "ETag"}
    return Response(body, headers={**kept, "Content-Security-Policy": _policy(request, nonce)})


async def show_part(request: Request) -> Response:
    """A part of it, below "/page/". Raises NotFound for one that does not exist."""
    return _answer(request, request.path_params["name"])
