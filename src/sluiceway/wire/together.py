"""Many small files in one response: for each a line of JSON, as in a listing, and then its bytes.

Knows nothing of HTTP and of stores.
"""

from __future__ import annotations

import json

from sluiceway.errors import PeerFailed

__all__ = [
    "MOST_EACH",
    "MOST_FILES",
    "MOST_QUERY",
    "MOST_TOGETHER",
    "TOGETHER_TYPE",
    "parse_together",
]

TOGETHER_TYPE = "application/vnd.sluiceway.objects"
MOST_EACH = 64 << 10  # bytes of one file
MOST_TOGETHER = 1 << 20  # bytes of all files
MOST_FILES = 64
MOST_QUERY = 6000  # characters that name them: servers and proxies take 8,000 in a request's line


def parse_together(body: bytes) -> dict[str, tuple[dict[str, object], bytes]]:
    """The files by their keys, each with its line and its bytes. Raises PeerFailed."""
    found, at = dict[str, tuple[dict[str, object], bytes]](), 0
    while at < len(body):
        end = body.find(b"\n", at) + 1
        try:
            line = json.loads(body[at:end])
        except (ValueError, RecursionError):
            line = None
        key, size = (line.get("key"), line.get("size")) if isinstance(line, dict) else (None, None)
        if not isinstance(key, str) or not isinstance(size, int) or not 0 <= size <= MOST_EACH:
            raise PeerFailed("The server answered with many files, and one is not described")
        at = end + size
        if at > len(body):
            raise PeerFailed("The server answered with many files, and the last one is cut off")
        found[key] = line, body[end:at]
    return found
