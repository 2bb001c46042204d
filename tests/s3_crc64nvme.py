"""What S3 does with CRC64NVME since 2025, for a proxy in front of a server that only checks it.

It confirms the checksum of each part, combines them, compares the result with the one that the
client sends at the end, keeps it, and tells it to those who ask for checksums.
"""

from __future__ import annotations

import base64
from email.message import Message
from urllib.parse import parse_qs, urlsplit

from awscrt.checksums import combine_crc64nvme

__all__ = ["CRC64NVME", "ChecksumKeeper", "is_crc64nvme"]

CRC64NVME = "x-amz-checksum-crc64nvme"


def is_crc64nvme(headers: Message) -> bool:
    """Whether a request has anything to do with CRC64NVME."""
    return CRC64NVME in headers or headers.get("x-amz-checksum-algorithm") == "CRC64NVME"


class ChecksumKeeper:
    """Keeps checksums by path. A test may change those in `objects`."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str]] = {}  # path -> headers of its HEAD and GET
        self.completed = 0  # uploads whose whole checksum was compared
        self._parts: dict[str, dict[int, tuple[str, int]]] = {}  # upload -> part -> value, bytes

    def refuses(self, method: str, path: str, headers: Message) -> bool:
        """Whether the checksum of the whole object is not that of its parts."""
        upload = _query(path, "uploadId")
        if method != "POST" or not upload or CRC64NVME not in headers:
            return False
        assert headers["x-amz-checksum-type"] == "FULL_OBJECT"
        self.completed += 1
        return headers[CRC64NVME] != self._combined(upload)

    def answer(self, method: str, path: str, headers: Message) -> dict[str, str]:
        """The headers to add to a good response."""
        place, upload = urlsplit(path).path, _query(path, "uploadId")
        if method == "PUT" and CRC64NVME in headers:
            value = headers[CRC64NVME]
            if upload:
                part = int(_query(path, "partNumber"))
                size = int(headers["content-length"])
                self._parts.setdefault(upload, {})[part] = (value, size)
            else:
                self.objects[place] = {CRC64NVME: value, "x-amz-checksum-type": "FULL_OBJECT"}
            return {CRC64NVME: value}
        if method == "POST" and upload and upload in self._parts:
            kept = {CRC64NVME: self._combined(upload), "x-amz-checksum-type": "FULL_OBJECT"}
            self.objects[place] = kept
        if method in ("HEAD", "GET") and headers.get("x-amz-checksum-mode") == "ENABLED":
            return {} if "range" in headers else self.objects.get(place, {})
        return {}

    def _combined(self, upload: str) -> str:
        whole = 0
        for _, (value, size) in sorted(self._parts[upload].items()):
            whole = combine_crc64nvme(whole, int.from_bytes(base64.b64decode(value)), size)
        return base64.b64encode(whole.to_bytes(8)).decode()


def _query(path: str, name: str) -> str:
    return parse_qs(urlsplit(path).query).get(name, [""])[0]
