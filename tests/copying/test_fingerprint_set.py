"""The compact set of what is done."""

from __future__ import annotations

import random

from sluiceway.copying.fingerprint_set import WIDTH, FingerprintSet, fingerprint


def test_it_holds_what_was_added_and_nothing_else() -> None:
    """Ten thousand, through several growths."""
    seen = FingerprintSet()
    marks = [fingerprint("k", str(n)) for n in range(10_000)]
    for mark in marks:
        seen.add(mark)
        seen.add(mark)

    assert len(seen) == 10_000
    assert all(mark in seen for mark in marks)
    assert not any(fingerprint("other", str(n)) in seen for n in range(10_000))


def test_its_memory_is_bounded_by_the_number() -> None:
    """At most 64 bytes each, whatever the keys are."""
    seen, chance = FingerprintSet(), random.Random(1)
    for _ in range(100_000):
        seen.add(chance.randbytes(WIDTH))

    assert len(seen._table) <= 64 * 100_000


def test_words_cut_elsewhere_are_other_words() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
