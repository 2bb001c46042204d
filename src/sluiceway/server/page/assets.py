"""The browser page and its assets, read once from the package and answered from memory.

The page's policy lets it run its own assets, and nothing that was uploaded. Must not know uploads,
stores, tokens: `server/app.py` decides who may read the page.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.server.access.identity import grant_of
from sluiceway.server.page.branding import Branding
from sluiceway.wire.headers.conditions import Verdict, evaluate, format_etag

__all__ = ["PageAsset", "StartPage", "asset_beside_progress"]

# Scripts and styles come from the page's own assets and from nowhere else on this server: other
# people upload to it. The policy names the assets twice: the nonce works behind proxies that change
# Host; the address works in browsers that give a module's imports no nonce.
_POLICY: Final = (
    "default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'none'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HOST_SOURCE: Final = re.compile(  # CSP 2.3.1: no brackets of IPv6
    r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]{1,5})?"
)

# Browsers run a module script only if it has a JavaScript type, and nosniff forbids them to guess.
# The types are written here, because the machine's own list may lack them or have wrong ones.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",  # types for editors; no browser loads them
    ".svg": "image/svg+xml",
}

_INDEX: Final = "index.html"
_LIVE: Final = "live/live.html"
_LOADING_ELEMENT: Final = re.compile(rb"<(?:script|link)(?= )")  # elements that load an asset


@dataclass(frozen=True, slots=True)
class PageAsset:
    """One file of the page, ready to be sent."""

    body: bytes
    tag: str  # without quotes
    headers: MappingProxyType[str, str]


# Where an app of one's own has the page's assets, progress is one folder above them, whatever the
# address of the view that takes the file.
_PLACE: Final = "uploads/place.js"
_PLACE_BESIDE_PROGRESS: Final = b"""\
export const progress = new URL("../..", import.meta.url).href;
"""


@cache
def _assets() -> MappingProxyType[str, PageAsset]:
    """Every file of the page by its path, such as `uploads/row.js`.

    Only these can be requested: no path is built from a request.
    """
    found = dict(_walk(files("sluiceway.server").joinpath("page"), ""))
    return MappingProxyType(found)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageAsset]]:
    for file in folder.iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if file.is_dir():
            yield from _walk(file, f"{prefix}{file.name}/")
        elif suffix in _TYPES:
            yield prefix + file.name, _asset(file.read_bytes(), _TYPES[suffix])


def _asset(body: bytes, content_type: str) -> PageAsset:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {
        "Content-Type": content_type,
        "ETag": format_etag(tag),
        # Revalidated each time: an old script must not talk to an upgraded server.
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return PageAsset(body, tag, MappingProxyType(headers))


def _policy(request: Request, nonce: str) -> str:
    own, host = f"'nonce-{nonce}'", request.headers.get("host", "")
    if _HOST_SOURCE.fullmatch(host):
        own += f" {host}{quote(request.scope.get('root_path', ''), safe='/')}/page/"
    return _POLICY.format(own=own)


def asset_beside_progress(name: str) -> PageAsset:
    """An asset for a page of an app, served at `page/` below the progress. Raises NotFound."""
    asset = _assets().get(name)
    if asset is None or name in (_INDEX, _LIVE):
        raise NotFound(f"There is no asset {name!r} here")
    return _asset(_PLACE_BESIDE_PROGRESS, _TYPES[".js"]) if name == _PLACE else asset


class StartPage:
    """The page of one service, with its branding.

    Args:
        branding: the operator's name, logo, colour, style and language.
    """

    def __init__(self, branding: Branding) -> None:
        self._index, self._live = (
            _asset(branding.apply(_assets()[name].body.decode()).encode(), _TYPES[".html"])
            for name in (_INDEX, _LIVE)
        )
        self._own: dict[str, PageAsset] = {}
        if branding.logo is not None:
            self._own["logo"] = _asset(branding.logo, branding.logo_type)
        if branding.style:
            self._own["branding.css"] = _asset(branding.style.encode(), _TYPES[".css"])

    async def show(self, request: Request) -> Response:
        """GET /: the page where files are sent."""
        return self._with_nonce(request, self._index)

    async def show_live(self, request: Request) -> Response:
        """GET /uploads for a browser: what runs."""
        response = self._with_nonce(request, self._live)
        response.headers["Vary"] = "Accept"
        return response

    def _with_nonce(self, request: Request, page: PageAsset) -> Response:
        """A page with a fresh nonce, so it is never answered with 304."""
        nonce = secrets.token_urlsafe(16)
        body = _LOADING_ELEMENT.sub(rb'\g<0> nonce="' + nonce.encode() + rb'"', page.body)
        allowed = " ".join(grant_of(request).shows).encode()
        body = body.replace(b"<body>", b'<body data-allowed="' + allowed + b'">', 1)
        headers = {name: value for name, value in page.headers.items() if name != "ETag"}
        policy = {"Content-Security-Policy": _policy(request, nonce)}
        return Response(body, headers={**headers, **policy})

    async def show_asset(self, request: Request) -> Response:
        """GET /page/{name}. Raises NotFound."""
        name = request.path_params["name"]
        asset = self._own.get(name) or _assets().get(name)
        if asset is None:
            raise NotFound(f"The page has no asset {name!r}. Start at the page itself.")
        # Several header lines are one list (RFC 9110 5.3); Starlette's mapping has only the first.
        tags = request.headers.getlist("if-none-match")
        conditions = {"if-none-match": ", ".join(tags)} if tags else {}
        verdict = evaluate(request.method, conditions, asset.tag, None, exists=True)
        if verdict is Verdict.NOT_MODIFIED:
            kept = {key: value for key, value in asset.headers.items() if key != "Content-Type"}
            return Response(status_code=304, headers=kept)
        return Response(asset.body, headers=dict(asset.headers))
