"""Whether two sides of a copy share a part: then it would read what it writes, one level deeper at each run.

Paths are compared as the folders they lead to, through links; places and servers by where their URLs say that they are.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from sluiceway.copying.journal import COMPANIONS
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["journal_keys", "refuse_overlap"]

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
_HERE = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}
_SAME = {"postgres": "postgresql"}


def refuse_overlap(src: str, dst: str) -> None:
    """Blocking. Raises BadRequest where one side is the other, or stands within it."""
    src, dst = _as_path(src), _as_path(dst)
    if any(is_url(side) or is_place(side) for side in (src, dst)):
        overlap = _same_place(src, dst)
    elif any(os.path.lexists(side) and not os.path.isdir(side) for side in (src, dst)):
        return  # no folder at all, which is told in its own words
    else:
        overlap = _within(src, dst) or _within(dst, src)
    if overlap:
        raise BadRequest(
            f"{redact_url(src)} and {redact_url(dst)} overlap: one is the other, or stands within it. Choose a destination outside"
        )


def journal_keys(folder: object, journal: str | os.PathLike[str] | None) -> frozenset[str]:
    """Blocking. The keys of a copy's journal and its companions below a side, if it lies there."""
    if journal is None or not isinstance(folder, str | os.PathLike) or not os.path.isdir(folder):
        return frozenset()
    here, below = os.path.realpath(journal), os.path.realpath(folder)
    if os.path.commonpath([here, below]) != below:
        return frozenset()
    key = os.path.relpath(here, below).replace(os.sep, "/")
    return frozenset(f"{key}{suffix}" for suffix in ("", *COMPANIONS))


def _as_path(side: str) -> str:
    """fsspec knows this machine's folders, too."""
    if side.lower().startswith(("fsspec+file://", "fsspec+local://")):
        return unquote(urlsplit(side).path) or "/"
    return side


def _within(inner: str, outer: str) -> bool:
    """Whether `inner` is `outer` or leads below it; what of it is not there yet counts as a folder where it would be."""
    try:
        goal = os.stat(outer)
    except OSError:
        return False  # not there yet: nothing can stand in it
    here = os.path.realpath(inner)
    while True:
        try:
            if os.path.samestat(os.stat(here), goal):
                return True
        except OSError:
            pass  # not made yet; its parents decide
        parent = os.path.dirname(here)
        if parent == here:
            return False
        here = parent


def _same_place(src: str, dst: str) -> bool:
    one, other = _where(src), _where(dst)
    if one is None or other is None or one[0] != other[0]:
        return False
    a, b = one[1], other[1]
    return a == b[: len(a)] or b == a[: len(b)]


def _where(side: str) -> tuple[tuple[str, ...], list[str]] | None:
    """What a URL is about, and the way within it. None for a path."""
    if not (is_url(side) or is_place(side)):
        return None
    parts = urlsplit(side)
    scheme = _SAME.get(parts.scheme.lower(), parts.scheme.lower())
    host = (parts.hostname or "").lower()
    try:
        port = parts.port or _PORTS.get(scheme, 0)
    except ValueError:
        return None  # it is refused elsewhere
    told = dict(parse_qsl(parts.query)) if is_place(side) else {}
    way = [name for name in unquote(parts.path).split("/") if name]
    where = (
        scheme,
        _HERE.get(host, host),
        str(port),
        told.get("table", ""),
        told.get("endpoint", "").rstrip("/"),
    )
    return where, way
