"""What of a destination's answer may become ours: the status, the body, and every header that is safe under our name."""

from __future__ import annotations

from sluiceway.client.address import joined
from sluiceway.client.plan import Head
from sluiceway.errors import BadRequest
from sluiceway.stores.contract import Reply

__all__ = ["passable"]

OF_THE_CONNECTION = ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
OF_ITS_IDENTITY = ["alt-svc", "authentication-info", "date", "server", "server-timing", "upload-id", "via"]
OF_ITS_SESSIONS = ["accept-ch", "critical-ch", "set-cookie", "set-cookie2", "set-login"]
# A browser would ask its user for a password and send it here.
OF_ITS_DOOR = ["www-authenticate"]
# With these it would rule over this server's origin in a browser, or over a proxy in front of it.
OF_ITS_POWER = [
    "activate-storage-access",
    "clear-site-data",
    "content-security-policy",
    "content-security-policy-report-only",
    "document-policy",
    "expect-ct",
    "nel",
    "no-vary-search",
    "origin-agent-cluster",
    "permissions-policy",
    "public-key-pins",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-frame-options",
    "x-sourcemap",
    "x-xss-protection",
]
KINDS = (
    "access-control-",
    "attribution-reporting-",
    "cross-origin-",
    "proxy-",
    "sec-",
    "x-accel-",
    "x-lighttpd-",
    "x-litespeed-",
    "x-reproxy-",
    "x-sendfile",
)

LEFT_OUT = frozenset([*OF_THE_CONNECTION, *OF_ITS_IDENTITY, *OF_ITS_SESSIONS, *OF_ITS_DOOR, *OF_ITS_POWER])
REFERENCES = ("location", "content-location")


def passable(head: Head, body: bytes) -> Reply:
    """The answer as it may go on. Relative references become absolute: they are relative to that server, not to this one."""
    named = {name.strip().lower() for name in head.headers.get("connection", "").split(",")}  # RFC 9110 7.6.1
    headers = {
        name: value
        for name, value in head.headers.items()
        if name not in LEFT_OUT and name not in named and not name.startswith(KINDS)
    }
    for name in REFERENCES:
        if name in headers:
            try:
                headers[name] = joined(head.url, headers[name])
            except BadRequest:
                del headers[name]
    return Reply(head.status, headers, body)
