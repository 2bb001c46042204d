"""Drafts at another server: taken up at its offset, held back until a digest was compared.

Of other drafts each function does nothing. Knows no request and no ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluiceway.stores.unpublished import ChecksElsewhere, ResumableDraft, offers

__all__ = ["held_back", "is_first_known"]


def is_first_known(draft: ResumableDraft, offset: int, state: str) -> bool:
    """Whether the ledger lacks where the draft is, or how far."""
    is_elsewhere = offers(draft, ChecksElsewhere)
    return is_elsewhere and (draft.kept != offset or draft.save().state != state)


@contextmanager
def held_back(draft: ResumableDraft) -> Iterator[bool]:
    """While the bytes of a request with a digest arrive. Yields whether the ledger must know."""
    if not offers(draft, ChecksElsewhere):
        yield False
        return
    draft.hold_back(True)
    yield True
    draft.hold_back(False)  # the digest was right; after an error `truncate` decides
