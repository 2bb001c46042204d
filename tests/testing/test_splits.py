"""sluiceway.testing.splits: every cutting is a cutting of the same bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.testing.splits import MOST_TWO_WAY, cut_at_random, cut_in_two, cuttings


@given(st.binary(max_size=200))
def test_every_cutting_has_the_same_bytes(data: bytes) -> None:
    """The pieces of each cutting, joined, are the bytes."""
    for cutting in cuttings(data):
        assert b"".join(cutting.pieces) == data


def test_named_cuttings_are_as_their_names_say() -> None:
    """Whole, byte by byte, and every place for one cut."""
    by_name = {cutting.name: cutting.pieces for cutting in cuttings(b"abcd")}

    assert by_name["whole"] == (b"abcd",)
    assert by_name["byte by byte"] == (b"a", b"b", b"c", b"d")
    assert [cutting.pieces for cutting in cut_in_two(b"abcd")] == [
        (b"a", b"bcd"),
        (b"ab", b"cd"),
        (b"abc", b"d"),
    ]
    assert any(b"" in cutting.pieces for cutting in cuttings(b"abcd"))


def test_long_bytes_are_not_split_at_every_place() -> None:
    """Two-way splits stop at MOST_TWO_WAY bytes; the random ones stay, and repeat."""
    names = [cutting.name for cutting in cuttings(bytes(MOST_TWO_WAY + 1), seeds=2)]

    assert names == [
        "whole",
        "whole between empty pieces",
        "byte by byte",
        "at random, seed 0",
        "at random, seed 1",
    ]
    assert cut_at_random(bytes(999), 7) == cut_at_random(bytes(999), 7)
