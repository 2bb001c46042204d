"""Cookies of one chain of redirects: some servers refuse a client without the cookie they just set.

Each cookie goes back to the very origin that set it (scheme, host, port; `Domain` is ignored) and
is forgotten with the chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.client.http.exchange import Head
from sluiceway.wire.urls import origin

__all__ = ["ChainCookies"]

MOST = 50  # cookies of one origin, as in browsers (RFC 6265 6.1)
MOST_COOKIE = 4096  # bytes of one, name and value
MOST_TOTAL = 16 << 10  # bytes of one Cookie header; servers take 8 to 64 KiB of headers

# a token, and no control character or ;
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x2b\x2d-\x3a\x3c-\x7e ]*)")
_EXPIRED = re.compile(r";\s*max-age\s*=\s*(-\d|0*\s*(;|$))", re.IGNORECASE)


class ChainCookies:
    """Learns from each response of a chain; adds to the headers of the next request."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], dict[str, str]] = {}

    def learn(self, head: Head) -> None:
        """Keep the cookies that a response sets, and drop those that it expires."""
        for cookie in head.cookies:
            found = _PAIR.match(cookie)
            if found is None or len(found[0]) > MOST_COOKIE:
                continue
            kept = self._kept.setdefault(origin(head.url), {})
            kept.pop(found[1], None)
            if not _EXPIRED.search(cookie) and len(kept) < MOST:
                kept[found[1]] = found[2].strip()

    def added(self, headers: Mapping[str, str], url: str) -> dict[str, str]:
        """Return the headers with the cookies of this URL's origin, behind those in them."""
        if not self._kept:
            return dict(headers)
        pairs = [f"{name}={value}" for name, value in self._kept.get(origin(url), {}).items()]
        given = next((value for name, value in headers.items() if name.lower() == "cookie"), None)
        text = "; ".join([*([given] if given else []), *pairs])
        if not pairs or len(text) > MOST_TOTAL:
            return dict(headers)
        return {
            **{name: value for name, value in headers.items() if name.lower() != "cookie"},
            "cookie": text,
        }
