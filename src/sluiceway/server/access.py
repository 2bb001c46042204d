"""Who may come in, and the line in the log about it. Checked on every path and method, before any handler.

The token is compared in constant time and never written anywhere; control bytes in paths are escaped.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hmac
import logging
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Scope

from sluiceway.errors import Forbidden, Unauthorized
from sluiceway.pipe.stages import verdict

__all__ = ["STAGES", "check_origin", "check_token", "log_access"]

codecs.lookup("unicode_escape")  # loaded now: where no file can be opened any more, the log is needed most

log: logging.Logger = logging.getLogger("sluiceway.access")

STAGES = "sluiceway.stages"  # in a request's scope: the stopwatch of its upload and the destination's name

OPEN_PATHS = {"/healthz", "/readyz"}  # probes carry no secrets and tell none
MOST_LOGGED = 512  # characters of a path; the rest helps nobody and fills disks


def check_token(request: Request, path: str, token: str | None) -> None:
    """Raises Unauthorized unless the request carries the token, as `Bearer TOKEN` or as a basic password."""
    if token is None or path in OPEN_PATHS:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    secret = given.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            secret = b""
    elif scheme.lower() != "bearer":
        secret = b""
    if not hmac.compare_digest(secret, token.encode()):
        raise Unauthorized(
            "This server wants a token: send 'Authorization: Bearer TOKEN', or use it as the password (curl -u :TOKEN)"
        )


def check_origin(request: Request) -> None:
    """A page of another site may not make a browser write here, whatever that browser is logged in to (CSRF).

    Sec-Fetch-Site where the browser tells it, else Origin against Host. Programs send neither.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        try:
            foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
        except ValueError:  # no origin of any browser
            foreign = True
    if foreign:
        raise Forbidden("A page of another site tried to write here; uploads come from this server's own pages or from programs")


def log_access(scope: Scope, status: int, sent: int, seconds: float) -> None:
    """One line a request: client, method, path without its query (it may hold secrets), status, bytes out, seconds."""
    client = scope.get("client") or ("-", 0)
    before, uploads, _ = str(scope["path"]).partition("/uploads/")
    path = f"{before}{uploads}..." if uploads else before  # whoever knows an upload's id can cancel it
    path = path[:MOST_LOGGED].encode("unicode_escape").decode()
    where = ""
    if STAGES in scope:
        stages, destination = scope[STAGES]
        spent = stages.spent()
        times = " ".join(f"{name}={took:.3f}s" for name, took in spent.items())
        where = f" {times} ({verdict(spent, destination)})"
    log.info('%s "%s %s" %d %d %.3fs%s', client[0], scope["method"], path.replace('"', '\\"'), status, sent, seconds, where)
