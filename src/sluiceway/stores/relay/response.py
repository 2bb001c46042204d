"""What of a destination's answer may become ours: the status, the body, and the headers of a list.

A list of what may pass, not of what may not: a header that browsers learn tomorrow must not rule over this server's origin.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from sluiceway.client.http.exchange import Head
from sluiceway.errors import BadRequest
from sluiceway.stores.contract import Reply
from sluiceway.wire.urls import located

__all__ = ["NEVER", "passable"]

# They describe the answer and what it stands for; none of them gives orders to a browser or to a proxy in front.
DESCRIBING = [
    "accept-ranges",
    "allow",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "deprecation",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "location",
    "repr-digest",
    "retry-after",
    "sunset",
]
# By these people find a request again, and learn how many more they may send.
OF_THE_REQUEST = [
    "idempotency-key",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "request-id",
    "x-correlation-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
]
PASSED = frozenset([*DESCRIBING, *OF_THE_REQUEST])

# Even an operator cannot let these through: they belong to one connection, or follow from what we send ourselves.
NEVER = frozenset(
    [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ]
)

REFERENCES = ("location", "content-location")


def passable(head: Head, body: bytes, more: Collection[str] = ()) -> Reply:
    """The answer as it may go on, with the headers the operator named in `more` (lower case).

    Relative references become absolute: they are relative to that server, not to this one.
    """
    named = {
        name.strip().lower() for name in head.headers.get("connection", "").split(",")
    }  # RFC 9110 7.6.1
    headers = {
        name: value
        for name, value in head.headers.items()
        if (name in PASSED or name in more) and name not in named and name not in NEVER
    }
    for name in REFERENCES:
        if name in headers:
            try:
                headers[name] = _resolved(head.url, headers[name])
            except BadRequest:
                del headers[name]
    return Reply(head.status, headers, body)


def _resolved(url: str, reference: str) -> str:
    """The query of our own request may hold the operator's key: an empty reference, or one of a fragment, would tell it."""
    if not reference.partition("#")[0]:
        raise BadRequest("The reference names nothing")
    return located(urlsplit(url)._replace(query="").geturl(), reference)
