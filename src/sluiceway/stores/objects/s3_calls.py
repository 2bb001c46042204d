"""Requests to an S3 server by boto3, in threads. boto3 retries them; errors are mapped to ours.

A server that knows no checksums, or no conditions, answers 501. The request is then made once more
without, and remembered. Checksums are dropped first, CRC64NVME before others: they are an addition,
while a condition is what was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from sluiceway.errors import PreconditionFailed, SluiceError
from sluiceway.pipe.hashes import CRC64NVME, is_available
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.objects.errors import map_error

__all__ = ["CONTENT", "READERS", "WRITERS", "ConditionUnknown", "S3Calls"]

log: logging.Logger = logging.getLogger("sluiceway")

# Parts of all uploads of a process that are sent at once; the budget counts each of them.
WRITERS = 16
READERS = 64  # listings, heads and blocks of downloads at once
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
# Members of a request that only servers of 2025 and later know.
CRC64NVME_MEMBERS = frozenset(["ChecksumCRC64NVME", "ChecksumAlgorithm", "ChecksumType"])
# The bytes that arrived have another checksum: the server knows it.
DAMAGED = frozenset(["BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"])
CHANGES = WRITES | {"delete_object"}
CONTENT = "sluiceway"  # in a response of boto3: the body, where it was read at once
CHECKSUM_HEADERS = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")  # their beginnings


class ConditionUnknown(
    SluiceError, code="condition-unknown", status=501, title="The server knows no such condition"
): ...


class S3Calls:
    """`make_client(plain)` makes a client; a plain one sends a checksum only where S3 demands it.

    `root` stands before every key. `plain` tells what `client` is.
    """

    def __init__(
        self,
        make_client: Callable[[bool], Any],
        client: Any,
        plain: bool,
        bucket: str,
        root: str,
        display_name: str,
    ) -> None:
        self._make_client = make_client
        self.client: Any = client
        self.bucket: str = bucket
        self.root: str = root
        self.display_name: str = display_name
        self.sends_checksums: bool = True  # of our own
        self.sends_crc64nvme: bool = is_available(CRC64NVME)
        self._confirmed = False  # the server keeps CRC64NVME
        self._plain = plain
        self._clients = [client]
        self._writers = ThreadPoolExecutor(WRITERS, "sluiceway-s3")
        self.readers: Executor = ThreadPoolExecutor(READERS, "sluiceway-s3-read")
        self._unknown_conditions: set[str] = set()  # as the server has answered

    async def get(self, key: str, at_once: int, **params: Any) -> Any:
        """GET an object.

        The response has a body of at most `at_once` bytes as `CONTENT`: the thread that asked has
        read it. Another one would cost as much as the request.
        """
        try:
            then = partial(_read_small, at_once) if at_once else None
            return await self._once(self.client, "get_object", key, params, then)
        except ClientError as error:
            raise self._map_error(error, "get_object", key, params) from error

    async def call(self, name: str, key: str | None, **params: Any) -> Any:
        """Make one request; a caller that is cancelled waits for its end.

        Raises ConditionUnknown where the server does not support the condition.
        """
        if name in CHANGES and self._unknown_conditions.intersection(params):
            raise ConditionUnknown("conditions are not known here")
        if name in WRITES and not CRC64NVME_MEMBERS.isdisjoint(params):
            return await self._with_crc64nvme(name, key, params)
        try:
            return await self._once(self.client, name, key, params)
        except ClientError as error:
            checked = name in WRITES and ("ChecksumSHA256" in params or not self._plain)
            if not checked or not _refuses_checksums(error):
                raise self._map_error(error, name, key, params) from error
        return await self._without_checksums(name, key, params)

    def close(self) -> None:
        for pool in (self._writers, self.readers):
            pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    async def _with_crc64nvme(self, name: str, key: str | None, params: dict[str, Any]) -> Any:
        """Servers answer differently to a checksum that they do not know: without it is tried."""
        plain = {member: params[member] for member in params if member not in CRC64NVME_MEMBERS}
        if not self.sends_crc64nvme:
            return await self.call(name, key, **plain)
        try:
            return await self._once(self.client, name, key, params)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if _status(error) not in (400, 501) or code in DAMAGED:
                raise self._map_error(error, name, key, params) from error
        response = await self.call(name, key, **plain)
        self.crc64nvme_is_unknown()
        return response

    def crc64nvme_is_kept(self) -> None:
        """The server confirmed one: over TLS boto3 need not sign a sha-256 of each part then."""
        if not self._confirmed:
            self._confirmed = True
            for operation in ("PutObject", "UploadPart"):
                self.client.meta.events.register(f"before-sign.s3.{operation}", _leave_unsigned)

    def crc64nvme_is_unknown(self) -> None:
        """Remember that the server does not know it, or takes it and does not keep it."""
        if self.sends_crc64nvme:
            self.sends_crc64nvme = False
            log.warning(
                "%s does not keep CRC64NVME checksums; they are left out from now on, and digests "
                "of objects sent in parts are in notes beside them",
                self.display_name,
            )

    async def _without_checksums(self, name: str, key: str | None, params: dict[str, Any]) -> Any:
        """Make the request once more.

        The same refusal shows that checksums were not the reason; they are kept then.
        """
        params = {member: value for member, value in params.items() if member != "ChecksumSHA256"}
        client = self.client
        if not self._plain:
            client = await asyncio.to_thread(self._make_client, True)
            self._clients.append(client)
        failure: ClientError | None = None
        try:
            response = await self._once(client, name, key, params)
        except ClientError as error:
            if _refuses_checksums(error):
                raise self._map_error(error, name, key, params) from error
            failure = error
        self.client, self.sends_checksums, self._plain = client, False, True
        self.sends_crc64nvme = False
        log.warning(
            "%s does not know x-amz-checksum headers; they are left out from now on",
            self.display_name,
        )
        if failure is not None:
            raise self._map_error(failure, name, key, params) from failure
        return response

    async def _once(
        self,
        client: Any,
        name: str,
        key: str | None,
        params: dict[str, Any],
        then: Callable[[dict[str, Any]], None] | None = None,
    ) -> Any:
        if key is not None:
            params = {**params, "Key": self.root + key}
        method = getattr(client, name)

        def call() -> Any:
            response = method(Bucket=self.bucket, **params)
            if then is not None:
                then(response)
            return response

        try:
            return await in_thread(call, self._writers if name in WRITES else self.readers)
        except (ClientError, SluiceError):
            raise
        except Exception as error:  # of boto3 or urllib3, or for a response that is not XML
            raise map_error(error, self.display_name, key) from error

    def _map_error(
        self, error: ClientError, name: str, key: str | None, params: dict[str, Any]
    ) -> SluiceError:
        asked = CONDITIONS.intersection(params) if name in CHANGES else frozenset()
        if asked and _status(error) == 501 and _header(error) in ("", "if-match", "if-none-match"):
            self._unknown_conditions |= asked
            return ConditionUnknown("conditions are not known here")
        if asked and _status(error) == 409:  # AWS: another write of the key was under way and won
            return PreconditionFailed(f"{key!r} was written by another client at the same time")
        return map_error(error, self.display_name, key)


def _read_small(most: int, response: dict[str, Any]) -> None:
    """Blocking. A body that breaks off is left to others."""
    if response["ContentLength"] <= most:
        data = response["Body"].read(most + 1)
        if len(data) == response["ContentLength"]:
            response[CONTENT] = data


def _leave_unsigned(request: Any, **_: object) -> None:
    """Tell boto3 of a checksum that was counted here: over TLS it then signs no sha-256 besides.

    It does so by itself for the checksums that it counts. An event handler of boto3.
    """
    for name in request.headers:
        if name.lower().startswith("x-amz-checksum-"):
            checksum = request.context.setdefault("checksum", {})
            checksum["request_algorithm"] = {"in": "header", "name": name}


def _refuses_checksums(error: ClientError) -> bool:
    """By the response's own fields. Without the name of a header, checksums are the first guess."""
    details = error.response.get("Error", {})
    if header := _header(error):
        return header.startswith(CHECKSUM_HEADERS)
    if _status(error) == 501 or details.get("Code") == "NotImplemented":
        return True
    return _status(error) == 400 and any(
        name in str(details.get("Message", "")).lower() for name in CHECKSUM_HEADERS
    )


def _header(error: ClientError) -> str:
    """The header that the server does not know, "" where it names none."""
    return str(error.response.get("Error", {}).get("Header", "")).lower()


def _status(error: ClientError) -> int:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0
