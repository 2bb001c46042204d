"""What stands in a bucket beside an upload that outlives its process is removed with it.

Also what processes left that died, which wrote nothing down. Knows no ledger, and not how a draft
is filled.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sluiceway.errors import NotFound
from sluiceway.stores.objects.lasting.state import (
    is_marker,
    is_marker_of,
    lasting_prefix,
    parse_marker,
)

if TYPE_CHECKING:  # needs boto3
    from sluiceway.stores.objects.s3_bucket import S3Bucket

__all__ = ["remove_leftovers"]


async def remove_leftovers(
    bucket: S3Bucket, key: str, draft: str, ended: str = "", *, is_known: bool = True
) -> None:
    """Delete all that belongs to a draft, also what processes left that died.

    `ended` is the multipart upload that has ended. Unless the key is known under which the draft
    was begun, a process may have begun it without the key that its object will have.
    """
    prefixes = {lasting_prefix(key, draft), lasting_prefix(key if is_known else "", draft)}
    for prefix in sorted(prefixes):
        found = [own async for page in bucket.pages(prefix, "", 1000) for own, _ in page if own]
        for marker in found:
            if is_marker(marker) and not (ended and is_marker_of(marker, ended)):
                with suppress(NotFound):
                    await bucket.abort(*await _read_marker(bucket, marker))
        await bucket.delete_all(found)


async def _read_marker(bucket: S3Bucket, marker: str) -> tuple[str, str]:
    response = await bucket.get(marker)
    try:
        return parse_marker(await bucket.run(b"".join, response.blocks))
    finally:
        response.close()
