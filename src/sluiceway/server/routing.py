"""A request that misses by a little: which path and method would have been right. Words only; decides nothing.

curl -T f /files, curl -F file=@f /files/ and a POST to a file's own path are typed every day.
"""

from __future__ import annotations

from starlette.types import Scope

from sluiceway.errors import MethodNotAllowed, NotFound

__all__ = ["no_such_path", "wrong_method"]

_SENDS = ("PUT", "POST", "PATCH")


def wrong_method(scope: Scope, allow: str) -> MethodNotAllowed:
    """405 for a path that is there; `allow` is the header's value."""
    return MethodNotAllowed(
        f"This path takes {allow}, not {_method(scope)}. {_right(scope)}".rstrip(), allow=allow
    )


def no_such_path(scope: Scope) -> NotFound:
    return NotFound(f"There is nothing at this path. {_right(scope)}".rstrip())


def _method(scope: Scope) -> str:
    """Any token may come as a method; what is answered stays short."""
    return str(scope["method"])[:20]


def _right(scope: Scope) -> str:
    """Where the request should have gone. Paths carry the prefix the app is mounted under."""
    method, root = scope["method"], scope.get("root_path", "")
    path = str(scope["path"]).removeprefix(root)
    files, put = f"{root}/files", f"{root}/files/NAME"
    send = f"PUT stores a file at {put} (curl -T FILE), POST takes forms and bytes at {files} (curl -F file=@FILE)"
    if path == "/fetch" and method in _SENDS:
        return f'To import a file, POST {{"url": "https://…"}} as application/json to {files}'
    if path.startswith("/uploads/") and method in _SENDS:
        return f"An upload under way is watched here with GET and cancelled with DELETE. {send}"
    if path.startswith("/files/") and len(path) > len("/files/"):
        if method in _SENDS:
            return f"{send}; to store a file under this very path send it with PUT"
        return (
            f"A file is read here with GET and deleted with DELETE; the list of files is at {files}"
        )
    if method in _SENDS:
        return send
    if method == "DELETE":
        return f"DELETE takes the path of one file: {put}"
    return f"The list of files is at {files}, a file at {put}, the page at {root}/"
