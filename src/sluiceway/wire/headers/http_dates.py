"""HTTP dates (RFC 9110 5.6.7): writes one form, reads three.

There is no clock here: a date is a number of seconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["http_date", "parse_http_date"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = (
    re.compile(
        rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}})"
        rf" {_TIME} GMT"
    ),
    re.compile(
        rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}})"
        rf" {_TIME} GMT"
    ),
    re.compile(
        rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[0-9 ][0-9]) {_TIME}"
        r" (?P<year>[0-9]{4})"
    ),
)


def http_date(seconds: float) -> str:
    """Write IMF-fixdate. Seconds are rounded down: a Last-Modified must not lie in the future."""
    when = _EPOCH + timedelta(seconds=int(seconds // 1))
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {when.day:02} {month} {when.year:04} {when:%H:%M:%S} GMT"


def parse_http_date(value: str) -> float | None:
    """Read IMF-fixdate, RFC 850 or asctime. None for any other text, which callers must ignore."""
    for form in _FORMS:
        found = form.fullmatch(value)
        if found and found["month"] in _MONTHS:
            return _seconds(found)
    return None


def _seconds(found: re.Match[str]) -> float | None:
    # The patterns above match only ASCII digits, so int() is safe here.
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += (
            1900 if year >= 70 else 2000
        )  # RFC 9110's fifty years need a clock; this is POSIX's pivot
    month = _MONTHS.index(found["month"]) + 1
    second = min(int(found["second"]), 59)  # datetime has no leap second
    try:
        when = datetime(
            year,
            month,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return (when - _EPOCH).total_seconds()
