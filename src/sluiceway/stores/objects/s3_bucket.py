"""A bucket of S3, by boto3: listings, reads, writes in one request or in parts.

Keys travel percent-encoded (`EncodingType=url`) because XML cannot carry every character. The
request that makes an object visible carries the condition (create only, replace by tag). Where its
response is lost, the object is looked up: it carries the id of its draft.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import unquote, unquote_to_bytes

from sluiceway.errors import (
    Exists,
    NotFound,
    PeerFailed,
    PreconditionFailed,
    SluiceError,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.hashes import CRC64NVME, digest_of
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Omitted, Replace
from sluiceway.stores.objects.bucket import (
    READ_BLOCK,
    ROUNDING,
    Bucket,
    BucketResponse,
    Listed,
    omitted,
)
from sluiceway.stores.objects.full_checksum import (
    BEGIN,
    FULL_OBJECT,
    SentPart,
    checksum_members,
    combined,
    decoded,
)
from sluiceway.stores.objects.lasting.over import DraftsBeside
from sluiceway.stores.objects.metadata import Described
from sluiceway.stores.objects.s3_calls import CONTENT, ConditionUnknown, S3Calls
from sluiceway.stores.objects.s3_values import (
    body_param,
    condition_params,
    entry_from,
    etag_of,
    modified_of,
    object_params,
)
from sluiceway.wire.names import readable_name

__all__ = ["S3Bucket"]

# Bytes of one copy inside the bucket: below S3's 5 GiB, and answered before a proxy times out.
COPY_PART = 1 << 30

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_NOT_IN_PREFIX = re.compile(f"{_NOT_XML.pattern}|\U0010ffff")


class S3Bucket(Bucket):
    """Owns `calls`."""

    kind: Literal["s3"] = "s3"

    def __init__(self, calls: S3Calls, budget: Budget, compare_and_swap: bool) -> None:
        super().__init__(
            "s3", calls.display_name, calls.root, budget, calls.readers, compare_and_swap
        )
        self._calls, self._call = calls, calls.call

    async def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Listed]]:
        # Servers fail at some characters: the prefix is asked for up to the first of them, and
        # compared here.
        sent = _NOT_IN_PREFIX.split(prefix, maxsplit=1)[0]
        params = {"Prefix": self.prefix + sent, "EncodingType": "url", "MaxKeys": size}
        if after:
            params["StartAfter"] = self.prefix + after
        while True:
            page = await self._call("list_objects_v2", None, **params)
            if not isinstance(page.get("IsTruncated"), bool):
                raise PeerFailed(
                    f"{self.display_name} answered a listing with something that is none"
                )
            encoded = page.get("EncodingType") == "url"
            found = [self._listed(one, encoded) for one in page.get("Contents", ())]
            yield [one for one in found if one[0].startswith(prefix) or not one[0]]
            if not page["IsTruncated"]:
                return
            token = page.get("NextContinuationToken")
            if not token or token == params.get("ContinuationToken"):
                raise PeerFailed(
                    f"{self.display_name} says that its listing continues, but not where"
                )
            params["ContinuationToken"] = token

    def why_unreadable(self, key: str) -> str | None:
        if omitted(key, 1) is not None:
            return "it has an empty segment, . or .., and would be left out of every listing here"
        if _NOT_XML.search(key):
            return "XML has no such character, and S3's answers are XML"
        return None

    async def head(self, key: str) -> tuple[Entry, str]:
        return entry_from(key, await self._call("head_object", _named(key), ChecksumMode="ENABLED"))

    async def get(
        self,
        key: str,
        span: tuple[int, int] | None = None,
        etag: str | None = None,
        at_once: int = 0,
    ) -> BucketResponse:
        params: dict[str, Any] = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if span is not None:
            params["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        response = await self._calls.get(_named(key), at_once, **params)
        body, content_range = response["Body"], str(response.get("ContentRange", ""))
        if span is not None and not content_range.startswith(f"bytes {span[0]}-"):
            body.close()
            raise StoreFailed(
                f"{self.display_name} does not send the part of an object it is asked for"
            )
        if etag is not None and etag_of(response) != etag:
            body.close()
            raise PreconditionFailed(f"{key!r} is another version now")
        content = response.get(CONTENT)
        return BucketResponse(*entry_from(key, response), _blocks(body), body.close, content)

    async def put(
        self, key: str, body: Buffer, metadata: Described, draft: str, replace: Replace
    ) -> None:
        """As in `Bucket`. The server checks a digest that is known, the strongest it can check."""
        params = {**object_params(metadata, draft), "Body": body_param(body)}
        if self._calls.sends_checksums:
            params |= checksum_members(metadata.digests, self._calls.sends_crc64nvme)

        async def write(condition: dict[str, str]) -> None:
            await self._call("put_object", key, **params, **condition)

        await self._make_visible(key, draft, replace, write)

    async def begin(self, key: str, metadata: Described, draft: str) -> str:
        """Begin a multipart upload. Returns its id."""
        params = object_params(metadata, draft)
        if self._calls.sends_crc64nvme:
            params |= BEGIN
        response = await self._call("create_multipart_upload", key, **params)
        return str(response["UploadId"])

    async def is_begun(self, key: str, besides: str = "") -> bool:
        """Whether a multipart upload to the key is under way, other than the one named."""
        params = {"Prefix": self.prefix + key, "EncodingType": "url"}
        page = await self._call("list_multipart_uploads", None, **params)
        decode = unquote if page.get("EncodingType") == "url" else str
        return any(
            decode(one["Key"]) == self.prefix + key and one["UploadId"] != besides
            for one in page.get("Uploads", ())
        )

    async def send_part(self, key: str, upload: str, number: int, body: Buffer) -> SentPart:
        """Send one part, of which the server checks a CRC64NVME, or a CRC-32 where it knows none.

        The thread that counts it needs 25 ms for a GB.
        """
        params: dict[str, Any] = {"UploadId": upload, "PartNumber": number, "Body": body}
        value: bytes | None = None
        if self._calls.sends_crc64nvme:
            value = await self.run(digest_of, CRC64NVME, body)
            params["ChecksumCRC64NVME"] = base64.b64encode(value).decode()
        response = await self._call("upload_part", key, **params)
        if value is not None and decoded(response.get("ChecksumCRC64NVME")) == value:
            self._calls.crc64nvme_is_kept()
        elif value is not None:  # an older server ignores the header, or checks it and forgets it
            self._calls.crc64nvme_is_unknown()
            value = None
        return SentPart(number, str(response["ETag"]), len(body), value)

    async def complete(
        self, key: str, upload: str, parts: Sequence[SentPart], draft: str, replace: Replace
    ) -> None:
        """Make an object of the parts. The server checks its CRC64NVME where it has the parts'."""
        numbered = [{"PartNumber": one.number, "ETag": one.tag} for one in parts]
        params = {"UploadId": upload, "MultipartUpload": {"Parts": numbered}}
        if self._calls.sends_crc64nvme and (value := combined(parts)) is not None:
            params |= FULL_OBJECT | {"ChecksumCRC64NVME": base64.b64encode(value).decode()}

        async def write(condition: dict[str, str]) -> None:
            await self._call("complete_multipart_upload", key, **params, **condition)

        await self._make_visible(key, draft, replace, write)

    async def abort(self, key: str, upload: str) -> None:
        """Delete the parts of a multipart upload, unless it has ended already."""
        try:
            await self._call("abort_multipart_upload", key, UploadId=upload)
        except NotFound:
            pass

    async def copy(
        self, source: str, key: str, size: int, metadata: Described, draft: str, replace: Replace
    ) -> None:
        """Copy inside the bucket, part by part. Visible when all of it is copied."""
        upload = await self.begin(key, metadata, draft)
        try:
            parts = []
            for number, at in enumerate(range(0, size, COPY_PART), 1):
                span = at, min(at + COPY_PART, size)
                tag = await self.copy_part(key, upload, number, source, span)
                parts.append(SentPart(number, tag, 0))
            await self.complete(key, upload, parts, draft, replace)
        except BaseException:
            with suppress(SluiceError):  # the first error counts more
                await finish_then_cancel(self.abort(key, upload))
            raise

    async def copy_part(
        self, key: str, upload: str, number: int, source: str, span: tuple[int, int]
    ) -> str:
        """Make a part of a span of an object. Returns its tag."""
        response = await self._call(
            "upload_part_copy",
            key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": self._calls.bucket, "Key": self.prefix + source},
            CopySourceRange=f"bytes={span[0]}-{span[1] - 1}",
        )
        return str(response["CopyPartResult"]["ETag"])

    async def delete(self, key: str, etag: str | None = None) -> None:
        replace = Replace(allowed=True, etag=etag)
        try:
            await self._call("delete_object", key, **condition_params(replace))
        except ConditionUnknown:
            async with self.locks.acquire(key):
                await self._check_condition(key, replace)
                await self._call("delete_object", key)
        except PreconditionFailed:
            raise _refused(key, replace) from None
        except NotFound:
            if etag is not None:
                raise

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """As in `Bucket`. Made here, without a request."""
        params = {
            "Bucket": self._calls.bucket,
            "Key": self.prefix + entry.key,
            "ResponseContentType": entry.metadata.type,
        }
        if disposition.isascii():
            params["ResponseContentDisposition"] = disposition
        make_url = self._calls.client.generate_presigned_url
        expires = max(1, round(seconds))
        return str(
            await asyncio.to_thread(make_url, "get_object", Params=params, ExpiresIn=expires)
        )

    async def abort_unfinished(self, older: float) -> int:
        """As in `Bucket`: such uploads cost money and are in no listing. One request a thousand."""
        now, count = time.time(), 0
        old = [found async for found in self._unfinished(now - older + ROUNDING)]
        beside = DraftsBeside(self, now)
        for key, upload in old:
            lives, left = await beside.find(key, upload)
            if not lives:
                await self.abort(key, upload)
                await self.delete_all(left)
                count += 1
        return count

    def close(self) -> None:
        self._calls.close()

    def _listed(self, one: Mapping[str, Any], encoded: bool) -> Listed:
        raw = unquote_to_bytes(one["Key"]) if encoded else one["Key"].encode()
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            name = readable_name(raw.decode(errors="backslashreplace"))
            return "", Omitted(
                name, "bad-name", "Its key is not UTF-8; it cannot be asked for here"
            )
        if not key.startswith(self.prefix):
            raise PeerFailed(f"{self.display_name} lists keys outside of the prefix")
        key = key.removeprefix(self.prefix)
        why = omitted(key, one["Size"], self.prefix)
        return key, why or Entry(key, one["Size"], etag_of(one), modified_of(one), Metadata(""))

    async def _unfinished(self, since: float) -> AsyncIterator[tuple[str, str]]:
        """Multipart uploads (key, id) that began, and got their last part, before `since`."""
        params: dict[str, str] = {"Prefix": self.prefix, "EncodingType": "url"}
        while True:
            page = await self._call("list_multipart_uploads", None, **params)
            decode = unquote if page.get("EncodingType") == "url" else str
            for one in page.get("Uploads", ()):
                key, upload = decode(one["Key"]).removeprefix(self.prefix), one["UploadId"]
                if (
                    one["Initiated"].timestamp() <= since
                    and await self._last_part(key, upload) <= since
                ):
                    yield key, upload
            if not page.get("IsTruncated"):
                return
            params["KeyMarker"] = decode(page["NextKeyMarker"])
            params["UploadIdMarker"] = page["NextUploadIdMarker"]

    async def parts(
        self, key: str, upload: str, after: int = 0
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The parts with numbers over `after`, as S3 describes them. Raises NotFound."""
        while True:
            page = await self._call("list_parts", key, UploadId=upload, PartNumberMarker=after)
            for part in page.get("Parts", ()):
                yield part
            if not page.get("IsTruncated"):
                return
            after = page["NextPartNumberMarker"]

    async def _last_part(self, key: str, upload: str) -> float:
        """When the last part arrived; 0 for none."""
        try:
            times = [part["LastModified"] async for part in self.parts(key, upload)]
        except NotFound:  # it has ended meanwhile
            return 0.0
        return max((time.timestamp() for time in times), default=0.0)

    async def _make_visible(
        self,
        key: str,
        draft: str,
        replace: Replace,
        write: Callable[[dict[str, str]], Awaitable[None]],
    ) -> None:
        """Write under the condition, and find out what a lost response leaves open.

        One at a time for each key: not every server that knows the conditions keeps them against
        two requests at once (Swift does not).
        """
        try:
            async with self.locks.acquire(key):
                try:
                    await write(condition_params(replace))
                except ConditionUnknown:
                    await self._check_condition(key, replace)
                    await write({})
        except SluiceError as error:
            # It was made and the response was lost: the second attempt met the object of the first.
            if await self.is_draft(key, draft):
                return
            if isinstance(error, PreconditionFailed):
                raise _refused(key, replace) from None
            raise

    async def _check_condition(self, key: str, replace: Replace) -> None:
        """For a server that does not know conditions."""
        there = await self.etag(key)
        if (replace.etag is not None and there != replace.etag) or (
            not replace.allowed and there is not None
        ):
            raise _refused(key, replace)


def _named(key: str) -> str:
    if not key:
        raise NotFound("There is no object without a key")
    return key


def _refused(key: str, replace: Replace) -> SluiceError:
    if not replace.allowed:
        return Exists(f"There is already an object {key!r}; it was not touched")
    return PreconditionFailed(f"{key!r} is not the version you named; read it again")


def _blocks(body: Any) -> Iterator[bytes]:
    while block := body.read(READ_BLOCK):
        yield block
