"""The last append of an upload once more: its response was lost, and its client does not know.

Its body is read only where that must decide: of an unknown length, or with a digest. Knows no
response.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from sluiceway.errors import DigestMismatch, InconsistentLength
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.stages import Stages
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.resumable.by_key import is_outdated
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import check_digests
from sluiceway.wire.resumable import Announcement

__all__ = ["check_stored", "is_last_append"]


async def is_last_append(
    request: Request,
    record: UploadRecord,
    announcement: Announcement,
    expected: Mapping[str, bytes],
) -> bool:
    """Whether the request is the last append of this upload, which has ended.

    Raises InconsistentLength and DigestMismatch where it contradicts itself, BodyCut, TooSlow.
    """
    size, left = content_length(request), record.offset - (announcement.offset or 0)
    if announcement.complete is False or left < 0 or size not in (None, left):
        return False
    if announcement.length not in (None, record.offset):
        raise InconsistentLength(
            f"The upload has {record.offset} bytes, and not {announcement.length}"
        )
    return await _has(request, left, expected) if size is None or expected else True


async def check_stored(
    uploads: ResumableUploads, record: UploadRecord, expected: Mapping[str, bytes]
) -> None:
    """Compare the digests of the whole file that a request tells after the end of its upload: one
    of another file is not answered as if that were stored. Raises DigestMismatch."""
    if not expected or record.code:  # it was refused, and that is the response
        return
    found = dict(record.request.expected)
    if uploads.store.traits.readable and not await is_outdated(uploads, record):
        stored = (await uploads.store.stat(record.key)).metadata.digests
        found |= {name: bytes.fromhex(digits) for name, digits in stored}
    if not found.keys() >= expected.keys():
        raise DigestMismatch(
            "The file was stored without such a digest, so it is not known whether it is this one. "
            "Ask without it, or send the file from its beginning"
        )
    check_digests(found, expected, "The file that is stored has another one")


async def _has(request: Request, size: int, expected: Mapping[str, bytes]) -> bool:
    """Whether the body has so many bytes. Raises DigestMismatch, BodyCut, TooSlow."""
    digests, left = Digests(expected), size
    chunks = BodySource(request, Stages()).open()
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                return False
            await digests.take(chunk)
        if left == 0:
            check_digests(await digests.finish(), expected)
        return left == 0
    finally:
        await close_stream(chunks)
        await digests.aclose()
