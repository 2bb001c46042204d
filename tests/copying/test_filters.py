"""Patterns on keys: * stays within a name, ** crosses /."""

from __future__ import annotations

import pytest

from sluiceway.copying.filters import KeyFilter
from sluiceway.errors import BadRequest

KEYS = ["a.txt", "b.bin", "d/a.txt", "d/e/a.txt", "d/e/b.bin", "[x]", "d/.hidden"]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", ["a.txt", "b.bin", "[x]"]),
        ("**", KEYS),
        ("*.txt", ["a.txt"]),
        ("**.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("**/*.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("**/e/*", ["d/e/a.txt", "d/e/b.bin"]),
        ("d/**", ["d/a.txt", "d/e/a.txt", "d/e/b.bin", "d/.hidden"]),
        ("d/*", ["d/a.txt", "d/.hidden"]),
        ("?.bin", ["b.bin"]),
        ("[ab].*", ["a.txt", "b.bin"]),
        ("[!a].*", ["b.bin"]),
        ("[a-b].bin", ["b.bin"]),
        ("[[]x]", ["[x]"]),
        ("d?a.txt", []),
        ("A.TXT", []),
        ("a.tx", []),
    ],
)
def test_patterns_match_keys(pattern: str, fits: list[str]) -> None:
    assert [key for key in KEYS if KeyFilter([pattern])(key)] == fits
    assert [key for key in KEYS if not KeyFilter(exclude=[pattern])(key)] == fits


def test_exclude_outranks_include() -> None:
    """A key that matches both is not selected."""
    choice = KeyFilter(["d/**", "a.txt"], ["**/e/**", "**/.*"])

    assert [key for key in KEYS if choice(key)] == ["a.txt", "d/a.txt"]


@pytest.mark.parametrize("pattern", ["", "[a", "*" * 9, "x" * 1025, "[z-a]"])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest):
        KeyFilter([pattern])


def test_brackets_do_not_match_a_slash() -> None:
    """A set of characters never matches the separator."""
    assert not KeyFilter(["a[!b]c"])("a/c")
