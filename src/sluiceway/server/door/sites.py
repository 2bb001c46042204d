"""Which web sites may use this server through a browser: its own host names, trusted pages, CORS.

A browser sends requests of any site's page to any address. A server without a token has only two
headers to tell its own user's pages from other sites: Host (DNS rebinding) and Origin (CSRF). Both
are checked before routing, for every path and method.
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
from sluiceway.server.settings.checked import Settings
from sluiceway.wire.request_targets import Authority, Origin, parse_authority, parse_origin
from sluiceway.wire.tus import VERSION

__all__ = ["APP_CORS", "TARGET", "TRUSTED", "Sites"]

log: logging.Logger = logging.getLogger("sluiceway")

# In a request's scope: the host (bytes) of a request target in absolute form, if there is one
TARGET = "sluiceway.target"
# In a request's scope: the request comes from a page of an origin that the operator allows
TRUSTED = "sluiceway.trusted"
# In a request's scope: what the CORS rules of the app around the service say (mounted/app_cors.py).
# Where they allow the origin the app writes the headers, and not this server.
APP_CORS = "sluiceway.app_cors"
HINT_INTERVAL = 60.0  # seconds between hints in the log; any client can ask for any name

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, MOVE, OPTIONS"
# Headers that a page can read only if they are listed (Fetch 3.3.3). "*" has no effect in responses
# to requests with credentials.
EXPOSED_HEADERS = (
    "Accept-Patch, Accept-Ranges, Allow, Content-Digest, Content-Disposition, Content-Encoding, "
    "Content-Location, Content-Range, Date, Digest, ETag, Link, Location, Repr-Digest, "
    "Retry-After, Server-Timing, traceparent, Upload-Complete, Upload-Draft-Interop-Version, "
    "Upload-Id, Upload-Incomplete, "
    "Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, Via, Want-Content-Digest, "
    "Want-Repr-Digest, WWW-Authenticate, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
    "Tus-Checksum-Algorithm, Upload-Concat, Upload-Defer-Length, Upload-Expires, "
    "X-Checksum-Blake3, X-Checksum-Crc64nvme, X-Expires, X-Request-ID, X-Retained-Until"
)
# Chromium caches a preflight for two hours at most; a change of the settings must work sooner.
PREFLIGHT_SECONDS = 600
MOST_ASKED = 2000  # characters of header names in a preflight: forty long ones
_HEADER_NAMES = re.compile(  # RFC 9110 5.6.2
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*"
)


class Sites:
    """The settings about hosts and origins, parsed once."""

    def __init__(self, settings: Settings) -> None:
        self._names = settings.host_names
        # With a token any name will do: a page that rebinds DNS does not know the token.
        self._checks_host = bool(settings.allowed_host) or (
            not settings.has_tokens and not settings.no_auth
        )
        # as for --allow-origin "*": without a token every site could use the logins of a browser
        self._takes_any = settings.has_tokens or settings.no_auth
        self._any_origin = "*" in settings.allow_origin
        self._origins = settings.origins
        self._hinted_at = -HINT_INTERVAL
        self._last_ours: str | None = None  # most requests have the same Host

    def check_host(self, request: Request) -> None:
        """Raises Forbidden for a name that is neither this machine's own nor allowed."""
        if not self._checks_host:
            return
        # A request without Host is accepted: old programs send such, browsers never do.
        for text in (*request.headers.getlist("host"), *_absolute_target(request)):
            if text != self._last_ours and not self._is_ours(text):
                self._log_hint()
                raise Forbidden(
                    "This server does not answer to the host name of this request; use the "
                    "server's own address"
                )
            self._last_ours = text

    def check_origin(self, request: Request) -> None:
        """Keeps pages of other sites from writing here with the logins of a browser (CSRF).

        Checks Origin if the operator allows it; else Sec-Fetch-Site if the browser sends it; else
        Origin against Host. Programs send none of these. Raises Forbidden, and BadRequest for an
        Origin that cannot be parsed.
        """
        app = request.scope.get(APP_CORS)
        if self.allowed(request) is not None or app == "listed" or (app and self._takes_any):
            request.scope[TRUSTED] = True
            return
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        values = request.headers.getlist("origin")
        origin = parse_origin(", ".join(values)) if values else None
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = bool(values) and not (origin is not None and _is_at_host(origin, request))
        if foreign:
            raise Forbidden(
                "A page of another site tried to write here; this server takes uploads from its "
                "own pages and from programs"
            )

    def allowed(self, request: Request) -> str | None:
        """The value of Access-Control-Allow-Origin for this request; None for no such header."""
        values = request.headers.getlist("origin")
        if len(values) != 1:
            return None
        if self._any_origin:
            return "*"
        if not self._origins:
            return None
        try:
            origin = parse_origin(values[0])
        except BadRequest:
            return None
        return values[0] if origin in self._origins else None

    def is_allowed_origin(self, request: Request) -> bool:
        """Whether pages of the request's Origin may write here."""
        return bool(request.scope.get(APP_CORS)) or self.allowed(request) is not None

    def preflight(self, request: Request) -> Response | None:
        """The response to a CORS preflight from a page of an allowed origin; None for others.

        It is sent before the token is checked: browsers send no credentials with a preflight.
        """
        asked = request.headers
        if (
            request.method != "OPTIONS"
            or "access-control-request-method" not in asked
            or not (request.scope.get(APP_CORS) or self.allowed(request))
        ):
            return None
        if request.scope.get(APP_CORS):
            return Response(status_code=204)
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            "Tus-Version": VERSION,  # each response to OPTIONS names it
            "Tus-Resumable": VERSION,
        }
        headers["Vary"] = "Access-Control-Request-Method, Access-Control-Request-Headers"
        names = ", ".join(asked.getlist("access-control-request-headers")).strip()
        if len(names) <= MOST_ASKED and _HEADER_NAMES.fullmatch(names):
            headers["Access-Control-Allow-Headers"] = names
        if asked.get("access-control-request-private-network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=headers)

    def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """The CORS headers of a response, also of a refusal: without them a page sees no more than
        a network error."""
        if request.scope.get(APP_CORS):
            return [(b"access-control-expose-headers", EXPOSED_HEADERS.encode())]
        if not self._origins and not self._any_origin:
            return []
        found = [] if self._any_origin else [(b"vary", b"Origin")]
        if (value := self.allowed(request)) is not None:
            found.append((b"access-control-allow-origin", value.encode("latin-1")))
            found.append((b"access-control-expose-headers", EXPOSED_HEADERS.encode()))
            if not self._any_origin:
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

    def _log_hint(self) -> None:
        now = time.monotonic()
        if now - self._hinted_at >= HINT_INTERVAL:
            self._hinted_at = now
            log.warning(
                "a request was refused because of its Host; if it was meant for this server, "
                "allow the name with --allowed-host, or set a token"
            )


def _absolute_target(request: Request) -> list[str]:
    """The host of a request target in absolute form, which overrides Host (RFC 9112 3.2.2)."""
    if TARGET in request.scope:
        return [request.scope[TARGET].decode("latin-1")]
    url: bytes = getattr(request.scope.get(PROTOCOL), "url", b"")
    if url.startswith(b"/"):
        return []
    scheme, absolute, rest = url.partition(b"://")
    return (
        [rest.partition(b"/")[0].partition(b"?")[0].decode("latin-1")]
        if absolute and b"/" not in scheme
        else []
    )


def _is_at_host(origin: Origin, request: Request) -> bool:
    try:
        authority: Authority = parse_authority(request.headers.get("host", ""))
    except BadRequest:
        return False
    return origin.is_at(authority)


def _is_this_machine(host: str) -> bool:
    """localhost and names below it (RFC 6761 6.3), 127.0.0.0/8, ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None
