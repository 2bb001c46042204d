"""Refuses to let files be executed in a browser, and logs requests.

Nothing secret is logged. Control bytes in logged paths are escaped.
"""

from __future__ import annotations

import codecs
import logging
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import Scope

from sluiceway.errors import Forbidden
from sluiceway.pipe.stages import verdict
from sluiceway.server.access.entering import unlinked
from sluiceway.server.access.identity import owner_in
from sluiceway.wire.numbers import clipped_uint

__all__ = ["STAGES", "check_use", "log_access"]

# Loads the codec now: a process without free descriptors cannot load it, and needs its log most.
codecs.lookup("unicode_escape")

log: logging.Logger = logging.getLogger("sluiceway.access")

# In a request's scope: the stage times of its upload, and the name of the destination
STAGES = "sluiceway.stages"

# Destinations of a browser's request whose response it runs or applies (Fetch 2.2.5)
EXECUTED_DESTINATIONS = frozenset(
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
MOST_LOGGED = 512  # characters of a path; a longer one only fills the disk


def check_use(request: Request) -> None:
    """Uploaded and fetched files are never executed: not as a script, a style or a worker.

    Raises Forbidden. The page's own policy allows `/page/` only; this check protects every other
    page, in browsers that send Sec-Fetch-Dest.
    """
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    if not (path == "/fetch" or path == "/files" or path.startswith("/files/")):
        return
    headers = request.headers
    if (
        headers.get("sec-fetch-dest", "").lower() in EXECUTED_DESTINATIONS
        or headers.get("service-worker", "").lower() == "script"
    ):
        raise Forbidden(
            "Files from here cannot be used as scripts, styles or workers; serve what a page runs "
            "from the page's own server"
        )


def log_access(scope: Scope, status: int, sent: int, seconds: float) -> None:
    """Log one line: client, method, path, status, bytes sent, seconds, the times of an upload, and
    the name of the token.

    The query is left out, because it may hold secrets.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    client = _client_address((scope.get("client") or ("",))[0][:MOST_LOGGED])
    path = unlinked(scope, str(scope["path"]))
    mounted = unlinked(scope, str(scope.get("root_path", "")))
    # The id of an upload is left out: it is enough to cancel the upload.
    if path.removeprefix(mounted).startswith("/uploads/"):
        path = f"{mounted if path.startswith(mounted) else ''}/uploads/..."
    path = _escaped(path)
    method = _escaped(scope["method"])
    stage_times = ""
    if STAGES in scope:
        stages, destination = scope[STAGES]
        spent = stages.spent()
        times = " ".join(f"{name}={took:.3f}s" for name, took in spent.items())
        stage_times = f" {times} ({verdict(spent, destination)})"
    owner = owner_in(scope)
    log.info(
        '%s "%s %s" %d %d %.3fs%s%s',
        client,
        method,
        path.replace('"', '\\"'),
        status,
        sent,
        seconds,
        stage_times,
        f" by {owner}" if owner else "",
    )


def _escaped(text: str) -> str:
    """Printable ASCII on one line, without a terminal's escape sequences."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text[:MOST_LOGGED]
    return text[:MOST_LOGGED].encode("unicode_escape").decode()


@lru_cache(256)
def _client_address(text: str) -> str:
    """The client's address, or "-" for any other text: proxies pass on X-Forwarded-For as it is."""
    host, _, port = text.rpartition(":")
    for candidate in (
        text,
        text.strip("[]"),
        host.strip("[]") if clipped_uint(port) is not None else "",
    ):
        with suppress(ValueError):
            return str(ip_address(candidate.partition("%")[0]))
    return "-"
