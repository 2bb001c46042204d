"""Uploads that their clients find again by the key of their file: a PUT that goes on after a cut.

A key has one such upload at a time, of its newest PUT: bytes of two are never mixed. What a PUT
without any mark brought before it was cut is adopted here: it was written down nowhere before.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from sluiceway.errors import Exists, NotFound, Superseded
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.contract import Draft, Entry, UploadRequest
from sluiceway.stores.unpublished import AdoptingStore
from sluiceway.uploads.ledger.record import BASE, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = [
    "BY_KEY",
    "LEAST_ADOPTED",
    "REPLACED",
    "adopt",
    "base_of",
    "forget_earlier",
    "is_outdated",
    "make_by_key",
    "upload_of",
]

BY_KEY = "put"  # the dialect of their records
LEAST_ADOPTED = 64 << 10  # bytes; to send fewer again costs less than to write down where they are
REPLACED = "superseded"  # the code of an upload to a key that has a newer one
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


async def base_of(uploads: ResumableUploads, key: str) -> str:
    """The version that an upload to `key` would replace: its ETag, "" for none."""
    there = await _object_at(uploads, key)
    return "" if there is None else there.etag


async def is_outdated(uploads: ResumableUploads, record: UploadRecord) -> bool:
    """Whether a later request of the same client decided about the file.

    What an open upload would publish is older then, and what a finished one stored is not there.
    """
    if record.state is LedgerState.OPEN and not record.key:  # with one it may be its own object
        there = await _object_at(uploads, record.request.key)
        if there is None or there.metadata.owner != record.request.owner:
            return False
        return there.etag != record.details.get(BASE, "")
    if record.state is LedgerState.DONE and not record.code and uploads.store.traits.readable:
        there = await _object_at(uploads, record.key)
        headers = {} if record.response is None else dict(record.response.headers)
        return there is None or headers.get("etag", f'"{there.etag}"') != f'"{there.etag}"'
    return False  # it is being published, was refused, or is at another server


async def forget_earlier(uploads: ResumableUploads, key: str) -> None:
    """A new PUT of the whole file begins: what an earlier one left is not part of it."""
    upload = upload_of(key, uploads.grant.owner)
    record = await uploads.look_up(upload)
    if record is not None and record.state is LedgerState.OPEN:
        with suppress(NotFound, Superseded):  # a newer request has it, or it has just gone
            async with uploads.hold(upload) as held:
                await held.cancel(REPLACED)


async def _object_at(uploads: ResumableUploads, key: str) -> Entry | None:
    if not (key and uploads.store.traits.readable):
        return None
    try:
        return await uploads.store.stat(key)
    except NotFound:
        return None


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
        await forget_earlier(uploads, request.key)
        return 0
    kept = 0

    async def move(held: HeldUpload) -> None:
        nonlocal kept
        await held.restart(request, length, base)
        await held.adopt(draft)
        kept = held.record.offset

    try:
        base = await base_of(uploads, request.key)
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
