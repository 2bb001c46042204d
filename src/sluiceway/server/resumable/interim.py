"""104 (Upload Resumption Supported): where an interrupted upload goes on, and how far it has come.

Some proxies and libraries take any interim response but 100 for the final one. `auto` sends it only
to clients that ask for it in a version we speak, and that nothing known to break stands before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.requests import Request

from sluiceway.pipe.cancellation import end_task
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.wire.resumable import VERSION_FIELD, ProtocolVersion

__all__ = ["Interim"]

STATUS, PHRASE = 104, "Upload Resumption Supported"
AGAIN = 5.0  # seconds: proxies give up an idle request after 30 and more
# Proxies add these. nginx takes an unknown interim response of its backend for the final one, and
# what follows for the response to the next request; Envoy passes on the first one only.
_OF_PROXIES = ("via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip")
# Python's http.client skips 100 alone.
_BREAKING_AGENTS = ("python-requests/", "python-urllib3/", "python-urllib/", "urllib3/")


class Interim:
    """The interim responses to one request, for as long as its client may get them."""

    def __init__(self, request: Request, version: ProtocolVersion, mode: str) -> None:
        self._cycle = getattr(request.scope.get(PROTOCOL), "cycle", None)
        self._version = version
        self.allowed: bool = (
            self._cycle is not None
            and request.scope.get("http_version") == "1.1"
            and _may_send(mode, version, request.headers)
        )

    def created(self, location: str, limits: str) -> None:
        """The first one: where the upload goes on when this request is cut."""
        fields = {"Location": location}
        if self._version.has_limits:
            fields["Upload-Limit"] = limits
        self._send(fields)

    def progress(self, offset: int) -> None:
        """What is kept: the client may forget these bytes."""
        if self._version.tells_progress:
            self._send({"Upload-Offset": str(offset)})

    @asynccontextmanager
    async def waiting(self, offset: int) -> AsyncIterator[None]:
        """Say now and then what is kept, while a destination takes its time with the end.

        A client, and what stands before us, sees that the request is alive.
        """
        if not (self.allowed and self._version.tells_progress):
            yield
            return
        task = asyncio.create_task(self._repeat(offset))
        try:
            yield
        finally:
            await end_task(task)

    async def _repeat(self, offset: int) -> None:
        while self.allowed:
            await asyncio.sleep(AGAIN)
            self.progress(offset)

    def _send(self, fields: dict[str, str]) -> None:
        if self.allowed and self._cycle is not None:
            if self._version.number is not None:
                fields["Upload-Draft-Interop-Version"] = str(self._version.number)
            self.allowed = self._cycle.send_interim(STATUS, PHRASE, fields)


def _may_send(mode: str, version: ProtocolVersion, headers: Mapping[str, str]) -> bool:
    if mode != "auto":
        # of the final form no request names a version; a draft's always does
        return mode == "on" and (VERSION_FIELD not in headers or version.number is not None)
    if version.number is None or any(field in headers for field in _OF_PROXIES):
        return False
    return not headers.get("user-agent", "").lower().startswith(_BREAKING_AGENTS)
