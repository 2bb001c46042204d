"""Requests to an S3 server by boto3, in threads: tried again by boto3 within its deadlines, errors as ours.

A server that knows no checksums, or no conditions, says 501; the request is then made once more without, and the store
remembers it. Checksums go first: they are an addition, a condition is what was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from sluiceway.errors import PreconditionFailed, SluiceError
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.stores.objects.errors import map_error

__all__ = ["READERS", "WRITERS", "ConditionUnknown", "S3Calls"]

log: logging.Logger = logging.getLogger("sluiceway")

T = TypeVar("T")

WRITERS = (
    16  # parts of all uploads of a process under way at once; each holds its part of the budget
)
READERS = 64  # listings, heads and pieces of downloads at once
CONDITIONS = frozenset(["IfMatch", "IfNoneMatch"])
WRITES = frozenset(
    [
        "put_object",
        "create_multipart_upload",
        "upload_part",
        "upload_part_copy",
        "complete_multipart_upload",
    ]
)
CHANGES = WRITES | {"delete_object"}
CHECKSUMS = (
    "x-amz-checksum",
    "x-amz-sdk-checksum",
    "x-amz-trailer",
)  # how the headers' names begin


class S3Calls:
    """`make(plain)` gives a client; a plain one sends checksums only where S3 demands them. `root` stands before every key."""

    def __init__(
        self,
        make: Callable[[bool], Any],
        client: Any,
        plain: bool,
        bucket: str,
        root: str,
        display_name: str,
    ) -> None:
        self._make = make
        self.client: Any = client
        self.bucket: str = bucket
        self.root: str = root
        self.display_name: str = display_name
        self.checked: bool = True  # whether checksums of our own go along
        self._plain = plain  # whether boto3 adds none
        self._used = [client]
        self._writers = ThreadPoolExecutor(WRITERS, "sluiceway-s3")
        self._readers = ThreadPoolExecutor(READERS, "sluiceway-s3-read")
        self._unknown: set[str] = set()  # conditions the server has said it does not know

    async def call(self, name: str, key: str | None, **told: Any) -> Any:
        """One request. Cancelling waits for its end. Raises ConditionUnknown where the server knows no such condition."""
        if name in CHANGES and self._unknown.intersection(told):
            raise ConditionUnknown("conditions are not known here")
        try:
            return await self._once(self.client, name, key, told)
        except ClientError as error:
            carried = name in WRITES and ("ChecksumSHA256" in told or not self._plain)
            if not carried or not _refuses_checksums(error):
                raise self._word(error, name, key, told) from error
        return await self._without_checksums(name, key, told)

    async def run(self, call: Callable[..., T], *told: Any, **more: Any) -> T:
        """A blocking step of reading. Raises what it raises, as one of ours."""
        try:
            return await self._in(self._readers, partial(call, *told, **more))
        except SluiceError:
            raise
        except Exception as error:
            raise map_error(error, self.display_name) from error

    def close(self) -> None:
        for pool in (self._writers, self._readers):
            pool.shutdown(wait=False, cancel_futures=True)
        for client in self._used:
            client.close()

    async def _without_checksums(self, name: str, key: str | None, told: dict[str, Any]) -> Any:
        """Once more. Where that is refused in the same way, checksums were not the reason and go along again."""
        told = {member: value for member, value in told.items() if member != "ChecksumSHA256"}
        client = self.client
        if not self._plain:
            client = await asyncio.to_thread(self._make, True)
            self._used.append(client)
        failed: ClientError | None = None
        try:
            answer = await self._once(client, name, key, told)
        except ClientError as error:
            if _refuses_checksums(error):
                raise self._word(error, name, key, told) from error
            failed = error
        self.client, self.checked, self._plain = client, False, True
        log.warning(
            "%s does not know x-amz-checksum headers; they are left out from now on",
            self.display_name,
        )
        if failed is not None:
            raise self._word(failed, name, key, told) from failed
        return answer

    async def _once(self, client: Any, name: str, key: str | None, told: dict[str, Any]) -> Any:
        if key is not None:
            told = {**told, "Key": self.root + key}
        call = partial(getattr(client, name), Bucket=self.bucket, **told)
        try:
            return await self._in(self._writers if name in WRITES else self._readers, call)
        except (ClientError, SluiceError):
            raise
        except Exception as error:  # boto3's own, urllib3's, and an answer that is no XML
            raise map_error(error, self.display_name) from error

    async def _in(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await finish_then_cancel(asyncio.get_running_loop().run_in_executor(pool, call))

    def _word(
        self, error: ClientError, name: str, key: str | None, told: dict[str, Any]
    ) -> SluiceError:
        asked = CONDITIONS.intersection(told) if name in CHANGES else frozenset()
        if asked and _status(error) == 501 and _header(error) in ("", "if-match", "if-none-match"):
            self._unknown |= asked
            return ConditionUnknown("conditions are not known here")
        if asked and _status(error) == 409:  # AWS: another write of the key was under way and won
            return PreconditionFailed(f"{key!r} was written by somebody else at the same time")
        return map_error(error, self.display_name)


class ConditionUnknown(
    SluiceError, code="condition-unknown", status=501, title="The server knows no such condition"
): ...


def _refuses_checksums(error: ClientError) -> bool:
    """By the answer's own fields. Some name the header; where none is named, checksums are the first guess."""
    said = error.response.get("Error", {})
    if header := _header(error):
        return header.startswith(CHECKSUMS)
    if _status(error) == 501 or said.get("Code") == "NotImplemented":
        return True
    return _status(error) == 400 and any(
        name in str(said.get("Message", "")).lower() for name in CHECKSUMS
    )


def _header(error: ClientError) -> str:
    """Which header the server does not know, where it says so."""
    return str(error.response.get("Error", {}).get("Header", "")).lower()


def _status(error: ClientError) -> int:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0
