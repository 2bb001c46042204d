"""Which requests of an app's own views are watched: those with a body and an id in their query.

What cannot be read is not an id: the app decides what to make of its request. Knows text only.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import ascii_uint

__all__ = ["MOST_QUERY", "watched_id", "watched_length"]

WITH_BODY = ("POST", "PUT", "PATCH")
MOST_QUERY = 100  # values in the query of a watched upload


def watched_id(method: str, query: str) -> str | None:
    """The id in `?upload=ID` of a request that may have a body; it is not checked."""
    if "upload=" not in query or method not in WITH_BODY:
        return None
    try:
        return dict(parse_qsl(query, max_num_fields=MOST_QUERY)).get("upload")
    except ValueError:
        return None


def watched_length(digits: str) -> int | None:
    """The number in a Content-Length; None without a number."""
    try:
        return ascii_uint(digits, "Content-Length") if digits else None
    except BadRequest:
        return None
