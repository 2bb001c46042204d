"""The requests of one resumable upload, each made once: create, ask for the offset, append, cancel.

Redirects, logins and cookies are met here. When a step is taken again is in `resumable_upload`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from sluiceway.client.http.cookies import ChainCookies
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head, Response
from sluiceway.client.http.redirects import (
    RedirectChain,
    follow_redirects,
    headers_across,
    without_body_headers,
)
from sluiceway.client.http.request import EXPECT_WAIT, MOST_RESPONSE, StreamingRequest
from sluiceway.client.http.transport import OpenResponse, Transport
from sluiceway.client.resumable.dialects import Dialect
from sluiceway.client.retry import UNREADABLE
from sluiceway.client.upload_job import EXPECT_FROM, Resuming
from sluiceway.errors import BadRequest, PeerFailed, SluiceError
from sluiceway.wire.urls import located, origin, redact_url

__all__ = ["PieceBody", "UploadSteps"]

EXPECTATION_FAILED = 417  # see `client.upload`


class PieceBody(Protocol):
    """The bytes of one append. They can be sent again after a redirect."""

    @property
    def length(self) -> int | None: ...

    async def send(self, request: StreamingRequest) -> Response:
        """Send all of it; the response may come before the end."""
        ...


class UploadSteps:
    """`url` is the upload's, once it was created or found in a bookmark.

    `on_sent` gets the acknowledged bytes of the append under way.
    """

    def __init__(
        self,
        transport: Transport,
        dialect: Dialect,
        resuming: Resuming,
        headers: Mapping[str, str],
        on_sent: Callable[[int], None],
    ) -> None:
        """`headers` are those of the whole upload; credentials stay with the origin of its URL."""
        self._transport, self._dialect, self._resuming = transport, dialect, resuming
        self._given, self._on_sent = headers, on_sent
        self._cookies = ChainCookies()
        self.url: str = ""
        self.request: StreamingRequest | None = None  # the last append

    async def create(self, size: int, extra: Mapping[str, str] | None = None) -> Head:
        """Create an upload of `size` bytes, without a byte. Raises the server's refusal."""
        response = await self.ask_creation(size, extra)
        if not self.url:
            raise refusal(response.head, response.text)
        return response.head

    async def ask_creation(
        self, size: int | None, extra: Mapping[str, str] | None = None
    ) -> Response:
        """As `create`, of a length that may not be known; the response may be a refusal."""
        dialect, resuming = self._dialect, self._resuming
        method, url, headers = dialect.creation(
            resuming.place, resuming.request, resuming.filename, size
        )
        response = await self._ask(method, url, {**self._given, **headers, **(extra or {})})
        if 200 <= response.head.status < 300:
            self.url = _place(response.head)
        return response

    async def offset(self) -> Head:
        """Ask how far the upload is. Raises the server's refusal."""
        head = await self.offset_response()
        if not 200 <= head.status < 300:
            raise refusal(head, "")
        return head

    async def offset_response(self) -> Head:
        """As `offset`; the response may be a refusal."""
        return (await self._ask("HEAD", self.url, self._own_headers())).head

    @asynccontextmanager
    async def content(self) -> AsyncIterator[OpenResponse]:
        """Ask for the bytes themselves: some servers give what they keep of an upload."""
        headers = self._own_headers() | {"accept-encoding": "identity"}
        cookies = self._cookies
        async with follow_redirects(self._transport, self.url, headers, cookies=cookies) as found:
            yield found

    async def append(
        self,
        body: PieceBody,
        offset: int,
        last: bool,
        *,
        expect: bool | None = None,
        length: int | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a piece. The response, of whatever status, may come before the piece's end.

        `expect`: whether to ask before the bytes; None: of a large piece. `length` is that of the
        whole upload, where the server does not know it yet; `extra` are more headers.
        """
        headers = self._own_headers() | self._dialect.append(offset, last, length)
        headers["content-type"] = self._dialect.append_type
        headers |= extra or {}
        chain = RedirectChain(self._transport, self.url, headers, self._cookies)
        if expect is None:
            expect = (body.length or 0) >= EXPECT_FROM
        may_expect = True
        while True:
            asks = may_expect and (expect or self._transport.will_ask_for_login(chain.url))
            self.request = StreamingRequest(
                self._transport,
                "PATCH",
                chain.url,
                chain.headers(),
                body.length,
                expect=asks,
                expect_timeout=EXPECT_WAIT,
                repeatable=True,
                on_sent=self._on_sent,
            )
            response = await body.send(self.request)
            head = response.head
            if head.status == EXPECTATION_FAILED and asks:
                may_expect = False
            elif not chain.challenged(head) and not chain.advance(head, sends_body=True):
                return response

    async def terminate(self) -> Head:
        """Ask the server to forget the upload; the response may be a refusal."""
        return (await self._ask("DELETE", self.url, self._own_headers())).head

    async def cancel(self) -> None:
        """Let the server forget the upload. That it fails does not matter: it will expire."""
        url, self.url = self.url, ""
        if not url:
            return
        with suppress(SluiceError):
            await self._ask("DELETE", url, self._own_headers(url))

    def _own_headers(self, url: str = "") -> dict[str, str]:
        """Of a request to the upload's URL: without what describes the whole."""
        headers = without_body_headers(self._given)
        found = headers_across(headers, self._resuming.request.url, url or self.url)
        return found | self._dialect.every_request()

    async def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        """A request without content. A redirect that changes the method is none to follow."""
        chain = RedirectChain(self._transport, url, headers, self._cookies)
        while True:
            async with self._transport.ask(method, chain.url, chain.headers()) as response:
                read = await response.read(MOST_RESPONSE)
            if not chain.challenged(read.head) and not chain.advance(read.head, sends_body=True):
                return read


def _place(head: Head) -> str:
    """The upload's URL. Raises PeerFailed without a usable one."""
    try:
        url = located(head.url, head.headers["location"])
    except (BadRequest, KeyError):
        raise PeerFailed(
            f"{redact_url(head.url)} offers resumable uploads, and names no place for this one",
            **{UNREADABLE: True},
        ) from None
    if origin(head.url)[0] == "https" and origin(url)[0] == "http":
        # A server behind a proxy that ends TLS often does not know its own scheme.
        if origin(head.url)[1] != origin(url)[1]:
            raise PeerFailed(
                f"{redact_url(head.url)} wants the file at {redact_url(url)}, where anyone could "
                "read what is sent; ask its operator for an https address",
                **{UNREADABLE: True},
            )
        url = "https" + url.removeprefix("http")
    return url
