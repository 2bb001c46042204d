"""Decimal digits from the wire: the only place where a peer's bytes become an integer.

`int()` also takes "+5", "1_0", " 7 " and digits of every script. HTTP means 1*DIGIT of ASCII, no
more.
"""

from __future__ import annotations

from sluiceway.errors import BadRequest

__all__ = ["MOST_INTEGER", "ascii_uint", "clipped_uint"]

MOST_INTEGER = 2**63 - 1  # the most that a file offset, SQLite and PostgreSQL can hold

_DIGITS = "0123456789"
_SURELY_FITS = 18  # digits


def ascii_uint(text: str | bytes, what: str = "number", most: int = MOST_INTEGER) -> int:
    """Return the value of 1*DIGIT, from 0 to `most`. Raises BadRequest, which names `what`."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if text and len(text) <= _SURELY_FITS and not text.strip(_DIGITS):
        value: int | None = int(text)  # as below; each request has some
    else:
        value = clipped_uint(text, most)
    if value is None:
        raise BadRequest(f"{what} must be written in plain digits, 0 to 9 and nothing else")
    if value > most:
        raise BadRequest(f"{what} must not be larger than {most}")
    return value


def clipped_uint(text: str | bytes, most: int = MOST_INTEGER) -> int | None:
    """Return the value of 1*DIGIT, `most` + 1 for every larger one, None for any other text."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if not text or text.strip(_DIGITS):  # what is left is no digit
        return None
    if len(text) <= _SURELY_FITS:
        return min(int(text), most + 1)
    significant = text.lstrip("0")
    if len(significant) > len(
        str(most)
    ):  # int() must never see digits of a length that the peer chose
        return most + 1
    return min(int(significant or "0"), most + 1)
