"""Uploads that are parts of another one: joined in order, once all of them are whole.

A join that was interrupted goes on where it was. Parts stay for a while, as others may need them,
unless they were sent beside one upload. Knows no dialect and no URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from sluiceway.errors import BadRequest, Gone, SluiceError, TooLarge
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["find_parts", "join_parts", "join_tail", "length_of"]

STEP = 256 << 20  # bytes between two offsets of a join that are written down
AT_ONCE = 32  # parts that are written down together
PARTS_LIVE = 3600.0  # seconds that parts stay when they were joined


async def find_parts(uploads: ResumableUploads, ids: Sequence[str]) -> list[UploadRecord]:
    """The parts, in order; one may come twice. Raises BadRequest for one that is not there."""
    found: dict[str, UploadRecord] = {}
    for upload in dict.fromkeys(ids):
        record = await uploads.look_up(upload)
        if record is not None and record.state is LedgerState.DONE:
            raise BadRequest("One of the parts is not a part, but a whole upload that has ended")
        if record is None or record.state is not LedgerState.OPEN:
            raise BadRequest("One of the parts does not exist, or exists no more")
        found[upload] = record
    return [found[upload] for upload in ids]


def length_of(parts: Sequence[UploadRecord]) -> int | None:
    """Bytes of all parts; None as long as one does not know its length."""
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(each for each in lengths if each is not None)


async def join_parts(uploads: ResumableUploads, held: HeldUpload, ids: Sequence[str]) -> bool:
    """Append the parts to the upload that is held; whether all are there.

    Nothing is joined before all are whole. One of which a part is gone, or whose parts are too
    large together, ends as soon as that is known: Gone. Raises NoSpace, StoreFailed, and Locked for
    a part that does not let go.
    """
    try:
        parts = await find_parts(uploads, ids)
        uploads.rules.check_size(length_of(parts))
    except (BadRequest, TooLarge) as error:
        gone = Gone(f"{error.detail}. The upload that was to join them has ended")
        await held.cancel("too-large" if isinstance(error, TooLarge) else "lost", gone)
        raise gone from None
    if not _are_whole(parts):
        return False
    total = sum(part.offset for part in parts)
    if held.record.offset < total:  # before the length is set, which would reserve it once more
        await uploads.quota.join(parts, held.record, total)
    if held.record.length != total:
        await held.set_length(total)
    await _append_parts(uploads, held, parts, 0)
    until = uploads.ledger.now() + PARTS_LIVE

    async def end_soon(upload: str) -> None:
        async with uploads.hold(upload) as held_part:
            await held_part.live_until(until)

    await _for_each(list(dict.fromkeys(ids)), end_soon)
    return True


async def join_tail(uploads: ResumableUploads, held: HeldUpload, ids: Sequence[str]) -> None:
    """Append the parts, which are the last bytes of the upload that is held; it has all before.

    Then they are removed, which nobody else needs. Raises as `join_parts`, and BadRequest where
    these are not all bytes that are missing.
    """
    if not held.is_whole:
        parts = await find_parts(uploads, ids)
        begin = (held.record.length or 0) - sum(part.offset for part in parts)
        mine = all(part.whole == held.record.id for part in parts)
        if not mine or not _are_whole(parts) or not 0 <= begin <= held.record.offset:
            raise BadRequest("The parts are not all bytes that the upload lacks; ask for offsets")
        await _append_parts(uploads, held, parts, begin)

    async def remove(upload: str) -> None:
        with suppress(SluiceError):  # it expires
            await _remove(uploads, held.record.id, upload)

    await _for_each(list(dict.fromkeys(ids)), remove)


async def _for_each(ids: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Some at a time: what they write down together waits for the disk once.

    Raises the first error when all of those have ended.
    """
    for at in range(0, len(ids), AT_ONCE):
        some = map(work, ids[at : at + AT_ONCE])
        for outcome in await finish_then_cancel(asyncio.gather(*some, return_exceptions=True)):
            if outcome is not None:
                raise outcome


def _are_whole(parts: Sequence[UploadRecord]) -> bool:
    return all(part.offset == part.length for part in parts)


async def _append_parts(
    uploads: ResumableUploads, held: HeldUpload, parts: Sequence[UploadRecord], end: int
) -> None:
    """The first part begins at `end`. What an earlier attempt appended is there.

    Small parts are kept together: to wait for the disk for each one took most of their time.
    """
    at, new = held.record.offset, 0
    for part in parts:
        begin, end = end, end + part.offset
        if at < end:
            async with uploads.hold(part.id) as held_part:
                while at < end:
                    count = min(STEP - new, end - at)
                    await held.append_upload(held_part, at - begin, count)
                    at, new = at + count, new + count
                    if new == STEP:
                        await _keep(held, new)
                        new = 0
    if new:
        await _keep(held, new)


async def _keep(held: HeldUpload, new: int) -> None:
    """Keep the last bytes, which are those of other uploads."""
    await held.keep()
    held.progress.join_kept(new)


async def _remove(uploads: ResumableUploads, whole: str, upload: str) -> None:
    record = await uploads.look_up(upload)
    if record is not None and record.whole == whole and record.state is LedgerState.OPEN:
        async with uploads.hold(upload, is_logged=True) as held:
            await held.cancel("joined")
