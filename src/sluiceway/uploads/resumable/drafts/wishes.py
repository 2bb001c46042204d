"""Which digests of an upload are counted: what its creation asks for, or a later request.

A wish binds nobody (RFC 9530, 4): a late one is heeded where that costs little. Knows no request.
"""

from __future__ import annotations

from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.resumable.drafts.prefix_digests import PrefixDigests
from sluiceway.uploads.rules import UploadRules

__all__ = ["counted_digests", "heed_wish"]

# Bytes that are read once more for a client that asks for another digest at the end.
MOST_READ_AGAIN = 64 << 20


def counted_digests(rules: UploadRules, request: UploadRequest, wish: str = "") -> tuple[str, ...]:
    """`wish`: the algorithm that a later request asks for, "" for none."""
    asked = (wish, request.wanted, *rules.store.traits.counts)
    return rules.digests.to_count(request.expected, asked)


async def heed_wish(
    digests: PrefixDigests, record: UploadRecord, rules: UploadRules, wish: str
) -> None:
    """Count what a request asks for, before the first byte or behind the last one.

    Few bytes are read again. Where an object would need a copy for that, no late wish is heeded.
    """
    traits, names = rules.store.traits, counted_digests(rules, record.request, wish)
    is_cheap = not record.offset or (traits.readable_drafts and record.offset <= MOST_READ_AGAIN)
    if is_cheap and not traits.key_first and not digests.algorithms >= {*names}:
        await digests.begin(names)
