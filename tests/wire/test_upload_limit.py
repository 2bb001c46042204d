"""Upload-Limit as a client reads it."""

from __future__ import annotations

import pytest

from sluiceway.wire.upload_limit import parse_upload_limit


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (None, None),
        ("", {}),
        ("min-size=0", {"min-size": 0}),
        (
            "max-size=100, max-append-size=5;x=1, other=foo",
            {"max-size": 100, "max-append-size": 5},
        ),
        ("max-age=60, expires=60", {"max-age": 60, "expires": 60}),
        ("max-size=?1", None),
        ("max-size=1.5", None),
        ("max-size=-1", None),
        ('max-size="1"', None),
        ("max-size=(1 2)", None),
        ("(", None),
        ("max-size=\u0664", None),
    ],
)
def test_known_limits_are_read_and_a_wrong_one_voids_the_field(
    text: str | None, limits: dict[str, int] | None
) -> None:
    assert parse_upload_limit(text) == limits
