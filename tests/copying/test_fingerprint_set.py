"""The compact set of finished objects."""

from __future__ import annotations

import random

from sluiceway.copying.fingerprint_set import WIDTH, FingerprintSet, fingerprint


def test_it_contains_the_added_entries_only() -> None:
    """Ten thousand entries, while the table grows several times."""
    seen = FingerprintSet()
    marks = [fingerprint("k", str(n)) for n in range(10_000)]
    for mark in marks:
        seen.add(mark)
        seen.add(mark)

    assert len(seen) == 10_000
    assert all(mark in seen for mark in marks)
    assert not any(fingerprint("other", str(n)) in seen for n in range(10_000))


def test_memory_is_bounded_by_the_number_of_entries() -> None:
    """At most 64 bytes each, whatever the keys."""
    seen, chance = FingerprintSet(), random.Random(1)
    for _ in range(100_000):
        seen.add(chance.randbytes(WIDTH))

    assert len(seen._table) <= 64 * 100_000


def test_texts_cut_elsewhere_have_other_fingerprints() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
