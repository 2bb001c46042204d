"""Refuses to let files be executed in a browser.

Knows the headers by which browsers say what they want a response for.
"""

from __future__ import annotations

from starlette.requests import Request

from sluiceway.errors import Forbidden

__all__ = ["check_use"]

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
