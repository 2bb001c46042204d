"""Which digests of an upload are counted: what its creation asks for, or a later request.

A wish binds nobody (RFC 9530, 4): a late one is heeded where that costs little. A digest that the
file must have is checked whenever it comes. Knows no request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sluiceway.errors import DigestMismatch, Unsupported
from sluiceway.pipe.digests import RunningDigests
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.rules import UploadRules

__all__ = ["counted_digests", "heed_expected", "heed_wish"]

# Bytes that are read once more for a client that asks for another digest at the end.
MOST_READ_AGAIN = 64 << 20


def counted_digests(rules: UploadRules, request: UploadRequest, wish: str = "") -> tuple[str, ...]:
    """`wish`: the algorithm that a later request asks for, "" for none."""
    asked = (wish, request.wanted, *rules.store.traits.counts)
    return rules.digests.to_count(request.expected, asked)


async def heed_wish(
    digests: RunningDigests, record: UploadRecord, rules: UploadRules, wish: str
) -> UploadRequest | None:
    """Count what a request asks for, before the first byte or behind the last one.

    Few bytes are read again. Where an object would need a copy for that, no late wish is heeded.
    Returns what the upload is asked for then, so that its last response names it; None where its
    creation asked, or where that response is the next.
    """
    traits, names = rules.store.traits, counted_digests(rules, record.request, wish)
    is_cheap = not record.offset or (traits.readable_drafts and record.offset <= MOST_READ_AGAIN)
    if is_cheap and not traits.key_first and not digests.algorithms >= {*names}:
        await digests.begin(names)
    if record.offset or record.request.wanted:
        return None
    return dataclasses.replace(record.request, wanted=wish)


async def heed_expected(
    digests: RunningDigests, record: UploadRecord, rules: UploadRules, expected: Mapping[str, bytes]
) -> UploadRequest | None:
    """Count the digests that the whole must have, as a later request says. However many bytes came
    before are read again. Returns what the upload is asked for then, None where nothing is new.

    Raises DigestMismatch where it was said to have others, Unsupported where none can be counted.
    """
    request, traits = record.request, rules.store.traits
    if all(request.expected.get(name) == value for name, value in expected.items()):
        return None
    both = {**request.expected, **expected}
    if both != {**expected, **request.expected}:
        raise DigestMismatch(
            "The file was said to have another digest when its upload began, so these are not its "
            "bytes; nothing of them was stored. Begin a new upload"
        )
    request = dataclasses.replace(request, expected=both)
    if not digests.algorithms >= expected.keys():
        if record.offset and (traits.key_first or not traits.readable_drafts):
            raise Unsupported(
                "The bytes before these cannot be read again here for the digest of the whole file "
                "that comes only now. Leave it out, or send it with the first bytes"
            )
        await digests.begin(counted_digests(rules, request))
    return request
