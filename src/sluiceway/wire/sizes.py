"""Sizes as people write them: 1048576, 64MiB, 10 GB. Settings and the command line read them here.

For people only: a number from a peer goes through `numbers`.
"""

from __future__ import annotations

import re

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import MOST_INTEGER, ascii_uint

__all__ = ["parse_size"]

_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "m": 1000**2,
    "mb": 1000**2,
    "g": 1000**3,
    "gb": 1000**3,
    "t": 1000**4,
}
_UNITS |= {"tb": 1000**4, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,19}) ?([a-z]{0,3})", re.ASCII)  # 19 digits, as MOST_INTEGER has


def parse_size(text: str, what: str = "A size") -> int:
    """Return bytes. kB, MB, GB, TB are powers of 1000; KiB, MiB, GiB, TiB powers of 1024.

    Fractions are refused. Raises BadRequest, which names `what`.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise BadRequest(
            f"{what} must be a number of bytes such as 1048576, 64MiB or 10GB, not {text!r}"
        )
    size = ascii_uint(found[1], what) * _UNITS[found[2]]
    if size > MOST_INTEGER:
        raise BadRequest(f"{what} must not be larger than {MOST_INTEGER} bytes")
    return size
