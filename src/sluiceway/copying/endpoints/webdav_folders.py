"""Folders of a WebDAV server, made where a PUT finds them missing: it answers 409 then (RFC 4918 9.7.1), or 404."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from sluiceway.client.http.redirects import without_body_headers
from sluiceway.copying.options import Side

if TYPE_CHECKING:
    from sluiceway.client.http.transport import Transport

__all__ = ["Folders"]

CREATED, EXISTS, MISSING = 201, 405, (404, 409)


class Folders:
    """Those one copy of many had to make. One at a time: jobs that need the same folder would race for it."""

    def __init__(self, transport: Transport, side: Side) -> None:
        self._transport = transport
        self._headers = without_body_headers(side.headers)
        self._made: set[str] = set()
        self._lock = asyncio.Lock()
        self.refused: int | None = (
            None  # the status by which it became clear that no folders can be made here
        )

    async def make(self, url: str) -> bool:
        """Whether the folder of this object was missing, and is there now. Raises PeerFailed."""
        async with self._lock:
            folder = _folder_of(url)
            return self.refused is None and folder is not None and await self._make(folder)

    async def _make(self, folder: str) -> bool:
        if folder in self._made:
            return True  # by another job, since
        status = await self._asked(folder)
        if status in MISSING:
            above = _folder_of(folder.rstrip("/"))
            if above is None or not await self._make(above):
                self.refused = self.refused or status
                return False
            status = await self._asked(folder)
        if status == CREATED:
            self._made.add(folder)
        elif status != EXISTS:
            self.refused = status  # no WebDAV, or not for us
        return status == CREATED

    async def _asked(self, folder: str) -> int:
        async with self._transport.ask("MKCOL", folder, self._headers) as answer:
            return answer.head.status


def _folder_of(url: str) -> str | None:
    """The folder around it, None for the root, which is always there."""
    parts = urlsplit(url)
    path = parts.path.rpartition("/")[0] + "/"
    return None if path == "/" else urlunsplit(parts._replace(path=path, query=""))
