"""Sizes as people write them."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import MOST_INTEGER
from sluiceway.wire.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("123", 123),
        (" 64MiB ", 64 << 20),
        ("10 GB", 10 * 1000**3),
        ("1k", 1000),
        ("1KB", 1000),
        ("1kib", 1024),
        ("7b", 7),
        ("2t", 2 * 1000**4),
        ("3TiB", 3 << 40),
        (str(MOST_INTEGER), MOST_INTEGER),
    ],
)
def test_numbers_with_and_without_units(text: str, size: int) -> None:
    """kB counts in thousands, KiB in 1024s, in any case."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MiB",
        "-1",
        "+1",
        "1.5GiB",
        "1_000",
        "10 apples",
        "1  kB",
        "0x10",
        "١",
        "1e3",
        str(MOST_INTEGER + 1),
        "9" * 30,
        "9000000000TiB",
    ],
)
def test_everything_else_is_refused_by_name(text: str) -> None:
    """No fractions, signs or digits of other scripts; nothing above what a file offset can hold."""
    with pytest.raises(BadRequest, match="The limit must"):
        parse_size(text, "The limit")
