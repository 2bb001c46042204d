"""An S3 bucket read by boto3: its listing, an object's head and its bytes.

Keys travel percent-encoded (`EncodingType=url`) because XML cannot carry every character, and go out as they came: no path
type trims or refuses them. An answer that is no listing raises; a listing ends when the server says so.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from sluiceway.errors import NotFound, PeerFailed, PreconditionFailed, StoreFailed
from sluiceway.stores.contract import Omitted
from sluiceway.stores.objects.bucket import BucketResponse, Found, omitted
from sluiceway.stores.objects.s3_calls import S3Calls
from sluiceway.wire.names import readable_name

__all__ = ["S3Reads"]

log: logging.Logger = logging.getLogger("sluiceway")

T = TypeVar("T")

PIECE = 1 << 20  # bytes read at once; one is with the reader, one is coming
MEMBERS = {  # each of HEADERS -> what boto3 calls it
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "expires": "ExpiresString",
}
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_UNASKED = re.compile(f"{_NOT_XML.pattern}|\U0010ffff")


class S3Reads:
    """The reading half of a bucket. Closes nothing: the calls belong to the bucket."""

    def __init__(self, calls: S3Calls) -> None:
        self._calls = calls

    async def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Found]]:
        root = self._calls.root
        asked = _UNASKED.split(prefix, maxsplit=1)[
            0
        ]  # servers fail at the rest of it, so it is compared here
        told: dict[str, Any] = {"Prefix": root + asked, "EncodingType": "url", "MaxKeys": size}
        if after:
            told["StartAfter"] = root + after
        while True:
            page = await self._calls.call("list_objects_v2", None, **told)
            if not isinstance(page.get("IsTruncated"), bool):
                raise PeerFailed(
                    f"{self._calls.display_name} answered a listing with something that is none"
                )
            coded = page.get("EncodingType") == "url"
            found = [self._listed(one, coded) for one in page.get("Contents", ())]
            yield [one for one in found if one.key.startswith(prefix) or not one.key]
            if not page["IsTruncated"]:
                return
            token = page.get("NextContinuationToken")
            if not token or token == told.get("ContinuationToken"):
                raise PeerFailed(
                    f"{self._calls.display_name} says that its listing goes on, and not where"
                )
            told["ContinuationToken"] = token

    def unreadable(self, key: str) -> str | None:
        if omitted(key, 1) is not None:
            return "it has an empty segment, . or .., and would be left out of every listing here"
        return (
            "XML has no such character, and S3's answers are XML" if _NOT_XML.search(key) else None
        )

    async def head(self, key: str) -> Found:
        return _found(key, await self._ask("head_object", key))

    async def get(
        self, key: str, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> BucketResponse:
        told: dict[str, Any] = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if span is not None:
            told["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        answer = await self._ask("get_object", key, **told)
        body = answer["Body"]
        if span is not None and not str(answer.get("ContentRange", "")).startswith(
            f"bytes {span[0]}-"
        ):
            body.close()
            raise StoreFailed(
                f"{self._calls.display_name} does not give parts of an object when it is asked for them"
            )
        if etag is not None and _tag(answer) != etag:
            body.close()
            raise PreconditionFailed(f"{key!r} is another version now")
        return BucketResponse(_found(key, answer), _pieces(body), body.close)

    async def delete(self, key: str) -> None:
        try:
            await self._calls.call("delete_object", key)
        except NotFound:
            pass

    async def run(self, call: Callable[..., T], *told: Any, **more: Any) -> T:
        return await self._calls.run(call, *told, **more)

    def close(self) -> None:
        """Nothing of its own."""

    async def _ask(self, name: str, key: str, **told: Any) -> Any:
        if not key:
            raise NotFound("There is no object without a key")
        return await self._calls.call(name, key, **told)

    def _listed(self, one: Mapping[str, Any], coded: bool) -> Found:
        raw = unquote_to_bytes(one["Key"]) if coded else one["Key"].encode()
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            name = readable_name(raw.decode(errors="backslashreplace"))
            why = Omitted(name, "bad-name", "Its key is not UTF-8; it cannot be asked for here")
            return Found("", one["Size"], _tag(one), _seconds(one), omitted=why)
        if not key.startswith(self._calls.root):
            raise PeerFailed(f"{self._calls.display_name} lists what was not asked for")
        key = key[len(self._calls.root) :]
        return Found(
            key,
            one["Size"],
            _tag(one),
            _seconds(one),
            omitted=omitted(key, one["Size"], self._calls.root),
        )


def _found(key: str, answer: Mapping[str, Any]) -> Found:
    size = answer["ContentLength"]
    if (told := str(answer.get("ContentRange", ""))).startswith("bytes ") and told.rpartition("/")[
        2
    ].isdigit():
        size = int(told.rpartition("/")[2])
    headers = {name: str(answer[member]) for name, member in MEMBERS.items() if answer.get(member)}
    if codings := [
        one
        for one in headers.pop("content-encoding", "").split(",")
        if one.strip() not in ("", "aws-chunked")
    ]:
        headers["content-encoding"] = ",".join(
            codings
        ).strip()  # some servers keep the coding of the upload's body
    headers["content-type"] = str(answer.get("ContentType", "") or "application/octet-stream")
    metadata = {name.lower(): str(value) for name, value in answer.get("Metadata", {}).items()}
    return Found(key, size, _tag(answer), _seconds(answer), headers, metadata)


def _tag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _seconds(answer: Mapping[str, Any]) -> float:
    when = answer.get("LastModified")
    return math.ceil(when.timestamp()) if isinstance(when, datetime) else 0.0


def _pieces(body: Any) -> Iterator[bytes]:
    while piece := body.read(PIECE):
        yield piece
