"""Drafts at another server: taken up at its offset, held back until a digest was compared.

Of other drafts each function does nothing. Knows no request and no ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sluiceway.errors import NotFound
from sluiceway.stores.unpublished import ChecksElsewhere, ResumableDraft, offers
from sluiceway.uploads.resumable.drafts.prefix_digests import PrefixDigests

__all__ = ["digests_of", "held_back", "is_first_known"]


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


async def digests_of(
    digests: PrefixDigests, draft: ResumableDraft, expected: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The digests of the whole. Where an earlier process saw some of the bytes, and they are at
    another server, that one gives them once more, or compares the digests that its client expects.
    Raises Gone, Unavailable, StoreFailed."""
    if digests.position != (size := draft.written) and offers(draft, ChecksElsewhere):
        if not expected:
            return {}  # nobody waits for a digest that costs as much as the upload
        try:
            await digests.read_again(draft.read_back(), size)
        except NotFound:
            draft.must_confirm(dict(expected))
            return dict(expected)
    return await digests.finish(draft)
