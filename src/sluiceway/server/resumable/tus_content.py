"""The body of a tus request: its length, the digest it has before or behind it, its bytes.

All of it counts or nothing, where it has a digest. Knows no response.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from sluiceway.errors import BadRequest, DigestMismatch, TooLarge, TooSlow
from sluiceway.pipe.hashes import is_available
from sluiceway.pipe.source import Source
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.log.access import STAGES
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.server.request_headers import content_digests, joined_headers
from sluiceway.server.resumable.said_length import said_length
from sluiceway.server.resumable.tus_responses import ChecksumMismatch, TooSlowForTus
from sluiceway.server.resumable.up_to import UpTo
from sluiceway.uploads.resumable.drafts.appending import LateDigests
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.rules import check_no_bytes
from sluiceway.wire.headers.checksums import promises_digest
from sluiceway.wire.tus import CHECKSUMS, parse_checksum

__all__ = ["Expected", "check_empty", "digests_sent", "take_body"]

CHECKSUM = "upload-checksum"

Expected = Mapping[str, bytes] | LateDigests


async def take_body(
    request: Request, held: HeldUpload, expected: Expected, length: int | None = None
) -> None:
    """Append the body. `length`: what the request says of the whole upload.

    Raises BadRequest for another length than before, or one that is passed already; TooLarge before
    the first byte where Content-Length says so; ChecksumMismatch.
    """
    request.scope[STAGES] = held.stages, "upload"
    record, size = held.record, content_length(request)
    if length is not None and (record.length not in (None, length) or length < record.offset):
        raise BadRequest(
            f"The upload has {record.length or record.offset} bytes; that cannot change"
        )
    whole = record.length if length is None else length
    left = None if whole is None else whole - record.offset
    if left is not None and size is not None and size > left:
        raise TooLarge(f"{left} bytes of the upload are missing; the request has {size}")
    async with said_length(held, length):
        if size == 0:
            check_empty(request, expected)
            return
        source: Source = BodySource(request, held.stages)
        if size is None and left is not None:
            source = UpTo(source, left)
        try:
            await held.append(source, expected)
        except DigestMismatch as error:
            raise ChecksumMismatch(error.detail, **error.members) from None
        except TooSlow as error:
            raise TooSlowForTus(error.detail) from error


def check_empty(request: Request, expected: Expected) -> None:
    """Raises ChecksumMismatch where a body without bytes has the digest of other ones."""
    if content_length(request) != 0 or isinstance(expected, LateDigests):
        return
    try:
        check_no_bytes(expected)
    except DigestMismatch as error:
        raise ChecksumMismatch(error.detail, **error.members) from None


def digests_sent(request: Request) -> Expected:
    """The digest of this request's bytes, where it has one: before or behind them.

    Those of other protocols count as well, before the body. Raises BadRequest for both places, and
    where what stands behind a body cannot be read; BadDigest.
    """
    if not promises_digest(request.headers.raw):
        return {}
    headers = joined_headers(request)
    others = content_digests(request, read=CHECKSUM)
    announced = [name.strip().lower() for name in headers.get("trailer", "").split(",")]
    if CHECKSUM not in announced:
        return others | parse_checksum(headers.get(CHECKSUM))
    if CHECKSUM in headers or others:
        raise BadRequest("A digest stands before the body, and another one is announced behind it")
    protocol = request.scope.get(PROTOCOL)
    if protocol is None or content_length(request) is not None:
        raise BadRequest(
            "Upload-Checksum is announced for behind the body, where it cannot be read; send it "
            "before the body, or the body in chunks"
        )

    def find() -> dict[str, bytes]:
        found = [value for name, value in protocol.trailers() if name == CHECKSUM.encode()]
        if len(found) != 1:
            raise BadRequest(
                "One Upload-Checksum is announced for behind the body; it did not come"
            )
        return parse_checksum(found[0].decode("latin-1"))

    return LateDigests(tuple(name for name in CHECKSUMS.values() if is_available(name)), find)
