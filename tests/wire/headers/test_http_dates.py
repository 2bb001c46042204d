"""sluiceway.wire.headers.http_dates writes one form and reads three."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.wire.headers.http_dates import http_date, parse_http_date

THE_SAME = [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
]


@pytest.mark.parametrize("text", THE_SAME)
def test_the_three_forms_mean_the_same_second(text: str) -> None:
    """RFC 9110 5.6.7's own examples."""
    assert parse_http_date(text) == 784111777


@given(st.integers(0, 253402300799))
def test_every_second_is_written_as_the_standard_library_does_and_read_back(second: int) -> None:
    """1970 to 9999."""
    assert http_date(second) == email.utils.formatdate(second, usegmt=True)
    assert parse_http_date(http_date(second)) == second
    assert http_date(second + 0.9) == http_date(second)


NO_DATES = [
    "",
    "0",
    "784111777",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 CET",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "sun, 06 nov 1994 08:49:37 gmt",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 32 Nov 1994 08:49:37 GMT",
    "Sun, 30 Feb 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 06 Abc 1994 08:49:37 GMT",
    "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, ０６ Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT\n",
    "1994-11-06T08:49:37Z",
]


@pytest.mark.parametrize("text", NO_DATES)
def test_anything_else_is_no_date(text: str) -> None:
    """None, so that its condition is ignored."""
    assert parse_http_date(text) is None


def test_odd_dates() -> None:
    """A leap second is the second before it; years of two digits begin at 1970."""
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date(
        "Sat, 31 Dec 2016 23:59:59 GMT"
    )
    assert (
        http_date(parse_http_date("Thursday, 01-Jan-70 00:00:00 GMT") or 0)
        == "Thu, 01 Jan 1970 00:00:00 GMT"
    )
    assert (
        http_date(parse_http_date("Tuesday, 31-Dec-69 00:00:00 GMT") or 0)
        == "Tue, 31 Dec 2069 00:00:00 GMT"
    )


@given(st.text(alphabet="SunModay, 0169-NovTueGMT:", max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    """No text raises an error."""
    parse_http_date(text)
