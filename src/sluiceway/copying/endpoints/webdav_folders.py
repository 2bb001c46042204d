"""Folders of a WebDAV server, created where a PUT finds them missing.

A server then answers the PUT with 409 (RFC 4918 9.7.1), or with 404. Knows only URLs and MKCOL.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from sluiceway.client.http.redirects import without_body_headers
from sluiceway.copying.servers import RemoteServer

if TYPE_CHECKING:
    from sluiceway.client.http.transport import Transport

__all__ = ["WebdavFolders"]

CREATED, EXISTS, MISSING = 201, 405, (404, 409)


class WebdavFolders:
    """Those that one copy created. One at a time: jobs that need the same folder would race."""

    def __init__(self, transport: Transport, server: RemoteServer) -> None:
        self._transport = transport
        self._headers = without_body_headers(server.headers)
        self._created: set[str] = set()
        self._lock = asyncio.Lock()
        self.refused: int | None = None  # the status that showed that no folder can be created

    async def create(self, url: str) -> bool:
        """Whether the folder of this object was missing, and exists now. Raises PeerFailed."""
        async with self._lock:
            folder = _folder_of(url)
            return self.refused is None and folder is not None and await self._create(folder)

    async def _create(self, folder: str) -> bool:
        if folder in self._created:
            return True  # by another job, in the meantime
        status = await self._mkcol(folder)
        if status in MISSING:
            parent = _folder_of(folder.rstrip("/"))
            if parent is None or not await self._create(parent):
                self.refused = self.refused or status
                return False
            status = await self._mkcol(folder)
        if status == CREATED:
            self._created.add(folder)
        elif status != EXISTS:
            self.refused = status  # no WebDAV, or no permission
        return status == CREATED

    async def _mkcol(self, folder: str) -> int:
        async with self._transport.ask("MKCOL", folder, self._headers) as response:
            return response.head.status


def _folder_of(url: str) -> str | None:
    """The folder around it; None for the root, which always exists."""
    parts = urlsplit(url)
    path = parts.path.rpartition("/")[0] + "/"
    return None if path == "/" else urlunsplit(parts._replace(path=path, query=""))
