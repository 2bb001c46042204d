"""boto3's names for what Entry and Metadata hold, in both directions. Values only, no requests."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Replace
from sluiceway.stores.objects.full_checksum import kept_digests
from sluiceway.stores.objects.metadata import (
    Described,
    draft_of,
    metadata_from,
    stored_metadata,
)
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "body_param",
    "condition_params",
    "entry_from",
    "etag_of",
    "modified_of",
    "object_params",
]

HEADER_MEMBERS = {  # each of METADATA_HEADERS -> boto3's name for it
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "expires": "ExpiresString",
}


def entry_from(key: str, response: Mapping[str, Any]) -> tuple[Entry, str]:
    """The object that a HEAD or GET describes, and the id of the draft it was."""
    headers = {
        name: str(response[member])
        for name, member in HEADER_MEMBERS.items()
        if response.get(member)
    }
    # Some servers keep the coding of the upload's own body.
    codings = [
        coding
        for coding in headers.pop("content-encoding", "").split(",")
        if coding.strip() not in ("", "aws-chunked")
    ]
    if codings:
        headers["content-encoding"] = ",".join(codings).strip()
    headers["content-type"] = str(response.get("ContentType", "") or "application/octet-stream")
    stored = {name.lower(): str(value) for name, value in response.get("Metadata", {}).items()}
    metadata = metadata_from(headers, stored)
    digests = {**dict(metadata.digests), **kept_digests(response)}
    metadata = replace(metadata, digests=tuple(sorted(digests.items())))
    entry = Entry(key, _size(response), etag_of(response), modified_of(response), metadata)
    return entry, draft_of(stored)


def _size(response: Mapping[str, Any]) -> int:
    """Of the whole object, also where the response carries a range of it."""
    unit, _, total = str(response.get("ContentRange", "")).rpartition("/")
    if unit.startswith("bytes ") and total.isascii() and total.isdigit():
        return ascii_uint(total, "size")
    size: int = response["ContentLength"]
    return size


def etag_of(response: Mapping[str, Any]) -> str:
    return str(response.get("ETag", "")).strip('"')


def modified_of(response: Mapping[str, Any]) -> float:
    modified = response.get("LastModified")
    return math.ceil(modified.timestamp()) if isinstance(modified, datetime) else 0.0


def object_params(metadata: Described, draft: str) -> dict[str, Any]:
    """Type, headers and metadata of an object to write."""
    params: dict[str, Any] = {
        HEADER_MEMBERS[name]: value for name, value in metadata.headers if name in HEADER_MEMBERS
    }
    if "ExpiresString" in params:
        params["Expires"] = _date(params.pop("ExpiresString"))
    stored = stored_metadata(draft, metadata)
    return {"ContentType": metadata.type, "Metadata": stored, **params}


def body_param(body: Buffer) -> Any:
    """The body of a request: boto3 takes no view, and a copy would be memory nobody counts."""
    return _ViewFile(body) if isinstance(body, memoryview) else body


def condition_params(replace: Replace) -> dict[str, str]:
    """The condition of a write."""
    if not replace.allowed:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": f'"{replace.etag}"'} if replace.etag else {}


def _date(text: str) -> datetime:
    """RFC 9111, 5.3: a value that is not a date, "0" above all, is a time in the past."""
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


class _ViewFile(io.RawIOBase):
    """A file of the bytes of a view."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as target, target.cast("B") as room:
            size = min(len(room), len(self._view) - self._at)
            room[:size] = self._view[self._at : self._at + size]
        self._at += size
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        begin = (0, self._at, len(self._view))[whence]
        self._at = min(max(0, begin + offset), len(self._view))
        return self._at

    def tell(self) -> int:
        return self._at
