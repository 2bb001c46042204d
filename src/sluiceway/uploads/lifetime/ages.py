"""Ages and ends as people and clients write them: 3600, 90min, 12h, 7d; or a time as an end."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.numbers import ascii_uint

__all__ = ["MOST_AGE", "parse_age", "parse_end"]

MOST_AGE = 100 * 365 * 86400  # seconds; a longer one is a mistake
_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"([0-9]{1,12}) ?(s|min|h|d|w|)", re.ASCII)
LONGEST = 64  # characters; a time with its zone has fewer


def parse_age(text: str, what: str) -> int:
    """Return seconds, at least one. Raises BadRequest, which names `what`."""
    found = _AGE.fullmatch(text.strip().lower())
    seconds = 0 if found is None else ascii_uint(found[1], what) * _UNITS[found[2]]
    if not 1 <= seconds <= MOST_AGE:
        raise BadRequest(
            f"{what} must be an age such as 90min, 12h, 7d or seconds, up to 100 years, not "
            f"{text[:LONGEST]!r}"
        )
    return seconds


def parse_end(text: str, what: str, now: float) -> tuple[int | None, int | None]:
    """An age, or a time: RFC 3339 (`2027-01-31`, `2027-01-31T12:00Z`) or as in HTTP headers.

    Returns:
        Seconds from then on; or seconds since the epoch. One of the two is None.

    Raises:
        BadRequest: It is neither, or the time is over.
    """
    text = text.strip()
    if _AGE.fullmatch(text.lower()):
        return parse_age(text, what), None
    end = parse_http_date(text)
    if end is None and len(text) <= LONGEST:
        try:
            given = datetime.fromisoformat(text)
            end = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            end = None
    if end is None:
        raise BadRequest(
            f"{what} must be an age such as 90min, 12h, 7d, or a time such as 2027-01-31T12:00Z, "
            f"not {text[:LONGEST]!r}"
        )
    if not now < end <= now + MOST_AGE:
        raise BadRequest(f"{what} must lie ahead, within 100 years; {text!r} does not")
    return None, round(end)
