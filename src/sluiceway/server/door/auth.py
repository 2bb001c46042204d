"""Who may come in, and the line in the log about it. Checked on every path and method, before any handler.

The token is compared in constant time and never written anywhere; control bytes in paths are escaped.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hmac
import logging
from contextlib import suppress
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import Scope

from sluiceway.errors import Forbidden, Unauthorized
from sluiceway.pipe.stages import verdict
from sluiceway.wire.numbers import clipped_uint

__all__ = ["STAGES", "check_token", "check_use", "log_access"]

codecs.lookup(
    "unicode_escape"
)  # loaded now: where no file can be opened any more, the log is needed most

log: logging.Logger = logging.getLogger("sluiceway.access")

STAGES = "sluiceway.stages"  # in a request's scope: the stopwatch of its upload and the destination's name

OPEN_PATHS = {"/healthz", "/readyz"}  # probes carry no secrets and tell none
# Destinations of a browser's request whose answer it runs or applies (Fetch 2.2.5)
RUN = frozenset(
    [
        "script",
        "style",
        "worker",
        "sharedworker",
        "serviceworker",
        "audioworklet",
        "paintworklet",
        "xslt",
        "manifest",
    ]
)
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


def check_use(request: Request) -> None:
    """What others uploaded is never run: no script, style or worker is read from files or from fetched servers.

    The page's own policy names `/page/` alone; this holds on every page, in browsers that tell what they ask for.
    """
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    if not (path == "/fetch" or path == "/files" or path.startswith("/files/")):
        return
    told = request.headers
    if (
        told.get("sec-fetch-dest", "").lower() in RUN
        or told.get("service-worker", "").lower() == "script"
    ):
        raise Forbidden(
            "Files from here are not run as scripts, styles or workers; put what a page runs beside the page"
        )


def log_access(scope: Scope, status: int, sent: int, seconds: float) -> None:
    """One line a request: client, method, path without its query (it may hold secrets), status, bytes out, seconds."""
    client = _address(scope.get("client"))
    before, uploads, _ = str(scope["path"]).partition("/uploads/")
    path = (
        f"{before}{uploads}..." if uploads else before
    )  # whoever knows an upload's id can cancel it
    path, method = _escaped(path), _escaped(scope["method"])
    where = ""
    if STAGES in scope:
        stages, destination = scope[STAGES]
        spent = stages.spent()
        times = " ".join(f"{name}={took:.3f}s" for name, took in spent.items())
        where = f" {times} ({verdict(spent, destination)})"
    log.info(
        '%s "%s %s" %d %d %.3fs%s',
        client,
        method,
        path.replace('"', '\\"'),
        status,
        sent,
        seconds,
        where,
    )


def _escaped(text: str) -> str:
    """As it stands in a line of the log: printable ASCII, one line, no escape sequence of a terminal."""
    return text[:MOST_LOGGED].encode("unicode_escape").decode()


def _address(client: tuple[str, int] | None) -> str:
    """The client's address, "-" for anything else: proxies pass on what clients write into X-Forwarded-For."""
    text = client[0] if client else ""
    host, _, port = text.rpartition(":")
    for candidate in (
        text,
        text.strip("[]"),
        host.strip("[]") if clipped_uint(port) is not None else "",
    ):
        with suppress(ValueError):
            return str(ip_address(candidate.partition("%")[0]))
    return "-"
