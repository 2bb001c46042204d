"""What tus and IETF resumable uploads say differently: headers of each step, read and written.

Sans-IO. When a step is taken, and what follows from it, is in `resumable_upload`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Protocol

from sluiceway.client.file_request import FileRequest
from sluiceway.client.http.exchange import Head
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.resumable import FINAL_FORM, PARTIAL_UPLOAD, parse_announcement, write_fields
from sluiceway.wire.tus import OFFSET_STREAM
from sluiceway.wire.tus import VERSION as TUS_VERSION

__all__ = ["DIALECTS", "Dialect", "IetfDialect", "TusDialect", "write_metadata"]

_METADATA_NAME = re.compile(r"[!-+\--~]+")  # ASCII without space and comma


class Dialect(Protocol):
    """Header names are in lower case."""

    name: str
    append_type: str  # the Content-Type of PATCH
    keeps_url: bool  # the object gets the URL that the copy was asked to send it to
    repeats_final: bool  # a repeated last request gets the last response again

    def creation(
        self, place: str, request: FileRequest, filename: str, size: int | None
    ) -> tuple[str, str, dict[str, str]]:
        """Method, URL and headers of the request that creates an upload without a byte.

        `size` is None where the length is said with the last bytes.
        """
        ...

    def every_request(self) -> dict[str, str]:
        """Headers of HEAD and DELETE."""
        ...

    def append(self, offset: int, last: bool, length: int | None = None) -> dict[str, str]:
        """Headers of a PATCH beside its Content-Type. `last`: no bytes follow. `length` is that of
        the whole upload, where its creation did not say it."""
        ...

    def offset(self, head: Head) -> int | None:
        """The offset that a response names; None without one."""
        ...

    def ended(self, head: Head, size: int) -> bool:
        """Whether a response to HEAD says that the upload is complete."""
        ...

    def is_final(self, head: Head) -> bool:
        """Whether a response, of whatever status, is the last word on the upload."""
        ...

    def goes_on(self, head: Head) -> bool:
        """Whether a response says that the upload is not complete yet."""
        ...


class TusDialect:
    """tus 1.0.0: the server names the object; a whole upload is complete by itself."""

    name = "tus"
    append_type = OFFSET_STREAM
    keeps_url = False
    repeats_final = False

    def creation(
        self, place: str, request: FileRequest, filename: str, size: int | None
    ) -> tuple[str, str, dict[str, str]]:
        metadata = write_metadata({"filename": filename, "filetype": request.type})
        headers = {"upload-metadata": metadata} if metadata else {}
        headers |= {"upload-defer-length": "1"} if size is None else {"upload-length": str(size)}
        return "POST", place, self.every_request() | headers

    def every_request(self) -> dict[str, str]:
        return {"tus-resumable": TUS_VERSION}

    def append(self, offset: int, last: bool, length: int | None = None) -> dict[str, str]:
        headers = self.every_request() | {"upload-offset": str(offset)}
        return headers if length is None else headers | {"upload-length": str(length)}

    def offset(self, head: Head) -> int | None:
        return clipped_uint(head.headers.get("upload-offset", ""))

    def ended(self, head: Head, size: int) -> bool:
        return self.offset(head) == size

    def is_final(self, head: Head) -> bool:
        return False

    def goes_on(self, head: Head) -> bool:
        return False


class IetfDialect:
    """draft-ietf-httpbis-resumable-upload, in its form without a version."""

    name = "ietf"
    append_type = PARTIAL_UPLOAD
    keeps_url = True
    repeats_final = True

    def creation(
        self, place: str, request: FileRequest, filename: str, size: int | None
    ) -> tuple[str, str, dict[str, str]]:
        """Without content: the upload's URL comes before its first byte, also through proxies
        that drop interim responses."""
        headers = {"content-type": request.type, "upload-complete": "?0"}
        if size is not None:
            headers["upload-length"] = str(size)
        if request.method == "POST" and filename:
            headers["content-disposition"] = format_disposition("attachment", filename)
        return request.method, request.url, headers

    def every_request(self) -> dict[str, str]:
        return {}

    def append(self, offset: int, last: bool, length: int | None = None) -> dict[str, str]:
        fields = write_fields(FINAL_FORM, offset=offset, complete=last, length=length)
        return {name.lower(): value for name, value in fields.items()}

    def offset(self, head: Head) -> int | None:
        return parse_announcement(FINAL_FORM, head.headers).offset

    def ended(self, head: Head, size: int) -> bool:
        return self.is_final(head)

    def is_final(self, head: Head) -> bool:
        return parse_announcement(FINAL_FORM, head.headers).complete is True

    def goes_on(self, head: Head) -> bool:
        return parse_announcement(FINAL_FORM, head.headers).complete is False


def write_metadata(pairs: Mapping[str, str]) -> str:
    """Upload-Metadata of tus. A pair without a value, or whose name cannot stand there, is left
    out."""
    return ",".join(
        f"{name} {base64.b64encode(value.encode('utf-8', 'replace')).decode()}"
        for name, value in pairs.items()
        if value and _METADATA_NAME.fullmatch(name)
    )


DIALECTS: Mapping[str, Dialect] = {"tus": TusDialect(), "ietf": IetfDialect()}
