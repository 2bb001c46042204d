"""A source that breaks off where a test wants, and answers ranges."""

from __future__ import annotations

import os
from collections.abc import Callable

from rude_peer import Exchange, ranged, sha256_field

__all__ = ["DATA", "cutting"]
DATA = os.urandom(300_000)


def cutting(*cuts: int, data: bytes = DATA, etag: str = '"v1"') -> Callable[[Exchange], None]:
    """An honest server whose first answers end after so many bytes each."""
    left = list(cuts)

    def act(exchange: Exchange) -> None:
        if not left:
            ranged(data, etag)(exchange)
            return
        cut, start = left.pop(0), exchange.first_byte()
        headers = {
            "ETag": etag,
            "Content-Length": str(len(data) - start),
            "Repr-Digest": sha256_field(data),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        exchange.head(206 if start else 200, headers)
        exchange.send(data[start : start + cut])

    return act
