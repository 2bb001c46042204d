"""Which part of a destination's response is passed on: status, body, and the headers of a list.

A list of what is allowed, not of what is forbidden: a header that browsers learn tomorrow must not
get power over this server's origin.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from urllib.parse import urlsplit

from sluiceway.client.http.exchange import Head, Response
from sluiceway.errors import BadRequest
from sluiceway.stores.contract import Entry, Metadata, Reply
from sluiceway.stores.relay.addresses import HiddenAddresses
from sluiceway.stores.relay.backend import Backend
from sluiceway.wire.headers.object_digests import DIGEST_HEADERS
from sluiceway.wire.urls import located

__all__ = ["NEVER", "passable", "relayed_entry"]

# They describe the response and its resource; none gives orders to a browser or a proxy in front.
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
    "retry-after",
    "sunset",
    *DIGEST_HEADERS,
]
# By these people find a request in logs, and learn how many more they may send.
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

# Even an operator cannot pass these on: they belong to one connection, or we set them ourselves.
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


def passable(
    head: Head, body: bytes, more: Collection[str] = (), hide: HiddenAddresses | None = None
) -> Reply:
    """The part of a response that may be passed on.

    `more` are header names in lower case that the operator allows besides; `hide` takes addresses
    out. Relative references become absolute: they are relative to that server, not to this one.
    """
    # RFC 9110 7.6.1: these belong to the connection
    named = {name.strip().lower() for name in head.headers.get("connection", "").split(",")}
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
    location = headers.get("location")
    if hide is not None:
        public = hide.body(body, headers)
        headers = hide.headers(headers, was_changed=public != body)
        body = public
    return Reply(head.status, headers, body, location)


def relayed_entry(
    backend: Backend, key: str, size: int, metadata: Metadata, response: Response
) -> Entry:
    """The object of `size` bytes that a destination has taken with this response."""
    head = response.head
    etag = head.headers.get("etag", "").removeprefix("W/").strip('"')
    reply = None
    if not response.cut:
        hide = backend.hidden(head.url)
        reply = passable(head, response.body, backend.answer_headers, hide)
    notes = ("The destination's answer was too long to be passed on",) if reply is None else ()
    return Entry(key, size, etag or metadata.sha256 or "", time.time(), metadata, reply, notes)


def _resolved(url: str, reference: str) -> str:
    """The reference as a URL. Raises BadRequest for an empty one or a mere fragment.

    Those would disclose the query of our own request, which may hold a key of the operator's.
    """
    if not reference.partition("#")[0]:
        raise BadRequest("The reference names nothing")
    return located(urlsplit(url)._replace(query="").geturl(), reference)
