"""Two objects of one run whose names differ only in their Unicode form (NFC, NFD), as `é` can.

A target that normalises names would keep both under one key. Only keys that are not ASCII are
remembered, as fingerprints.
"""

from __future__ import annotations

import unicodedata

from sluiceway.copying.contract import CopyTarget
from sluiceway.copying.fingerprint_set import FingerprintSet, fingerprint
from sluiceway.errors import SameName

__all__ = ["MOST_LATE", "NameForms", "same_name", "share_one_key"]

MOST_LATE = 10_000  # objects held back until the others are stored; a key is at most a few KiB


class NameForms:
    """The keys of one run, by how they look."""

    def __init__(self) -> None:
        self._looks, self._keys = FingerprintSet(), FingerprintSet()

    def repeats(self, key: str) -> bool:
        """Whether another key of this run looks like this one; remembers it."""
        if key.isascii():
            return False
        look, exact = fingerprint(unicodedata.normalize("NFC", key)), fingerprint(key)
        known = look in self._looks and exact not in self._keys
        self._looks.add(look)
        self._keys.add(exact)
        return known


async def share_one_key(target: CopyTarget, key: str) -> bool:
    """Whether the target has the same object under this key and under its other form.

    Raises what `find` raises.
    """
    here = await target.find(key)
    if here is None or not here[0].version:
        return False
    for form in (unicodedata.normalize("NFC", key), unicodedata.normalize("NFD", key)):
        if form == key or (there := await target.find(form)) is None:
            continue
        if there[0].version == here[0].version:
            return True
    return False


def same_name(key: str, display_name: str) -> SameName:
    """The error for the second object under one name."""
    return SameName(
        f"{key} and another object of this copy differ only in the form of their letters (as one "
        f"character or two, or in case), and {display_name} keeps both under one name; rename one"
    )
