"""Which sites may use this server in a browser: the names it answers under, the pages that may write, CORS.

A browser takes any site's page to any address, so a server without a token has only these two fields to tell its own user's
pages from foreign ones: Host (DNS rebinding) and Origin (CSRF). Asked for every path and method, before any routing.
"""

from __future__ import annotations

import logging
import re
import time
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, Forbidden
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.settings import Settings
from sluiceway.wire.request_targets import Authority, Origin, parse_authority, parse_origin

__all__ = ["TARGET", "TRUSTED", "Sites"]

log: logging.Logger = logging.getLogger("sluiceway")

TARGET = "sluiceway.target"  # in a request's scope: the host (bytes) of a target in absolute form, where there is one
TRUSTED = "sluiceway.trusted"  # in a request's scope: it comes from a page of an origin that the operator allows
HINT_EVERY = 60.0  # seconds between lines in the log that say how a name is allowed: anybody can ask for any name

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# What a page cannot read unless it is listed (Fetch 3.3.3); "*" would mean nothing in answers to requests with credentials
EXPOSED = (
    "Accept-Ranges, Allow, Content-Digest, Content-Disposition, Content-Encoding, Content-Location, Content-Range, Date, "
    "Digest, ETag, Link, Location, Repr-Digest, Retry-After, Server-Timing, Upload-Complete, Upload-Draft-Interop-Version, "
    "Upload-Id, Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, Via, Want-Content-Digest, Want-Repr-Digest, "
    "WWW-Authenticate, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, Upload-Expires"
)
PREFLIGHT_SECONDS = (
    600  # Chromium keeps an answer two hours at most; an operator's change shall not take that long
)
MOST_ASKED = 2000  # characters of header names a preflight may ask for: forty long ones
_NAMES = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*"
)  # RFC 9110 5.6.2


class Sites:
    """What the settings say about hosts and origins, read once."""

    def __init__(self, told: Settings) -> None:
        self._names = told.host_names
        # Whoever has the token may come under any name: a rebound page does not know it.
        self._checks_host = bool(told.allowed_host) or (told.token is None and not told.no_auth)
        self._any = "*" in told.allow_origin
        self._origins = told.origins
        self._hinted = -HINT_EVERY

    def check_host(self, request: Request) -> None:
        """Raises Forbidden for a name that is neither this machine's own nor one the operator allowed."""
        if not self._checks_host:
            return
        for text in [
            *request.headers.getlist("host"),
            *_target(request),
        ]:  # none at all is an old program, never a browser
            if not self._is_ours(text):
                self._hint()
                raise Forbidden(
                    "This server does not answer under the name that was asked for; use its own address"
                )

    def check_origin(self, request: Request) -> None:
        """A page of another site may not make a browser write here, whatever that browser is logged in to (CSRF).

        Origin where it is allowed, else Sec-Fetch-Site where the browser tells it, else Origin against Host. Programs send
        neither. Raises Forbidden, and BadRequest for an Origin that is none.
        """
        if self.allowed(request) is not None:
            request.scope[TRUSTED] = True
            return
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        lines = request.headers.getlist("origin")
        origin = parse_origin(", ".join(lines)) if lines else None
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = bool(lines) and not (origin is not None and _at_host(origin, request))
        if foreign:
            raise Forbidden(
                "A page of another site tried to write here; uploads come from this server's own pages or from programs"
            )

    def allowed(self, request: Request) -> str | None:
        """What Access-Control-Allow-Origin says to this request; None for no word of it."""
        lines = request.headers.getlist("origin")
        if len(lines) != 1:
            return None
        if self._any:
            return "*"
        if not self._origins:
            return None
        try:
            origin = parse_origin(lines[0])
        except BadRequest:
            return None
        return lines[0] if origin in self._origins else None

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks whether a page of an allowed origin may send what it wants to send.

        It comes before the token: browsers send none with this question.
        """
        asked = request.headers
        if (
            request.method != "OPTIONS"
            or "access-control-request-method" not in asked
            or self.allowed(request) is None
        ):
            return None
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
        headers["Vary"] = "Access-Control-Request-Method, Access-Control-Request-Headers"
        names = ", ".join(asked.getlist("access-control-request-headers")).strip()
        if len(names) <= MOST_ASKED and _NAMES.fullmatch(names):
            headers["Access-Control-Allow-Headers"] = names
        if asked.get("access-control-request-private-network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=headers)

    def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """What each answer says to the page that asked, refusals as well: without it the page sees a network error."""
        if not self._origins and not self._any:
            return []
        found = [] if self._any else [(b"vary", b"Origin")]
        if (value := self.allowed(request)) is not None:
            found.append((b"access-control-allow-origin", value.encode("latin-1")))
            found.append((b"access-control-expose-headers", EXPOSED.encode()))
            if not self._any:
                found.append((b"access-control-allow-credentials", b"true"))
        return found

    def _is_ours(self, text: str) -> bool:
        try:
            host = parse_authority(text).host
        except BadRequest:
            return False
        return _is_this_machine(host) or any(
            host == name or (name[:2] == "*." and host.endswith(name[1:])) for name in self._names
        )

    def _hint(self) -> None:
        now = time.monotonic()
        if now - self._hinted >= HINT_EVERY:
            self._hinted = now
            log.warning(
                "a request was refused because of its Host; if it was meant for this server, allow the name with --allowed-host, "
                "or set a token"
            )


def _target(request: Request) -> list[str]:
    """The host of a target in absolute form, which stands above Host (RFC 9112 3.2.2)."""
    if TARGET in request.scope:
        return [request.scope[TARGET].decode("latin-1")]
    url: bytes = getattr(request.scope.get(PROTOCOL), "url", b"")
    scheme, absolute, rest = url.partition(b"://")
    return (
        [rest.partition(b"/")[0].partition(b"?")[0].decode("latin-1")]
        if absolute and b"/" not in scheme
        else []
    )


def _at_host(origin: Origin, request: Request) -> bool:
    try:
        authority: Authority = parse_authority(request.headers.get("host", ""))
    except BadRequest:
        return False
    return origin.is_at(authority)


def _is_this_machine(host: str) -> bool:
    """localhost and what is below it (RFC 6761 6.3), 127.0.0.0/8, ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None
