"""Unicode's composed form (NFC) of names from clients, in time that grows with their length.

Python sorts the marks behind a letter by moving them one by one: 10,700 in a row took 0.18 s. So no run may have more than
MOST_MARKS, as in UAX #15's stream-safe format; no language comes near it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

__all__ = ["MOST_MARKS", "composed", "has_crowd", "thinned"]

MOST_MARKS = 30  # UAX #15 13: combining marks in a row, counted when all letters are taken apart


def has_crowd(text: str) -> bool:
    """Whether more than MOST_MARKS marks stand in a row."""
    return len(thinned(text)) != len(text)


def thinned(text: str) -> str:
    """The text without the marks beyond MOST_MARKS in a row."""
    if text.isascii():
        return text
    kept: list[str] = []
    run = 0
    for symbol in text:
        if symbol < "\x80":
            run = 0
        else:
            marks, goes_on = _marks(symbol)
            if goes_on and run + marks > MOST_MARKS:
                continue
            run = marks + (run if goes_on else 0)
        kept.append(symbol)
    return "".join(kept)


@lru_cache(4096)
def _marks(symbol: str) -> tuple[int, bool]:
    """How many marks it ends in when it is taken apart, and whether it is nothing else."""
    marks = [unicodedata.combining(part) != 0 for part in unicodedata.normalize("NFD", symbol)]
    return (len(marks), True) if all(marks) else (marks[::-1].index(False), False)


def composed(text: str) -> str:
    """NFC of a text that has no crowd; one that has is returned as it is, for it is no name that we gave."""
    return text if has_crowd(text) else unicodedata.normalize("NFC", text)
