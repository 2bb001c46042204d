"""GET and HEAD /fetch?url=…: a remote file passes through, block by block, under this server's inert headers.

Who may be asked is decided in `client.hosts` and `client.guard`, what of an answer becomes ours in `foreign`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.client.guarded_fetch import body_length, fetched, paced
from sluiceway.client.http.address_guard import AddressGuard
from sluiceway.errors import BadRequest, Forbidden, SluiceError, TooLarge, TooSlow, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.pump import close_stream
from sluiceway.server.door.sites import TRUSTED
from sluiceway.server.handlers.raw import conditions
from sluiceway.server.http1.sendfile import STALLED
from sluiceway.server.remote import PASSED, passed_headers, remote_refusal
from sluiceway.server.request_body import wait_until_gone
from sluiceway.server.settings import Settings
from sluiceway.wire.host_patterns import Hosts
from sluiceway.wire.urls import parse_address, redact_url

if TYPE_CHECKING:
    from sluiceway.client.http.transport import OpenResponse

__all__ = ["Remote", "pass_remote", "pass_url"]

log: logging.Logger = logging.getLogger("sluiceway.fetch")

MOST_URL = 8000  # characters; what every server takes (RFC 9110 4.1)
MOST_LOGGED = 512  # characters of it in a line of the log
AHEAD = 64 << 10  # bytes that wait for a slow reader before its remote server is slowed down
HELD = 384 << 10  # bytes a fetch holds at most: twice AHEAD, and one read of the event loop
PIECE = 64 << 10  # bytes of one write: what a slow reader has STALLED seconds for

CONDITIONS = ("if-match", "if-modified-since", "if-none-match", "if-unmodified-since")
RANGES = ("if-range", "range")  # RFC 9110 14.2: defined for GET only
VIA = "sluiceway"


class Remote:
    """Other servers as clients of this one may ask for them: the operator's rules, and what each fetch may hold."""

    def __init__(self, told: Settings, budget: Budget) -> None:
        self.allowed: bool = bool(told.fetch_from)
        self.most: int | None = told.max_upload_bytes
        self._hosts, self._guard, self._budget = (
            Hosts(told.fetch_from),
            AddressGuard(told.fetch_internal),
            budget,
        )

    @asynccontextmanager
    async def open(
        self, request: Request, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> AsyncIterator[OpenResponse]:
        """The remote server's answer, redirects followed. No connection outlives it: nothing is shared between clients.

        Raises Forbidden, BadRequest, Unavailable and PeerFailed with its kinds.
        """
        from sluiceway.client.http.transport import (
            Transport,
        )  # late: a server that fetches nothing loads no client

        if not self.allowed:
            raise Forbidden(
                "This server fetches nothing; its operator allows hosts with --fetch-from"
            )
        if VIA in request.headers.get("via", ""):
            raise Forbidden(
                "This request came through such a server already; fetches do not go in circles"
            )
        if len(url) > MOST_URL:
            raise BadRequest(f"The URL has more than {MOST_URL} characters")
        address = parse_address(url)
        secret = {} if address.authorization is None else {"authorization": address.authorization}
        sent = {**headers, "via": f"1.1 {VIA}"}
        if not self._budget.acquire(HELD):
            raise Unavailable("This server holds as much in memory as it may; try again later")
        try:
            async with (
                Transport(guard=self._guard, keep=False, ahead=AHEAD) as transport,
                fetched(
                    transport, address.url, sent, self._hosts, method=method, credentials=secret
                ) as answer,
            ):
                log.info(
                    "%s %s %d",
                    method,
                    redact_url(answer.head.url)[:MOST_LOGGED],
                    answer.head.status,
                )
                yield answer
        finally:
            self._budget.release(HELD)

    def check_length(self, length: int | None) -> None:
        """Raises TooLarge for what need not even begin."""
        if self.most is not None and length is not None and length > self.most:
            raise TooLarge(
                f"The remote file has {length} bytes; this server takes at most {self.most}",
                limit=self.most,
            )


def pass_remote(request: Request, remote: Remote) -> Response:
    """GET and HEAD /fetch?url=…"""
    # Unlike reading here, reading elsewhere costs and shows in logs there: no other site's page makes a browser do it.
    if request.headers.get("sec-fetch-site", "none") not in (
        "none",
        "same-origin",
    ) and not request.scope.get(TRUSTED):
        raise Forbidden(
            "A page of another site tried to fetch through this server; open the address from here"
        )
    query = request.query_params.multi_items()
    if [name for name, _ in query] != ["url"]:
        raise BadRequest(
            "Fetch with /fetch?url=… and nothing else; a & or # within the URL is written as %26 or %23"
        )
    return pass_url(request, remote, query[0][1])


def pass_url(request: Request, remote: Remote, url: str) -> Response:
    """A remote file as the answer to a request, with what it asks: conditions and ranges."""
    told = conditions(request)
    names = CONDITIONS if request.method == "HEAD" else (*CONDITIONS, *RANGES)
    asked = {name: told[name] for name in names if name in told}
    if not all(value.isascii() for value in asked.values()):
        raise BadRequest("Conditions and ranges are written in ASCII")
    return _Passing(request, remote, url, asked)


class _Passing(Response):
    """The remote answer, passed on while it comes. Its end is our end; where it breaks off, ours breaks off too."""

    def __init__(
        self, request: Request, remote: Remote, url: str, asked: Mapping[str, str]
    ) -> None:
        self.background = None
        self._request, self._remote, self._url, self._asked = request, remote, url, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _while_there(receive, self._pass(send))

    async def _pass(self, send: Send) -> None:
        method = self._request.method
        async with self._remote.open(self._request, self._url, self._asked, method) as answer:
            head = answer.head
            if head.status not in PASSED:
                raise await _refused(answer)
            headers = passed_headers(head, self._asked)
            with_body = method == "GET" and head.status != 304
            self._remote.check_length(body_length(head) if with_body else None)
            raw = [
                (name.encode(), value.encode("latin-1", "replace"))
                for name, value in headers.items()
            ]
            await send({"type": "http.response.start", "status": head.status, "headers": raw})
            if with_body:
                await self._body(answer, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _body(self, answer: OpenResponse, send: Send) -> None:
        most, taken, chunks = self._remote.most, 0, paced(answer)
        try:
            async for chunk in chunks:
                taken += len(chunk)
                if most is not None and taken > most:
                    raise TooLarge(
                        f"The remote file has more than {most} bytes; this server takes at most that",
                        limit=most,
                    )
                for at in range(0, len(chunk), PIECE):
                    async with asyncio.timeout(STALLED):
                        await send(
                            {
                                "type": "http.response.body",
                                "body": chunk[at : at + PIECE],
                                "more_body": True,
                            }
                        )
        except TimeoutError:
            raise TooSlow(f"The reader took nothing for {STALLED:g} seconds") from None
        finally:
            await close_stream(chunks)


async def _refused(answer: OpenResponse) -> SluiceError:
    text = "" if "content-encoding" in answer.head.headers else await answer.text()
    return remote_refusal(answer.head, text)


async def _while_there(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Do the work; end it at once when the client of a request without a body leaves."""
    gone = asyncio.ensure_future(wait_until_gone(receive))
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, doing}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        for task in (gone, doing):
            task.cancel()
        await asyncio.wait({gone, doing})
        if not doing.cancelled():
            doing.exception()  # seen: its client is not there to be told
