"""Uploads that their clients find again by the key of their file: a PUT that goes on after a cut.

A key has one such upload at a time, of its newest PUT: bytes of two are never mixed. Knows no
draft.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from sluiceway.errors import Exists, NotFound
from sluiceway.stores.contract import Entry, UploadRequest
from sluiceway.uploads.ledger.record import BASE, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = [
    "BY_KEY",
    "LIVING",
    "REPLACED",
    "base_of",
    "forget_earlier",
    "forget_gone",
    "is_outdated",
    "make_by_key",
    "upload_of",
    "version_of",
]

BY_KEY = "put"  # the dialect of their records
REPLACED = "superseded"  # the code of an upload to a key that has a newer one
LIVING = (LedgerState.OPEN, LedgerState.DONE)


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
    record = await uploads.look_up(upload)
    if record is not None and record.state is LedgerState.GONE:
        await forget_gone(uploads, record)
    if await uploads.look_up(upload) is None:
        with suppress(Exists):  # another request was faster: it is interrupted, as any other
            await uploads.create(BY_KEY, request, length, upload=upload)
    return upload


async def base_of(uploads: ResumableUploads, key: str) -> str:
    """The version that an upload to `key` would replace; "" for none."""
    return version_of(await _object_at(uploads, key))


def version_of(entry: Entry | None) -> str:
    """The ETag alone may be that of the bytes: one that stored them again was later."""
    return "" if entry is None else f"{entry.etag} {entry.modified!r}"


async def is_outdated(uploads: ResumableUploads, record: UploadRecord) -> bool:
    """Whether a later request of the same client decided about the file.

    What an open upload would publish is older then, and what a finished one stored is not there.
    """
    if record.state is LedgerState.OPEN and not record.key:  # with one it may be its own object
        there = await _object_at(uploads, record.request.key)
        if there is None or there.metadata.owner != record.request.owner:
            return False
        return version_of(there) != record.details.get(BASE, "")
    if record.state is LedgerState.DONE and not record.code and uploads.store.traits.readable:
        there = await _object_at(uploads, record.key)
        headers = {} if record.response is None else dict(record.response.headers)
        return there is None or headers.get("etag", f'"{there.etag}"') != f'"{there.etag}"'
    return False  # it is being published, was refused, or is at another server


async def forget_earlier(uploads: ResumableUploads, upload: str) -> UploadRecord | None:
    """A new PUT of the whole file begins: what an earlier one left is not part of it, and what one
    stored is not its response. Returns the record as it is then.

    Raises Superseded for a newer request that has the upload, StoreFailed, Unavailable.
    """
    record = await uploads.look_up(upload)
    if record is None or record.state not in LIVING:
        return record
    try:
        async with uploads.hold(upload) as held:
            if held.record.state in LIVING:
                await held.cancel(REPLACED)
            return held.record
    except NotFound:  # it has just gone
        return None


async def _object_at(uploads: ResumableUploads, key: str) -> Entry | None:
    if not (key and uploads.store.traits.readable):
        return None
    try:
        return await uploads.store.stat(key)
    except NotFound:
        return None


async def forget_gone(uploads: ResumableUploads, record: UploadRecord) -> None:
    """An upload that is gone stays so, but its key may get another one."""
    with suppress(NotFound):  # another request was faster
        async with uploads.hold(record.id) as held:  # so that nobody forgets what began meanwhile
            if (held.record.state, held.record.created) == (LedgerState.GONE, record.created):
                await uploads.ledger.remove(record.id)
