"""Cookies of one chain of redirects: some servers let nobody through who does not bring back what they just set.

Each goes back to the very origin that set it (scheme, host, port; `Domain` widens nothing) and is forgotten with the chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.client.http.exchange import Head
from sluiceway.wire.urls import origin

__all__ = ["ChainCookies"]

MOST = 50  # cookies of one origin: what RFC 6265 6.1 has browsers keep
MOST_COOKIE = 4096  # bytes of one, name and value
MOST_TOTAL = 16 << 10  # bytes of one Cookie header; servers take 8 to 64 KiB of headers

_PAIR = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x2b\x2d-\x3a\x3c-\x7e ]*)"
)  # a token, and no control character or ;
_GONE = re.compile(r";\s*max-age\s*=\s*(-\d|0*\s*(;|$))", re.IGNORECASE)


class ChainCookies:
    """Learns from each answer of a chain; adds to the headers of the next request."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], dict[str, str]] = {}

    def learn(self, head: Head) -> None:
        for line in head.cookies:
            found = _PAIR.match(line)
            if found is None or len(found[0]) > MOST_COOKIE:
                continue
            kept = self._kept.setdefault(origin(head.url), {})
            kept.pop(found[1], None)
            if not _GONE.search(line) and len(kept) < MOST:
                kept[found[1]] = found[2].strip()

    def added(self, headers: Mapping[str, str], url: str) -> dict[str, str]:
        """The headers with the cookies of this URL's origin behind what somebody gave by hand."""
        pairs = [f"{name}={value}" for name, value in self._kept.get(origin(url), {}).items()]
        given = next((value for name, value in headers.items() if name.lower() == "cookie"), None)
        text = "; ".join([*([given] if given else []), *pairs])
        if not pairs or len(text) > MOST_TOTAL:
            return dict(headers)
        return {
            **{name: value for name, value in headers.items() if name.lower() != "cookie"},
            "cookie": text,
        }
