"""sluiceway.wire.numbers: 1*DIGIT and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import MOST_INTEGER, ascii_uint, clipped_uint

NOT_DIGITS = [
    "",
    " ",
    "-1",
    "+5",
    "1_0",
    " 7",
    "7 ",
    "7\n",
    "0x10",
    "1e3",
    "1.0",
    "５",
    "٣",
    "²",
    "1,1",
    "\x00",
]


@pytest.mark.parametrize("text", NOT_DIGITS)
def test_texts_that_only_int_accepts_are_refused(text: str) -> None:
    """Signs, underscores, spaces and digits of other scripts are errors that name the field."""
    with pytest.raises(BadRequest, match="Upload-Length"):
        ascii_uint(text, "Upload-Length")
    assert clipped_uint(text) is None


@pytest.mark.parametrize("text", [b"", b"-1", b"1_0", b"\xb2", b"\xef\xbc\x95"])
def test_bytes_are_read_like_text(text: bytes) -> None:
    """Raw header bytes get the same refusal."""
    with pytest.raises(BadRequest):
        ascii_uint(text)


@given(st.integers(0, MOST_INTEGER), st.integers(0, 30))
def test_every_offset_is_read_back_with_any_zeros_in_front(value: int, zeros: int) -> None:
    """0 to 2**63-1, as text and as bytes."""
    text = "0" * zeros + str(value)

    assert ascii_uint(text) == value
    assert ascii_uint(text.encode()) == value


def test_the_largest_number_is_at_its_edge() -> None:
    """`most` is accepted, one more is refused, and a number of any length costs nothing."""
    assert ascii_uint(str(MOST_INTEGER)) == MOST_INTEGER
    assert ascii_uint("10", most=10) == 10
    for text in (str(MOST_INTEGER + 1), "9" * 100_000):
        with pytest.raises(BadRequest, match="larger"):
            ascii_uint(text)
        assert clipped_uint(text) == MOST_INTEGER + 1
    with pytest.raises(BadRequest, match="larger than 10"):
        ascii_uint("11", most=10)
