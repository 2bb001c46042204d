"""Conditional downloads, evaluated in the order of RFC 9110."""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime

import pytest

from fix_server import RunningServer
from journeys.test_download import DATA, MIB, get, put
from sluiceway.testing.store_suite import pattern


@pytest.fixture(scope="module")
def shelf(taker: RunningServer) -> RunningServer:
    """A server with a small object, an empty one and a large one."""
    for key, data in (("small.bin", DATA), ("empty.bin", b""), ("large.bin", pattern(8 * MIB) * 4)):
        put(taker, key, data)
    return taker


def conditions(server: RunningServer) -> dict[str, str]:
    """Names for header values that hold or do not."""
    whole = get(server, method="HEAD").headers
    modified = parsedate_to_datetime(whole["Last-Modified"]).timestamp()
    return {
        "same": whole["ETag"],
        "weak": "W/" + whole["ETag"],
        "other": '"other"',
        "list": f'"x", {whole["ETag"]}, "y"',
        "any": "*",
        "now": whole["Last-Modified"],
        "before": formatdate(modified - 10, usegmt=True),
        "later": formatdate(modified + 10, usegmt=True),
        "nonsense": "yesterday",
    }


CONDITIONS = [
    # RFC 9110 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else -Modified-; If-Range
    ({"If_Match": "same"}, 200),
    ({"If_Match": "list"}, 200),
    ({"If_Match": "any"}, 200),
    ({"If_Match": "other"}, 412),
    ({"If_Match": "weak"}, 412),
    ({"If_Unmodified_Since": "now"}, 200),
    ({"If_Unmodified_Since": "later"}, 200),
    ({"If_Unmodified_Since": "before"}, 412),
    ({"If_Unmodified_Since": "nonsense"}, 200),
    ({"If_Match": "same", "If_Unmodified_Since": "before"}, 200),
    ({"If_None_Match": "same"}, 304),
    ({"If_None_Match": "weak"}, 304),
    ({"If_None_Match": "list"}, 304),
    ({"If_None_Match": "any"}, 304),
    ({"If_None_Match": "other"}, 200),
    ({"If_Modified_Since": "now"}, 304),
    ({"If_Modified_Since": "later"}, 304),
    ({"If_Modified_Since": "before"}, 200),
    ({"If_Modified_Since": "nonsense"}, 200),
    ({"If_None_Match": "other", "If_Modified_Since": "now"}, 200),
    ({"If_Match": "other", "If_None_Match": "same"}, 412),
    ({"If_Match": "same", "If_None_Match": "same"}, 304),
    ({"If_Unmodified_Since": "before", "If_Modified_Since": "now"}, 412),
    ({"Range": "bytes=0-9"}, 206),
    ({"Range": "bytes=0-9", "If_None_Match": "same"}, 304),
    ({"Range": "bytes=0-9", "If_Match": "other"}, 412),
    ({"Range": "bytes=5000-", "If_Match": "other"}, 412),
    ({"Range": "bytes=0-9", "If_Range": "same"}, 206),
    ({"Range": "bytes=0-9", "If_Range": "other"}, 200),
    ({"Range": "bytes=0-9", "If_Range": "weak"}, 200),
    ({"Range": "bytes=0-9", "If_Range": "now"}, 200),
    ({"Range": "bytes=5000-", "If_Range": "other"}, 200),
    ({"Range": "bytes=5000-", "If_Range": "same"}, 416),
    ({"If_Range": "same"}, 200),
]


@pytest.mark.parametrize(
    ("headers", "status"), CONDITIONS, ids=[f"{given}-{status}" for given, status in CONDITIONS]
)
def test_conditions_are_evaluated_in_the_order_of_the_rfc(
    shelf: RunningServer, headers: dict[str, str], status: int
) -> None:
    """One table: what is sent, what comes; HEAD answers as GET does, without ranges."""
    values = conditions(shelf)
    sent = {name: values.get(value, value) for name, value in headers.items()}
    response = get(shelf, **sent)

    assert response.status_code == status, response.text
    if status == 304:
        assert response.content == b""
        assert response.headers["ETag"] == values["same"]
    if status == 412:
        assert response.json()["code"] == "precondition-failed"
    assert get(shelf, method="HEAD", **sent).status_code == {206: 200, 416: 200}.get(status, status)


@pytest.mark.parametrize("value", ["abc", '"a" "b"', '"unclosed', "W/x", "x" * 9000])
def test_malformed_tags_are_refused(shelf: RunningServer, value: str) -> None:
    """A malformed condition must not count as true."""
    assert get(shelf, If_Match=value).status_code == 400
