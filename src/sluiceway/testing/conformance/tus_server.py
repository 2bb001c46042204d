"""What the cases of tus need of a server: an upload created, appended to, asked for."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from functools import cached_property

from sluiceway.testing.conformance.case import check, require_status
from sluiceway.testing.conformance.outcomes import NoResponse, NotOffered, Violation
from sluiceway.testing.conformance.peer import Connection, Peer, SeenResponse

__all__ = ["OFFSET_STREAM", "VERSION", "TusServer", "coded", "pattern"]

VERSION = {"tus-resumable": "1.0.0"}
OFFSET_STREAM = {"content-type": "application/offset+octet-stream"}
SETTLES = 5.0  # seconds until what a cut request brought must be visible
LOOK_AGAIN = 0.05  # seconds


def pattern(size: int, start: int = 0) -> bytes:
    """Bytes that say their own place, so that a hole or a swap shows."""
    words = b"".join(b"%015d\n" % number for number in range(start // 16, (start + size) // 16 + 1))
    return words[start % 16 : start % 16 + size]


def coded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class TusServer:
    """A server that is asked in tus."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    @cached_property
    def options(self) -> SeenResponse:
        return self.peer.ask("OPTIONS", self.peer.url, {})

    @cached_property
    def extensions(self) -> frozenset[str]:
        return frozenset(_listed(self.options.headers.get("tus-extension", "")))

    @cached_property
    def checksums(self) -> tuple[str, ...]:
        return tuple(_listed(self.options.headers.get("tus-checksum-algorithm", "")))

    def needs(self, *extensions: str) -> None:
        """Raises NotOffered."""
        for name in extensions:
            if name not in self.extensions:
                raise NotOffered(f"Tus-Extension does not name {name}")

    def post(
        self, headers: Mapping[str, str], body: bytes = b"", *, chunked: bool = False
    ) -> SeenResponse:
        return self.peer.ask("POST", self.peer.url, {**VERSION, **headers}, body, chunked=chunked)

    def create(self, length: int | None, **headers: str) -> str:
        """A new upload's absolute URL; no length is said later. `_` stands for `-`."""
        self.needs("creation", *([] if length is not None else ["creation-defer-length"]))
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        size = {"upload-defer-length": "1"} if length is None else {"upload-length": str(length)}
        return self.location(self.post(size | fields))

    def location(self, response: SeenResponse) -> str:
        """Where a creation's upload is. Raises Violation."""
        require_status(response, 201)
        check("location" in response.headers, "201 without Location")
        return self.peer.absolute(response.headers["location"])

    def patch(
        self,
        url: str,
        offset: int | str,
        body: bytes = b"",
        *,
        chunked: bool = False,
        **headers: str,
    ) -> SeenResponse:
        return self.peer.ask(
            "PATCH", url, self.patch_fields(offset, headers), body, chunked=chunked
        )

    def begin_patch(self, url: str, offset: int, length: int | None, **headers: str) -> Connection:
        return self.peer.begin("PATCH", url, self.patch_fields(offset, headers), length)

    def patch_fields(self, offset: int | str, headers: Mapping[str, str]) -> dict[str, str]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return {**VERSION, **OFFSET_STREAM, "upload-offset": str(offset), **fields}

    def append(self, url: str, offset: int, body: bytes, **headers: str) -> None:
        """A PATCH that must succeed. Raises Violation."""
        response = self.peer.ask("PATCH", url, self.patch_fields(offset, headers), body)
        require_status(response, 204)
        found = response.headers.get("upload-offset")
        check(found == str(offset + len(body)), f"204 with Upload-Offset: {found}")

    def head(self, url: str) -> SeenResponse:
        return self.peer.ask("HEAD", url, VERSION)

    def delete(self, url: str) -> SeenResponse:
        return self.peer.ask("DELETE", url, VERSION)

    def offset(self, url: str) -> int:
        """Raises Violation where HEAD does not say it."""
        response = self.head(url)
        require_status(response, 200, 204)
        text = response.headers.get("upload-offset", "")
        check(text.isascii() and text.isdigit(), f"HEAD has Upload-Offset: {text!r}")
        return int(text)

    def settled_offset(self, url: str, least: int) -> int:
        """The offset once it is at least `least`, or the last one seen."""
        end = time.monotonic() + SETTLES
        while (found := self.offset(url)) < least and time.monotonic() < end:
            time.sleep(LOOK_AGAIN)
        return found

    def finish(self, url: str, data: bytes) -> SeenResponse:
        """Append what is missing of `data`, and look that the upload has these bytes."""
        offset = self.offset(url)
        check(offset <= len(data), f"Upload-Offset {offset} is behind the end at {len(data)}")
        response = self.patch(url, offset, data[offset:])
        require_status(response, 204)
        check(self.offset(url) == len(data), "the offset is not the length after the last PATCH")
        self.compare(url, response, data)
        return response

    def compare(self, url: str, last: SeenResponse, data: bytes) -> None:
        """Raises Violation where the stored bytes differ. tus has no download: it looks where
        Content-Location points, else at the upload's URL, and takes only a body of that size."""
        place = last.headers.get("content-location")
        try:
            found = self.peer.ask("GET", self.peer.absolute(place) if place else url, {})
        except NoResponse:
            return
        if found.status == 200 and (place or len(found.body) == len(data)):
            check(found.body == data, "the stored bytes are not the ones that were sent")

    def unknown(self) -> str:
        """The URL of an upload that does not exist."""
        url = self.create(1)
        head, _, name = url.rpartition("/")
        wrong = "".join("a" if letter != "a" else "b" for letter in name if letter.isalnum())
        return f"{head}/{wrong}"

    def require_unchanged(self, url: str, offset: int) -> None:
        """Raises Violation."""
        if (found := self.offset(url)) != offset:
            raise Violation(f"the refused request moved the offset from {offset} to {found}")


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
