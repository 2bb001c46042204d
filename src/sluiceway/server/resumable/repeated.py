"""The last append of an upload once more: its response was lost, and its client does not know.

It begins where the last one began, and its first bytes are those that were stored. More of its body
is read only where that must decide: of an unknown length, or with a digest. Knows no response.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from sluiceway.errors import DigestMismatch, InconsistentLength, NotFound
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import Stages
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.stores.contract import ObjectReader
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.resumable.by_key import is_outdated
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import check_digests
from sluiceway.wire.resumable import Announcement

__all__ = ["check_stored", "is_last_append"]

# Bytes of a repeated request that are compared with the stored file: two that differ do so early,
# and a client that lost only the response need not send all of a large file once more.
MOST_COMPARED = 1 << 20


async def is_last_append(
    request: Request,
    uploads: ResumableUploads,
    record: UploadRecord,
    announcement: Announcement,
    expected: Mapping[str, bytes],
) -> bool:
    """Whether the request is the last append of this upload, which has ended: it begins where that
    began, and brings the same bytes, as far as they can be compared.

    One without bytes at the end asks for nothing but the response. One with bytes is none where its
    file is not there any more: nobody knows whether it brings the same ones. Raises
    InconsistentLength and DigestMismatch where it contradicts itself, BodyCut, TooSlow, and what
    opening the file does.
    """
    size, start = content_length(request), announcement.offset or 0
    left = record.offset - start
    if announcement.complete is False or left < 0 or size not in (None, left):
        return False
    if left and record.last_start not in (None, start):
        return False
    if announcement.length not in (None, record.offset):
        raise InconsistentLength(
            f"The upload has {record.offset} bytes, and not {announcement.length}"
        )
    if left and await is_outdated(uploads, record):
        return False
    try:
        reader = await _open_stored(uploads, record) if left else None
    except NotFound:  # it has just gone
        return False
    try:
        if size is not None and not expected and reader is None:
            return True
        return await _has(request, left, expected, reader, start)
    finally:
        if reader is not None:
            await reader.aclose()


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


async def _open_stored(uploads: ResumableUploads, record: UploadRecord) -> ObjectReader | None:
    """What the upload became; None where it was refused, or its place cannot be read."""
    if record.code or not uploads.store.traits.readable:
        return None
    return await uploads.store.open(record.key)


async def _has(
    request: Request,
    size: int,
    expected: Mapping[str, bytes],
    reader: ObjectReader | None,
    start: int,
) -> bool:
    """Whether the body has so many bytes, and begins as the file of `reader` does at `start`.

    What nothing is to be learned of is not read. Raises DigestMismatch, BodyCut, TooSlow.
    """
    digests, left, body = Digests(expected), size, BodySource(request, Stages())
    chunks, same = body.open(), None if reader is None else _Same(reader, start, size)
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0 or not (same is None or await same.goes_on(chunk)):
                return False
            await digests.take(chunk)
            if same is not None and same.is_sure and body.length is not None and not expected:
                return True
        if left == 0:
            check_digests(await digests.finish(), expected)
        return left == 0
    finally:
        await close_stream(chunks)
        await digests.aclose()
        if same is not None:
            await same.aclose()


class _Same:
    """Compares bytes with the first MOST_COMPARED stored ones that begin at `start`."""

    def __init__(self, reader: ObjectReader, start: int, size: int) -> None:
        self._left = min(size, MOST_COMPARED)
        self._stored = reader.open(start, start + self._left)
        self._piece: memoryview = memoryview(b"")

    @property
    def is_sure(self) -> bool:
        return self._left <= 0

    async def goes_on(self, chunk: Buffer) -> bool:
        """Whether these are the next bytes, too."""
        new = memoryview(chunk)[: self._left]
        while new:
            if not self._piece:
                self._piece = memoryview(await anext(self._stored, b""))
            if not self._piece:
                return False
            count = min(len(new), len(self._piece))
            if new[:count] != self._piece[:count]:
                return False
            new, self._piece = new[count:], self._piece[count:]
            self._left -= count
        return True

    async def aclose(self) -> None:
        await close_stream(self._stored)
