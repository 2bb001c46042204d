"""Remote servers that this server may fetch from: the operator's rules, and the memory of a fetch.

Allowed hosts are `wire.host_patterns`, allowed addresses `client.http.address_guard`; what becomes
of a remote file's headers is decided in `remote_headers`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.requests import Request

from sluiceway.client.guarded_fetch import fetch
from sluiceway.client.http.address_guard import AddressGuard
from sluiceway.errors import BadRequest, Forbidden, TooLarge, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.server.settings.checked import Settings
from sluiceway.wire.host_patterns import Hosts
from sluiceway.wire.urls import parse_address, redact_url

if TYPE_CHECKING:
    from sluiceway.client.http.transport import OpenResponse

__all__ = ["Remote"]

log: logging.Logger = logging.getLogger("sluiceway.fetch")

MOST_URL = 8000  # characters; all servers accept as many (RFC 9110 4.1)
MOST_LOGGED = 512  # characters of a URL in the log
READ_AHEAD = 64 << 10  # bytes that wait for a slow client before the remote server is slowed down
HELD = 384 << 10  # bytes that a fetch holds: twice READ_AHEAD, and one read of the event loop
VIA = "sluiceway"


class Remote:
    """Opens remote files for clients, within the rules of the settings."""

    def __init__(self, settings: Settings, budget: Budget) -> None:
        self.allowed: bool = bool(settings.fetch_from)
        self.max_bytes: int | None = settings.max_upload_bytes
        self._hosts = Hosts(settings.fetch_from)
        self._guard = AddressGuard(settings.fetch_internal)
        self._budget = budget

    @asynccontextmanager
    async def open(
        self, request: Request, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> AsyncIterator[OpenResponse]:
        """The remote server's response; redirects are followed.

        The connection is closed at the end: clients share nothing. Raises Forbidden, BadRequest,
        Unavailable and PeerFailed with its kinds.
        """
        # late: a server that fetches nothing loads no HTTP client
        from sluiceway.client.http.transport import Transport

        if not self.allowed:
            raise Forbidden(
                "This server does not fetch remote files; its operator can allow hosts with "
                "--fetch-from"
            )
        if VIA in request.headers.get("via", ""):
            raise Forbidden(
                "This request came from a server like this one; a fetch through two of them could "
                "loop"
            )
        if len(url) > MOST_URL:
            raise BadRequest(f"The URL has more than {MOST_URL} characters")
        address = parse_address(url)
        secret = {} if address.authorization is None else {"authorization": address.authorization}
        sent = {**headers, "via": f"1.1 {VIA}"}
        if not self._budget.acquire(HELD):
            raise Unavailable("The server has no memory left for this transfer; try again later")
        try:
            async with (
                Transport(guard=self._guard, keep=False, ahead=READ_AHEAD) as transport,
                fetch(
                    transport, address.url, sent, self._hosts, method=method, credentials=secret
                ) as response,
            ):
                final_url = redact_url(response.head.url)[:MOST_LOGGED]
                log.info("%s %s %d", method, final_url, response.head.status)
                yield response
        finally:
            self._budget.release(HELD)

    def check_length(self, length: int | None) -> None:
        """Raises TooLarge for a file that is known to be too large before its first byte."""
        if self.max_bytes is not None and length is not None and length > self.max_bytes:
            raise TooLarge(
                f"The remote file has {length} bytes; this server takes at most {self.max_bytes}",
                limit=self.max_bytes,
            )
