"""The digests of an upload that came in pieces: continued where they are known, else read again.

The process that took the last piece has the running hashes. Another one, or one that had to forget
a piece, hashes what the draft keeps. Knows no ledger and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from sluiceway.errors import NotFound, StoreFailed
from sluiceway.pipe.digests import RunningDigests
from sluiceway.stores.unpublished import (
    ChecksElsewhere,
    KnowsDigests,
    ReadableDraft,
    ResumableDraft,
    offers,
)
from sluiceway.uploads.resumable.drafts.reading import read_draft

__all__ = ["digests_of"]


async def digests_of(
    digests: RunningDigests, draft: ResumableDraft, expected: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the digests of all bytes of the draft; those that `digests` lacks are read from there.

    Raises StoreFailed where the draft cannot be read; Gone, Unavailable.
    """
    size = draft.written
    if not digests.algorithms or digests.position == size:
        return await digests.finish()
    if offers(draft, ChecksElsewhere):
        if not expected:
            return {}  # nobody waits for a digest that costs as much as the upload
        await digests.begin(digests.algorithms)
        try:
            async with aclosing(draft.read_back()) as chunks:
                await digests.catch_up(chunks)
        except NotFound:
            draft.must_confirm(dict(expected))
            return dict(expected)
        if digests.position != size:
            raise StoreFailed("The kept bytes of an upload have another length than they had")
        return await digests.finish()
    if isinstance(draft, KnowsDigests):
        known = await draft.known_digests()
        if digests.algorithms <= known.keys():
            return {name: known[name] for name in digests.algorithms}
    if not isinstance(draft, ReadableDraft):
        raise StoreFailed("The kept bytes of an upload cannot be read here").for_operator()
    await digests.catch_up(read_draft(draft, digests.position, size))
    return await digests.finish()
