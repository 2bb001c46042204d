"""The door of the service: what every request and every answer has to be, whatever path, method and handler it has.

A URL is decoded strictly, once, before any routing. An answer says to browsers that it is no page of a site.
"""

from __future__ import annotations

import re

from starlette.types import Message, Scope, Send

from sluiceway.errors import BadName
from sluiceway.wire.request_targets import check_path, decode_path, decode_query, encode_query

__all__ = ["SAFE_HEADERS", "decode_url", "with_headers"]

# Said by each answer that does not say otherwise. Without the opener policy a page that opened /healthz in a window could
# reach into it; without the resource policy it could tell by an <img> which files exist.
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
_KEYS = frozenset(["prefix", "after"])  # parameters that are a part of a key


def decode_url(scope: Scope) -> None:
    """Make the scope's path and query what the client's bytes say, or raise BadName. Handlers see no repaired text.

    Servers decode the path for us and put U+FFFD for bytes that are not UTF-8: only `raw_path` tells what came.
    """
    path: str = scope["path"]
    if raw := scope.get("raw_path"):
        decode_path(bytes(raw).partition(b"?")[0])
    elif "\ufffd" in path or _SURROGATE.search(path):
        raise BadName(
            "The URL's path holds bytes that are not UTF-8, or U+FFFD, which cannot be told apart here; use another name"
        )
    if "\0" in path or not path.removeprefix(scope.get("root_path", "")).startswith(_FILES):
        check_path(path)  # of a key, its handler: others may have put a line feed into one
    pairs = decode_query(scope.get("query_string", b""))
    if any(name in _KEYS and "\0" in value for name, value in pairs):
        raise BadName("No key holds a NUL; leave %00 out of prefix and after")
    scope["query_string"] = encode_query(pairs)


def with_headers(send: Send, more: list[tuple[bytes, bytes]]) -> Send:
    """Each answer with the safe headers it does not have itself, and with `more`."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in own}
            message = {
                **message,
                "headers": [*own, *(item for item in SAFE_HEADERS if item[0] not in names), *more],
            }
        await send(message)

    return sending
