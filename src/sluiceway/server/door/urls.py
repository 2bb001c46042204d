"""Decodes the URL of each request strictly, once, before routing; the headers of every response.

Knows nothing of paths, methods and handlers: its rules hold for all of them.
"""

from __future__ import annotations

import re

from starlette.types import Scope

from sluiceway.errors import BadName
from sluiceway.wire.request_targets import check_path, decode_path, decode_query, encode_query

__all__ = ["SAFE_HEADERS", "decode_url"]

# Defaults for every response. Without the opener policy a page that opened /healthz in a window
# could reach into that window; without the resource policy an <img> would show which files exist.
SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

_FILES = "/files/"
_SURROGATE = re.compile("[\ud800-\udfff]")
_KEY_PARAMETERS = frozenset(["prefix", "after"])  # their values are parts of keys


def decode_url(scope: Scope) -> None:
    """Check the path and the query of a scope, and normalise the query. Raises BadName.

    Servers decode the path before us and replace bytes that are not UTF-8 by U+FFFD, so handlers
    would see a repaired text. Only `raw_path` has the client's bytes.
    """
    path: str = scope["path"]
    if raw := scope.get("raw_path"):
        if b"%" in raw or not raw.isascii():  # else it is what it says
            decode_path(bytes(raw).partition(b"?")[0])
    elif "\ufffd" in path or _SURROGATE.search(path):
        raise BadName(
            "The URL's path has bytes that are not UTF-8, or U+FFFD; this server cannot tell which."
            " Use another name"
        )
    # The handlers check the path of a key: other programs may have put a line feed into one.
    if "\0" in path or not path.removeprefix(scope.get("root_path", "")).startswith(_FILES):
        check_path(path)
    if not scope.get("query_string"):
        scope["query_string"] = b""
        return
    pairs = decode_query(scope["query_string"])
    if any(name in _KEY_PARAMETERS and "\0" in value for name, value in pairs):
        raise BadName("A key cannot have a NUL; leave %00 out of prefix and after")
    scope["query_string"] = encode_query(pairs)
