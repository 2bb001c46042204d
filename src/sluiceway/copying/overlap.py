"""Whether two sides of a copy overlap: it would read what it writes, one level deeper at each run.

Paths are compared as the folders they lead to, through links; places and servers by their URLs.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from sluiceway.copying.journals.sqlite import COMPANIONS
from sluiceway.errors import BadRequest
from sluiceway.stores.sqlite.place import SCHEME, SqlitePlace
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["journal_keys", "refuse_overlap"]

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
_LOCAL_NAMES = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}
_SAME_SCHEME = {"postgres": "postgresql"}


def refuse_overlap(src: str, dst: str) -> None:
    """Blocking. Raises BadRequest where one side is the other, or lies inside it."""
    src, dst = _as_path(src), _as_path(dst)
    file = _database_file(src) or _database_file(dst)
    folders = [side for side in (src, dst) if not (is_url(side) or is_place(side))]
    if file is not None and folders:  # a copy would read or replace the database's own file
        overlap = _within(file, folders[0])
    elif any(is_url(side) or is_place(side) for side in (src, dst)):
        overlap = _same_place(src, dst)
    elif any(os.path.lexists(side) and not os.path.isdir(side) for side in (src, dst)):
        return  # not a folder, which is an error with a text of its own
    else:
        overlap = _within(src, dst) or _within(dst, src)
    if overlap:
        raise BadRequest(
            f"{redact_url(src)} and {redact_url(dst)} overlap: one is the other, or lies inside "
            "it. Choose a destination outside"
        )


def journal_keys(folder: str, journal: str | None) -> frozenset[str]:
    """Blocking. The keys below a folder of a journal and its companions, if it lies there."""
    if journal is None or is_place(journal) or not folder or not os.path.isdir(folder):
        return frozenset()
    path, root = os.path.realpath(journal), os.path.realpath(folder)
    if os.path.commonpath([path, root]) != root:
        return frozenset()
    key = os.path.relpath(path, root).replace(os.sep, "/")
    return frozenset(f"{key}{suffix}" for suffix in ("", *COMPANIONS))


def _as_path(side: str) -> str:
    """fsspec can name this machine's folders, too."""
    if side.lower().startswith(("fsspec+file://", "fsspec+local://")):
        return unquote(urlsplit(side).path) or "/"
    return side


def _within(inner: str, outer: str) -> bool:
    """Whether `inner` is `outer` or leads below it. Missing folders count where they would be."""
    try:
        root = os.stat(outer)
    except OSError:
        return False  # missing: nothing can lie in it
    path = os.path.realpath(inner)
    while True:
        try:
            if os.path.samestat(os.stat(path), root):
                return True
        except OSError:
            pass  # missing; its parents decide
        parent = os.path.dirname(path)
        if parent == path:
            return False
        path = parent


def _same_place(src: str, dst: str) -> bool:
    one, other = _location(src), _location(dst)
    if one is None or other is None or one[0] != other[0]:
        return False
    a, b = one[1], other[1]
    return a == b[: len(a)] or b == a[: len(b)]


def _database_file(side: str) -> str | None:
    """The file of a database that is one."""
    return SqlitePlace.parse(side).file if side.lower().startswith(SCHEME) else None


def _location(side: str) -> tuple[tuple[str, ...], list[str]] | None:
    """The place a URL names, and the path inside it. None for a path."""
    if not (is_url(side) or is_place(side)):
        return None
    if side.lower().startswith(SCHEME):
        file = SqlitePlace.parse(side)
        return (SCHEME, file.file, file.table), [name for name in file.key.split("/") if name]
    parts = urlsplit(side)
    scheme = _SAME_SCHEME.get(parts.scheme.lower(), parts.scheme.lower())
    host = (parts.hostname or "").lower()
    try:
        port = parts.port or _PORTS.get(scheme, 0)
    except ValueError:
        return None  # refused elsewhere
    query = dict(parse_qsl(parts.query)) if is_place(side) else {}
    names = [name for name in unquote(parts.path).split("/") if name]
    place = (
        scheme,
        _LOCAL_NAMES.get(host, host),
        str(port),
        query.get("table", ""),
        query.get("endpoint", "").rstrip("/"),
    )
    return place, names
