"""Routes by path and method, and the texts of 404 and 405 that name the right path and method.

People type `curl -T f /files`, `curl -F file=@f /files/` and POST to a file's own path every day,
so a refusal says what would have worked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.errors import MethodNotAllowed, NotFound
from sluiceway.server.door.indexed_request import IndexedRequest

__all__ = ["ByMethod", "KeyConvertor", "no_such_path", "raise_no_such_path"]

MOST_METHOD = 20  # characters of a method that an error repeats; any token is a method
_SENDING = ("PUT", "POST", "PATCH")

Handler = Callable[[Request], Awaitable[Response]]


class KeyConvertor(PathConvertor):
    """Matches the whole rest of a path. Starlette's own `path` stops at a line feed, which a key in
    a bucket may hold."""

    regex = "(?s:.*)"


register_url_convertor("key", KeyConvertor())


class ByMethod:
    """The handlers of one path. HEAD is answered by GET's; OPTIONS lists the methods."""

    def __init__(self, **handlers: Handler) -> None:
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._handlers = handlers
        self._allow = ", ".join(sorted([*handlers, "OPTIONS"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method in self._handlers:
            response = await self._handlers[method](IndexedRequest(scope, receive))
        elif method == "OPTIONS":
            response = Response(status_code=204, headers={"Allow": self._allow})
        else:
            shown = str(method)[:MOST_METHOD]
            raise MethodNotAllowed(
                f"This path takes {self._allow}, not {shown}. {_instead(scope)}", allow=self._allow
            )
        await response(scope, receive, send)


async def raise_no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of all paths that have no route."""
    raise no_such_path(scope)


def no_such_path(scope: Scope) -> NotFound:
    """The 404 of a path without a route."""
    return NotFound(f"There is nothing at this path. {_instead(scope)}")


def _instead(scope: Scope) -> str:
    """Where the request should go, with the path the app is mounted at."""
    method, root = scope["method"], scope.get("root_path", "")
    path = str(scope["path"]).removeprefix(root)
    files, put = f"{root}/files", f"{root}/files/NAME"
    upload = (
        f"PUT stores a file at {put} (curl -T FILE), POST takes forms and bytes at {files} (curl "
        "-F file=@FILE)"
    )
    if path == "/fetch" and method in _SENDING:
        return f'To import a file, POST {{"url": "https://…"}} as application/json to {files}'
    if path.startswith("/uploads/") and method in _SENDING:
        return f"GET shows a running upload here and DELETE cancels it. {upload}"
    if path.startswith("/files/") and len(path) > len("/files/"):
        if method in _SENDING:
            return f"{upload}; to store a file at this very path send it with PUT"
        return f"GET reads a file here and DELETE deletes it; the list of files is at {files}"
    if method in _SENDING:
        return upload
    if method == "DELETE":
        return f"DELETE takes the path of one file: {put}"
    return f"The list of files is at {files}, a file at {put}, the page at {root}/"
