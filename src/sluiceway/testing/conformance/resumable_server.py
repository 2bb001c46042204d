"""What the cases of the IETF form need of a server, in one version of it.

draft-ietf-httpbis-resumable-upload. A version is the number of Upload-Draft-Interop-Version; the
final form has none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property

from sluiceway.testing.conformance.case import check, require_status
from sluiceway.testing.conformance.outcomes import NoResponse, NotOffered, Violation
from sluiceway.testing.conformance.peer import Connection, Peer, SeenResponse

__all__ = ["FINAL", "VERSIONS", "ResumableServer", "is_whole"]

FINAL = 99  # the form without a version, newer than every numbered one
VERSIONS = (3, 4, 5, 6, 7, 8, 9, FINAL)
SETTLES = 5.0  # seconds until what a cut request brought must be visible
LOOK_AGAIN = 0.05  # seconds


class ResumableServer:
    """A server that is asked in one version."""

    def __init__(self, peer: Peer, version: int) -> None:
        self.peer: Peer = peer
        self.version: int = version

    @property
    def _named(self) -> dict[str, str]:
        if self.version == FINAL:
            return {}
        return {"upload-draft-interop-version": str(self.version)}

    @cached_property
    def limits(self) -> Mapping[str, str]:
        """Upload-Limit of OPTIONS."""
        response = self.peer.ask("OPTIONS", self.peer.url, self._named)
        pairs = (each.strip().partition("=") for each in _limit(response).split(","))
        return {name: value for name, _, value in pairs if name}

    def needs(self, version: int) -> None:
        """Raises NotOffered where this is an older version."""
        if self.version < version:
            raise NotOffered(f"version {self.version} has no such rule")

    def fields(self, complete: bool | str | None, **more: object) -> dict[str, str]:
        """The fields of a request. `_` stands for `-`; a text is sent as it is."""
        fields = dict(self._named)
        if complete is not None:
            name, true = "upload-complete", complete
            if self.version == 3 and isinstance(complete, bool):
                name, true = "upload-incomplete", not complete
            fields[name] = true if isinstance(true, str) else ("?1" if true else "?0")
        return fields | {name.replace("_", "-"): str(value) for name, value in more.items()}

    def post(
        self, body: bytes, complete: bool | str | None, *, chunked: bool = False, **more: object
    ) -> SeenResponse:
        fields = self.fields(complete, **more)
        return self.peer.ask("POST", self.peer.url, fields, body, chunked=chunked)

    def create(self, body: bytes = b"", **more: object) -> str:
        """An upload that is not whole. Returns its absolute URL.

        Raises NotOffered where the server does not know the version.
        """
        response = self.peer.ask("POST", self.peer.url, self.fields(False, **more), body)
        if not response.is_good and "upload-offset" not in response.headers:
            raise NotOffered(f"a creation gets {response.status} {response.text!r}")
        return self.location(response)

    def location(self, response: SeenResponse) -> str:
        """Raises Violation."""
        require_status(response, -200)
        check("location" in response.headers, f"{response.status} without Location")
        return self.peer.absolute(response.headers["location"])

    def append_fields(
        self, offset: int | str | None, complete: bool | str | None
    ) -> dict[str, str]:
        fields = self.fields(complete)
        if offset is not None:
            fields["upload-offset"] = str(offset)
        if self.version >= 6:
            fields["content-type"] = "application/partial-upload"
        return fields

    def append(
        self,
        url: str,
        offset: int | str | None,
        body: bytes,
        complete: bool | str | None,
        **more: object,
    ) -> SeenResponse:
        fields = self.append_fields(offset, complete)
        fields |= {name.replace("_", "-"): str(value) for name, value in more.items()}
        return self.peer.ask("PATCH", url, fields, body)

    def begin_append(self, url: str, offset: int, length: int, complete: bool) -> Connection:
        return self.peer.begin("PATCH", url, self.append_fields(offset, complete), length)

    def head(self, url: str, **more: object) -> SeenResponse:
        fields = self._named | {name.replace("_", "-"): str(value) for name, value in more.items()}
        return self.peer.ask("HEAD", url, fields)

    def delete(self, url: str) -> SeenResponse:
        return self.peer.ask("DELETE", url, self._named)

    def offset(self, url: str) -> int:
        """Raises Violation where HEAD does not say it."""
        response = self.head(url)
        require_status(response, -200)
        text = response.headers.get("upload-offset", "")
        check(text.isascii() and text.isdigit(), f"HEAD has Upload-Offset: {text!r}")
        return int(text)

    def settled_offset(self, url: str, least: int) -> int:
        """The offset once it is at least `least`, or the last one seen."""
        end = time.monotonic() + SETTLES
        while (found := self.offset(url)) < least and time.monotonic() < end:
            time.sleep(LOOK_AGAIN)
        return found

    def require_unchanged(self, url: str, offset: int) -> None:
        if (found := self.offset(url)) != offset:
            raise Violation(f"the refused request moved the offset from {offset} to {found}")

    def finish(self, url: str, data: bytes) -> SeenResponse:
        """Append what is missing of `data`, and look that the file has these bytes."""
        offset = self.offset(url)
        response = self.append(url, offset, data[offset:], True)
        require_status(response, -200)
        self.compare(response, data)
        return response

    def compare(self, last: SeenResponse, data: bytes) -> None:
        """Raises Violation where the stored bytes differ, if the response says where they are."""
        place = last.headers.get("content-location") or last.headers.get("location")
        if place is None:
            return
        try:
            found = self.peer.ask("GET", self.peer.absolute(place), {})
        except NoResponse:
            return
        if found.status == 200 and len(found.body) == len(data):
            check(found.body == data, "the stored bytes are not the ones that were sent")

    def unknown(self) -> str:
        """The URL of an upload that does not exist."""
        head, _, name = self.create().rpartition("/")
        return f"{head}/{''.join('a' if letter != 'a' else 'b' for letter in name)}"


def is_whole(response: SeenResponse) -> bool | None:
    """What Upload-Complete or Upload-Incomplete says; None without either."""
    if (complete := response.headers.get("upload-complete")) is not None:
        return complete.startswith("?1")
    if (incomplete := response.headers.get("upload-incomplete")) is not None:
        return incomplete.startswith("?0")
    return None


def _limit(response: SeenResponse) -> str:
    return response.headers.get("upload-limit", "")
