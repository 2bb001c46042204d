"""Uploads that their clients find again by the key of their file: a PUT that goes on after a cut.

A key has one such upload at a time; beginning anew forgets the earlier one. What a PUT without any
mark brought before it was cut is adopted here: before the cut it was written down nowhere.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from sluiceway.errors import Exists, NotFound, Superseded
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.contract import Draft, UploadRequest
from sluiceway.stores.unpublished import AdoptingStore
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["BY_KEY", "LEAST_ADOPTED", "adopt", "make_by_key", "upload_of"]

BY_KEY = "put"  # the dialect of their records
LEAST_ADOPTED = 64 << 10  # bytes; to send fewer again costs less than to write down where they are
ADOPT_TRIES = 5  # a client's question may come before the draft has its new name


def upload_of(key: str, owner: str = "") -> str:
    """The id of an owner's upload to a key: two owners do not meet before they publish."""
    named = f"{owner}\0{key}" if owner else key  # no key and no name has a NUL
    return f"put-{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


async def make_by_key(
    uploads: ResumableUploads, key: str, request: UploadRequest, length: int | None
) -> str:
    """Write an upload to `key` down where there is none. Returns its id; `restart` is to follow.

    Raises TooLarge, Forbidden, and Exists for a file that must not be replaced.
    """
    upload = upload_of(key, uploads.grant.owner)
    request = await uploads.rules.admit(request)
    await _forget_gone(uploads, upload)
    if await uploads.look_up(upload) is None:
        with suppress(Exists):  # another request was faster: it is interrupted, as any other
            await uploads.create(BY_KEY, request, length, upload=upload)
    return upload


async def _forget_gone(uploads: ResumableUploads, upload: str) -> None:
    """An upload that is gone stays so, but its key may get another one."""
    record = await uploads.look_up(upload)
    if record is None or record.state is not LedgerState.GONE:
        return
    with suppress(NotFound):  # another request was faster
        async with uploads.hold(upload) as held:  # so that nobody forgets what began meanwhile
            if held.record.state is LedgerState.GONE:
                await uploads.ledger.remove(upload)


async def adopt(
    uploads: ResumableUploads, draft: Draft, request: UploadRequest, length: int | None
) -> int:
    """Keep what a cut PUT brought. Returns the offset that is kept; 0 where nothing is.

    Raises StoreFailed, NoSpace.
    """
    store = uploads.store
    if draft.written < LEAST_ADOPTED or not isinstance(store, AdoptingStore):
        await draft.discard()
        return 0
    kept = 0

    async def move(held: HeldUpload) -> None:
        nonlocal kept
        await held.restart(request, length)
        await held.adopt(draft)
        kept = held.record.offset

    try:
        upload = await make_by_key(uploads, request.key, request, length)
        for _ in range(ADOPT_TRIES):
            with suppress(Superseded):  # the client asks already, and goes on from what is kept
                async with uploads.hold(upload, brief=True) as held:
                    await shield_until_done(move(held))
            if kept:
                break
    finally:
        if not kept:
            await draft.discard()
    return kept
