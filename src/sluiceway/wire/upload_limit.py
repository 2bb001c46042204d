"""Upload-Limit of resumable uploads, as a client reads it (draft-ietf-httpbis-resumable-upload 5).

Sans-IO. Servers write it in `wire.resumable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import http_sf

from sluiceway.wire.numbers import MOST_INTEGER

__all__ = ["KNOWN_LIMITS", "parse_upload_limit"]

KNOWN_LIMITS = (
    "max-size",
    "min-size",
    "max-append-size",
    "min-append-size",
    "max-age",
    "expires",  # of interop version 6, for max-age
)


def parse_upload_limit(text: str | None) -> Mapping[str, int] | None:
    """Return the known limits by name, in bytes and seconds; None without a usable field.

    Unknown names are ignored. A known one of the wrong type makes the whole field void.
    """
    if text is None:
        return None
    try:
        found = http_sf.parse(text.encode("ascii", "replace"), tltype="dictionary")
        parsed = cast("Mapping[str, tuple[object, object]]", found)
    except ValueError:
        return None
    limits: dict[str, int] = {}
    for name in KNOWN_LIMITS:
        if name not in parsed:
            continue
        value = parsed[name][0]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_INTEGER:
            return None
        limits[name] = value
    return limits
