"""Routes by path and method, and the texts of 404 and 405 that name the right path and method.

People type `curl -T f /files`, `curl -F file=@f /files/` and POST to a file's own path every day,
so a refusal says what would have worked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sluiceway.errors import MethodNotAllowed, NotFound
from sluiceway.server.access.identity import grant_of
from sluiceway.server.http1.head_limits import MOST_METHOD
from sluiceway.uploads.access.grant import Right

__all__ = [
    "ByMethod",
    "Guarded",
    "Routes",
    "needs",
    "no_such_path",
    "what_works",
    "wrong_method",
    "wrong_override",
]

_SENDING = ("PUT", "POST", "PATCH")

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A handler, and the rights of which one is needed to call it; none: any name may.

    What the name may do with one object, the store decides that the handler gets.
    """

    handler: Handler
    rights: tuple[Right, ...]

    def respond(self, request: Request) -> Awaitable[Response]:
        """Raises Forbidden, and what the handler raises."""
        if self.rights:
            grant_of(request).require(*self.rights)
        return self.handler(request)


def needs(handler: Handler, *rights: Right) -> Guarded:
    """A handler for names with one of these rights."""
    return Guarded(handler, rights)


class ByMethod:
    """The handlers of one path. HEAD is answered by GET's; OPTIONS lists the methods, or `allow`
    where some are not to be listed."""

    def __init__(self, allow: str = "", **handlers: Guarded) -> None:
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._handlers = handlers
        self._allow = allow or ", ".join(sorted({*handlers, "OPTIONS"}))

    def __iter__(self) -> Iterator[tuple[str, Guarded]]:
        return iter(self._handlers.items())

    async def respond(self, request: Request) -> Response:
        """Raises MethodNotAllowed, and what the handlers raise."""
        method = request.method
        if method in self._handlers:
            response = await self._handlers[method].respond(request)
            if method == "OPTIONS":
                response.headers["Allow"] = self._allow
            return response
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self._allow})
        raise wrong_method(request, self._allow)


class Routes:
    """`exact` paths, and paths `below` a folder, whose rest is a parameter of the request.

    Two look-ups find a route. Each of `below` names its parameter, and whether a `/` may be in it.
    """

    def __init__(
        self, exact: Mapping[str, ByMethod], below: Mapping[str, tuple[str, bool, ByMethod]]
    ) -> None:
        self._exact, self._below = exact, below

    def guarded(self) -> dict[str, Guarded]:
        """Each method and path -> its handler with its rights."""
        found = {f"{method} {path}": one for path, by in self._exact.items() for method, one in by}
        for path, (name, _, by) in self._below.items():
            found |= {f"{method} {path}/{{{name}}}": one for method, one in by}
        return found

    def respond(self, request: Request) -> Awaitable[Response]:
        """Raises NotFound, MethodNotAllowed, and what the handlers raise."""
        path = _path_below_mount(request.scope)
        route = self._exact.get(path)
        if route is None:
            folder, slash, rest = path[1:].partition("/")
            found = self._below.get(f"/{folder}") if slash and path[:1] == "/" else None
            if found is None:
                raise no_such_path(request.scope)
            name, may_have_slash, route = found
            if not may_have_slash and (not rest or "/" in rest):
                raise no_such_path(request.scope)
            request.scope["path_params"] = {**request.scope.get("path_params", {}), name: rest}
        return route.respond(request)


def _path_below_mount(scope: Scope) -> str:
    """The path without the one that the app is mounted at."""
    path, mounted = str(scope["path"]), str(scope.get("root_path", ""))
    if not mounted or not path.startswith(mounted):
        return path
    rest = path[len(mounted) :]
    return rest if rest.startswith("/") or not rest else path


def wrong_method(request: Request, allow: str) -> MethodNotAllowed:
    """The 405 of a path that takes the methods of `allow`."""
    return MethodNotAllowed(
        f"This path takes {allow}, not {request.method[:MOST_METHOD]}. {what_works(request.scope)}",
        allow=allow,
    )


def wrong_override(method: str, allow: str) -> MethodNotAllowed:
    """The 405 of a POST that names a method which a POST cannot stand for here."""
    return MethodNotAllowed(
        f"X-HTTP-Method-Override cannot be {method[:MOST_METHOD]} here; send that method itself, "
        f"if the path takes it: {allow}",
        allow=allow,
    )


def no_such_path(scope: Scope) -> NotFound:
    """The 404 of a path without a route."""
    return NotFound(f"There is nothing at this path. {what_works(scope)}")


def what_works(scope: Scope) -> str:
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
