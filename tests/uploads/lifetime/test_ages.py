"""Ages and ends as people write them; what is none is refused with an example."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadRequest
from sluiceway.uploads.lifetime.ages import parse_age, parse_end

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15min", 900), ("12 h", 43200), (" 7D ", 604800), ("2w", 1209600)],
)
def test_ages(text: str, seconds: int) -> None:
    assert parse_age(text, "x") == seconds
    assert parse_end(text, "x", NOW) == (seconds, None)


def test_ends() -> None:
    """A time is one of RFC 3339, in UTC unless it says else, or that of an HTTP header."""
    for text in ("2027-02-01T00:00+01:00", "Sun, 31 Jan 2027 23:00:00 GMT", "2027-01-31T23:00"):
        assert parse_end(text, "x", NOW) == (None, 1801436400)
    assert parse_end("2027-01-31", "x", NOW) == (None, 1801353600)


NEITHER = ["0", "-1", "1.5h", "1m", "٧", "1e9", "inf", "101y", "36501d", "9" * 20, "2020-01-01"]
FAR = ["2999-01-01", "9999-12-31T23:59:59-12:00"]


@pytest.mark.parametrize("text", [*NEITHER, *FAR, "", "7 days", "x" * 10_000])
def test_what_is_neither_is_refused(text: str) -> None:
    for parse in (lambda: parse_age(text, "x"), lambda: parse_end(text, "x", NOW)):
        with pytest.raises(BadRequest) as caught:
            parse()
        assert len(caught.value.detail) < 200
