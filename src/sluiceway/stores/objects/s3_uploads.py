"""An S3 bucket's explicit multipart calls, by boto3 in threads: what obstore cannot do piece by piece.

Create-only and replace-by-tag are asked of the server with the request that makes an object visible. An outcome nobody
heard is looked up: the object carries the id of its draft. boto3 tries a request again by itself, part in hand.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from weakref import WeakValueDictionary

from sluiceway.errors import Exists, NotFound, PreconditionFailed, SluiceError
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Replace
from sluiceway.stores.objects.metadata import Description
from sluiceway.stores.objects.s3_calls import ConditionUnknown, S3Calls
from sluiceway.stores.objects.s3_reads import MEMBERS

__all__ = ["S3Bucket"]

COPY_PART = (
    1 << 30
)  # bytes of one server-side copy: below S3's 5 GiB, and the answer comes before proxies lose patience


class S3Bucket:
    """`root` stands before every key. Raises SluiceError for what the server says, with what to do."""

    def __init__(self, calls: S3Calls) -> None:
        self.calls: S3Calls = calls
        self._bucket, self._root = calls.bucket, calls.root
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def put(self, key: str, body: Buffer, said: Description, replace: Replace) -> None:
        """One request, complete or nothing. The server checks the sha-256 where the metadata has one."""
        told = {**_described(said), "Body": body}
        if "sha256" in said.metadata and self.calls.checked:
            told["ChecksumSHA256"] = base64.b64encode(
                bytes.fromhex(said.metadata["sha256"])
            ).decode()
        await self._visible(
            key,
            said.metadata["draft"],
            replace,
            lambda ask: self._call("put_object", Key=key, **told, **ask),
        )

    async def begin(self, key: str, said: Description) -> str:
        """A multipart upload's id."""
        answer = await self._call("create_multipart_upload", Key=key, **_described(said))
        return str(answer["UploadId"])

    async def send(self, key: str, upload: str, number: int, body: Buffer) -> str:
        """One part; its tag. The server checks a CRC-32 of it."""
        answer = await self._call(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=body
        )
        return str(answer["ETag"])

    async def complete(
        self, key: str, upload: str, tags: list[str], draft: str, replace: Replace
    ) -> None:
        parts = {
            "Parts": [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        }
        told = {"UploadId": upload, "MultipartUpload": parts}
        call = "complete_multipart_upload"
        await self._visible(
            key, draft, replace, lambda ask: self._call(call, Key=key, **told, **ask)
        )

    async def abort(self, key: str, upload: str) -> None:
        """Nothing remains of the parts. Nothing happens where it is over already."""
        try:
            await self._call("abort_multipart_upload", Key=key, UploadId=upload)
        except NotFound:
            pass

    async def copy(
        self, start: str, key: str, size: int, said: Description, replace: Replace
    ) -> None:
        """Inside the bucket, the bytes never come here. Visible when all of it is."""
        upload = await self.begin(key, said)
        source = {"Bucket": self._bucket, "Key": self._root + start}
        try:
            tags = []
            for number, at in enumerate(range(0, size, COPY_PART), 1):
                span = f"bytes={at}-{min(at + COPY_PART, size) - 1}"
                answer = await self._call(
                    "upload_part_copy",
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    CopySource=source,
                    CopySourceRange=span,
                )
                tags.append(str(answer["CopyPartResult"]["ETag"]))
            await self.complete(key, upload, tags, said.metadata["draft"], replace)
        except BaseException:
            await asyncio.shield(self.abort(key, upload))
            raise

    async def delete(self, key: str, etag: str | None = None) -> None:
        """Raises PreconditionFailed where the object there carries another tag."""
        asked = Replace(allowed=True, etag=etag)
        try:
            await self._call("delete_object", Key=key, **self._asked(asked))
        except ConditionUnknown:
            async with self._lock(key):
                await self._look(key, asked)
                await self._call("delete_object", Key=key)
        except PreconditionFailed:
            raise _refused(key, asked) from None

    async def signed_url(self, key: str, seconds: float, kind: str, disposition: str) -> str:
        """A URL to GET it; made here, nobody is asked."""
        told = {"Bucket": self._bucket, "Key": self._root + key, "ResponseContentType": kind}
        if disposition.isascii():
            told["ResponseContentDisposition"] = disposition
        make = self.calls.client.generate_presigned_url
        return str(
            await asyncio.to_thread(
                make, "get_object", Params=told, ExpiresIn=max(1, round(seconds))
            )
        )

    async def unfinished(self, older: float) -> list[tuple[str, str]]:
        """Multipart uploads (key, id) below the root that were begun, and got their last part, over `older` seconds ago."""
        since, found = time.time() - older, []
        told: dict[str, str] = {"EncodingType": "url"}
        while True:
            page = await self._call("list_multipart_uploads", Key=None, Prefix=self._root, **told)
            coded = page.get("EncodingType") == "url"
            for one in page.get("Uploads", ()):
                name = unquote(one["Key"]) if coded else one["Key"]
                key, upload = name.removeprefix(self._root), one["UploadId"]
                if (
                    one["Initiated"].timestamp() <= since
                    and await self._last_part(key, upload) <= since
                ):
                    found.append((key, upload))
            if not page.get("IsTruncated"):
                return found
            marker = unquote(page["NextKeyMarker"]) if coded else page["NextKeyMarker"]
            told = {
                "EncodingType": "url",
                "KeyMarker": marker,
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def close(self) -> None:
        self.calls.close()

    async def _last_part(self, key: str, upload: str) -> float:
        """When it arrived; 0 where none has. Parts come in the order of their numbers here, so the last page has it."""
        try:
            marker, when = 0, 0.0
            while True:
                page = await self._call(
                    "list_parts", Key=key, UploadId=upload, PartNumberMarker=marker
                )
                when = max(
                    (part["LastModified"].timestamp() for part in page.get("Parts", ())),
                    default=when,
                )
                if not page.get("IsTruncated"):
                    return when
                marker = page["NextPartNumberMarker"]
        except NotFound:  # it has ended meanwhile
            return 0.0

    async def _visible(
        self, key: str, draft: str, replace: Replace, make: Callable[[dict[str, str]], Any]
    ) -> None:
        """Make an object visible under the condition; settle what an answer that was lost leaves open.

        One at a time for a key: not every server that knows the conditions keeps them against two at once (Swift does not).
        """
        try:
            async with self._lock(key):
                try:
                    await make(self._asked(replace))
                except ConditionUnknown:
                    await self._look(key, replace)
                    await make({})
        except SluiceError as error:
            if await self._is(key, draft):
                return  # it was made, and the answer was lost: the second attempt met the first one's object
            if isinstance(error, PreconditionFailed):
                raise _refused(key, replace) from None
            raise

    def _asked(self, replace: Replace) -> dict[str, str]:
        """The condition as S3 takes it."""
        return (
            {"IfNoneMatch": "*"}
            if not replace.allowed
            else {"IfMatch": f'"{replace.etag}"'}
            if replace.etag
            else {}
        )

    async def _look(self, key: str, replace: Replace) -> None:
        there = await self._tag(key)
        if (replace.etag is not None and there != replace.etag) or (
            not replace.allowed and there is not None
        ):
            raise _refused(key, replace)

    async def _tag(self, key: str) -> str | None:
        try:
            return str((await self._call("head_object", Key=key))["ETag"]).strip('"')
        except NotFound:
            return None

    async def _is(self, key: str, draft: str) -> bool:
        """Whether the object under the key is the one this draft became."""
        try:
            return bool(
                (await self._call("head_object", Key=key))["Metadata"].get("draft") == draft
            )
        except SluiceError:
            return False

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _call(self, name: str, Key: str | None, **told: Any) -> Any:  # noqa: N803  # as the service writes it
        return await self.calls.call(name, Key, **told)


def _described(said: Description) -> dict[str, Any]:
    """As boto3 calls it."""
    told: dict[str, Any] = {MEMBERS[name]: value for name, value in said.headers if name in MEMBERS}
    if "ExpiresString" in told:
        told["Expires"] = _when(told.pop("ExpiresString"))
    return {"ContentType": said.type, "Metadata": dict(said.metadata), **told}


def _when(date: str) -> datetime:
    """RFC 9111, 5.3: what is no date, "0" above all, is a time in the past."""
    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _refused(key: str, replace: Replace) -> SluiceError:
    if not replace.allowed:
        return Exists(f"There is already an object {key!r}; it was not touched")
    return PreconditionFailed(f"{key!r} is not the version you named; read it again")
