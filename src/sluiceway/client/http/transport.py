"""Requests over sockets, on aiohttp: one request out, one response back, every wait bounded.

Redirects, retries and the meaning of a response are decided elsewhere. Errors of the library become
PeerFailed here (`aiohttp_errors`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

from sluiceway.client.http.address_guard import refused_address
from sluiceway.client.http.aiohttp_errors import endless_head, head_too_long, map_error, undecoded
from sluiceway.client.http.aiohttp_request import ExpectingRequest, SentBody, StallWatch
from sluiceway.client.http.digest_auth import DigestLogin
from sluiceway.client.http.exchange import Deadlines, Head, Response
from sluiceway.client.http.proxies import Proxies, Proxy
from sluiceway.client.http.tls import Trust
from sluiceway.client.raw_body import RawBody, take_over
from sluiceway.errors import BadRequest, PeerFailed, PeerTimeout
from sluiceway.pipe.lending import LentConnection
from sluiceway.wire.headers.conditions import join_fields
from sluiceway.wire.urls import origin, redact_url

__all__ = ["MOST_HEAD", "OpenResponse", "Transport"]

log: logging.Logger = logging.getLogger("sluiceway.guard")

T = TypeVar("T")
Guard = Callable[[str, int], None]  # address as text, port

READ_AHEAD = 1 << 20  # bytes buffered per response; the library pauses the socket at twice that
MOST_ANSWER = 1 << 20  # bytes of a response that are read as text; a larger one is not for us
UNAUTHORIZED = 401
# Their responses begin within the idle time; others may come with 102 while the peer works.
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Bytes of a response's head, and of one header in it: large cookies and policies have tens of KiB.
MOST_HEAD = 64 << 10
MOST_HEADERS = 256  # of a response; browsers take some hundred


class OpenResponse:
    """A response whose head is here and whose body is still coming."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, deadlines: Deadlines) -> None:
        self._response, self._deadlines = response, deadlines
        headers, cookies = join_fields(response.raw_headers), tuple[str, ...]()
        if "set-cookie" in headers:  # each by itself: a comma joins none of them (RFC 6265 3)
            cookies = tuple(
                value.decode("latin-1")
                for name, value in response.raw_headers
                if name.lower() == b"set-cookie"
            )
        self.head: Head = Head(response.status, headers, url, cookies)
        self._raw: RawBody | None = None  # the rest of a large body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises PeerFailed when it ends before its length, PeerTimeout when it stalls.
        """
        content = self._response.content
        with map_error(self.head.url, "reading from", self._deadlines):
            try:
                while self._raw is None and (chunk := await _read_any(content)):
                    yield chunk
                if self._raw is not None:
                    async for chunk in self._raw.chunks():
                        yield chunk
            except (aiohttp.ClientError, OSError):
                # Up to 2 MiB that did arrive: readany() raises before it hands them out, and there
                # is not a public way.
                if rest := content._read_nowait(-1):
                    yield rest
                raise

    async def exactly(self, size: int) -> bytes:
        """Return a small body, which has a known length, in one go. Raises as `chunks`."""
        with map_error(self.head.url, "reading from", self._deadlines):
            try:
                return await self._response.content.readexactly(size) if size else b""
            except asyncio.IncompleteReadError:
                raise aiohttp.ClientPayloadError("the body ended early") from None

    def lend(self) -> LentConnection | None:
        """The connection behind the chunk that `chunks` yielded last (`pipe/lending.py`)."""
        if self._raw is None:
            self._raw = take_over(self._response, self._deadlines.idle)
        return None if self._raw is None else self._raw.lend()

    def close(self) -> None:
        """End the response; its connection too, unless it was read to its end."""
        if self._raw is not None:
            self._raw.close()
        self._response.close()

    async def read(self, most: int) -> Response:
        """Read at most `most` bytes of the body. `error` is set when it breaks off."""
        content = self._response.content
        if self._raw is None and content.is_eof() and content.exception() is None:
            body = content.read_nowait()  # all of it came with the head: no wait to bound
            return Response(self.head, body[:most], len(body) > most)
        pieces, left, error = list[bytes](), most, None
        try:
            async with asyncio.timeout(self._deadlines.idle):
                async for chunk in self.chunks():
                    pieces.append(chunk[: max(0, left)])
                    left -= len(chunk)
                    if left < 0:
                        break
        except PeerFailed as failed:
            error = failed
        except TimeoutError:
            error = PeerTimeout(
                f"{redact_url(self.head.url)} did not finish its answer "
                f"within {self._deadlines.idle:.0f} s"
            )
        return Response(self.head, b"".join(pieces), left < 0, error)

    async def whole(self, most: int = MOST_ANSWER) -> bytes | None:
        """Return the whole body; None when it has more than `most` bytes.

        Raises PeerFailed when it breaks off or takes too long.
        """
        response = await self.read(most)
        if response.error is not None:
            raise response.error
        return None if response.cut else response.body

    async def text(self) -> str:
        """Return the body as text, as much of it as came: its status counts more than its end."""
        return (await self.read(MOST_ANSWER)).text


class Transport:
    """A set of connections. Use as `async with Transport() as transport`.

    `guard` gets every address right before it is connected to, whatever names and redirects led
    there, and raises to forbid it. Without a guard, the environment's proxies are used: a proxy
    would connect where the guard cannot look. `keep` is False where no connection may be used
    twice: one that died meanwhile would cost an upload that cannot be repeated. `ahead` is the
    number of bytes of a response that are buffered before the peer is slowed down. `trust` says
    whose certificates count. `logins` prove who we are to the servers that ask, by their origin.
    """

    deadlines: Deadlines

    def __init__(
        self,
        deadlines: Deadlines = Deadlines(),
        *,
        guard: Guard | None = None,
        keep: bool = True,
        ahead: int = READ_AHEAD,
        trust: Trust = Trust(),
        logins: Mapping[tuple[str, str, int], DigestLogin] | None = None,
    ) -> None:
        self.deadlines, self._guard, self._keep, self._ahead = deadlines, guard, keep, ahead
        self._contexts, self._logins = trust.contexts(), logins or {}
        self._proxies = Proxies() if guard is None else None
        # For the library, of a request without a body and of one with it.
        self._times, self._times_of_body = (
            aiohttp.ClientTimeout(total=None, sock_connect=deadlines.connect, sock_read=seconds)
            for seconds in (deadlines.idle, deadlines.answer)
        )
        self._learning = asyncio.Lock()  # one request gets a challenge for all
        self._session: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None  # for requests that must not be repeated

    async def __aenter__(self) -> Self:
        self._session = self._open_session(self._keep)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._single):
            if session is not None:
                await session.close()

    def _open_session(self, keep: bool) -> aiohttp.ClientSession:
        guard = self._guard

        def guarded_socket(address_info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, address = address_info
            if guard is not None:
                guard(address[0], address[1])
            return socket.socket(family, kind, protocol)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=not keep,
                socket_factory=guarded_socket,
                resolver=None if guard is None else _GuardedResolver(guard),
            ),
            auto_decompress=False,  # a resumed download counts the bytes as sent
            cookie_jar=aiohttp.DummyCookieJar(),  # `cookies` keeps those of one redirect chain
            headers={"Accept-Encoding": "identity", "User-Agent": "sluiceway"},
            max_field_size=MOST_HEAD,
            max_headers=MOST_HEADERS,
            max_line_size=MOST_HEAD,
            read_bufsize=self._ahead,
            request_class=ExpectingRequest,
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=self.deadlines.connect,  # the name, too
            ),
        )

    def will_ask_for_login(self, url: str) -> bool:
        """Whether the server will ask who we are: its first challenge has yet to come."""
        login = self._login(url)
        return login is not None and not login.known

    def challenged(self, head: Head) -> bool:
        """Whether a response is a challenge that the same request, sent again, can meet."""
        login = self._login(head.url) if head.status == UNAUTHORIZED else None
        return login is not None and login.learn(head.headers.get("www-authenticate", ""))

    def _login(self, url: str) -> DigestLogin | None:
        return self._logins.get(origin(url)) if self._logins else None

    async def _learn(self, login: DigestLogin, url: str) -> None:
        """Get the challenge, before the first HEAD, by OPTIONS.

        WsgiDAV sends a body with its 401 to HEAD; what then follows on the connection is not HTTP,
        and where both come at once, not even the 401 can be read.
        """
        async with self._learning:
            if login.known:
                return
            with suppress(PeerFailed):  # HEAD has the same error, or a better one
                async with self.ask("OPTIONS", url, {}) as response:
                    self.challenged(response.head)

    async def _whole_head(
        self, method: str, url: str, sending: Awaitable[aiohttp.ClientResponse]
    ) -> aiohttp.ClientResponse:
        """The response to a request without a body, in bounded time.

        The library's own timer restarts with each byte of the head, and stops at a 1xx.
        """
        deadlines = self.deadlines
        begins = deadlines.idle if method in READING else deadlines.answer
        try:
            async with asyncio.timeout(deadlines.connect + begins + deadlines.idle):
                with map_error(url, "asking", deadlines):
                    return await sending
        except TimeoutError:
            raise endless_head(url) from None

    def _session_for(self, body: SentBody | None) -> aiohttp.ClientSession:
        """A new connection for a request that cannot be repeated.

        The server may have closed a kept one a moment ago, which shows only after sending.
        """
        if self._session is None:
            raise BadRequest("A Transport is used with `async with`")
        if not self._keep or body is None or body.repeatable:
            return self._session
        if self._single is None:
            self._single = self._open_session(keep=False)
        return self._single

    @asynccontextmanager
    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: SentBody | None = None
    ) -> AsyncIterator[OpenResponse]:
        """Send the request; yield the response and close it at the end of the block.

        Its connection is closed too, unless the response was read to its end. `body` is for
        `request.StreamingRequest`. Raises PeerFailed and its kinds, and BadRequest.
        """
        session = self._session_for(body)
        tracker, deadlines = None if body is None else body.tracker(), self.deadlines
        try:
            target = URL(url, encoded=True)
        except ValueError:
            raise BadRequest(
                f"{redact_url(url)} is not a URL that can be asked; check host and port"
            ) from None
        login = self._login(url)
        if login is not None and not login.known and method == "HEAD":
            await self._learn(login, url)
        proof = None if login is None else login.answer(method, url)
        if proof is not None:
            headers = {**headers, "authorization": proof}
        proxy = None if self._proxies is None else self._proxies.of(url)
        secure = target.scheme != "http" or proxy is not None
        sending = session.request(
            method,
            target,
            headers={**headers, **_proxy_headers(proxy)} if target.scheme == "http" else headers,
            ssl=self._contexts.of(url) if secure else True,
            proxy=None if proxy is None else proxy.url,
            proxy_headers=_proxy_headers(proxy) or None,
            data=body,
            expect100=body is not None and body.expect,
            allow_redirects=False,
            upload_tracker=tracker,
            timeout=self._times if body is None else self._times_of_body,
        )
        if body is None:
            response = await self._whole_head(method, url, sending)
        else:
            with (
                map_error(url, "sending to", deadlines, sends_body=True),
                StallWatch(url, body, deadlines),
            ):
                response = await sending
            body.answered = True
        try:
            if sum(map(len, chain.from_iterable(response.raw_headers))) > MOST_HEAD:
                raise head_too_long(url)
            coding = ", ".join(response.headers.getall("Transfer-Encoding", []))
            # The library decodes chunks, and nothing else.
            if coding.strip().lower() not in ("", "chunked", "identity"):
                raise undecoded(url, coding)
            opened = OpenResponse(response, url, deadlines)
            try:
                yield opened
            finally:
                opened.close()
        finally:
            response.close()


def _proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    if proxy is None or proxy.authorization is None:
        return {}
    return {"Proxy-Authorization": proxy.authorization}


class _GuardedResolver(aiohttp.ThreadedResolver):
    """Refuses a name if one of its addresses is forbidden: a connect would try the next address."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        try:
            found = await super().resolve(host, port, family)
        except OSError as error:
            log.info("no address for %s: %s", host, error.strerror)
            raise refused_address(f"There is no host {host}; check the name in the URL") from error
        for address in found:
            self._guard(address["host"], address["port"])
        return found


def _has_nothing(content: aiohttp.StreamReader) -> bool:
    """Neither bytes, nor the end, nor an error. (The reader of an empty body has no buffer.)"""
    return not content.is_eof() and not content._buffer and content.exception() is None


async def _read_any(content: aiohttp.StreamReader) -> bytes:
    """`content.readany()`, where the end of a chunk has woken the reader without bytes.

    The library then waits once more. If an error in the next chunk made it close the connection in
    the same turn of the event loop, nothing ends that wait: not even its own timeout. If the
    connection has closed, it raises a RuntimeError, "Connection closed.", before the reason is
    set. (Its other RuntimeError is for two readers of one body; `chunks` is the only one.)
    """
    try:
        while _has_nothing(content):
            await content._wait("readany")
            transport = content._protocol.transport
            if _has_nothing(content) and transport is not None and transport.is_closing():
                raise aiohttp.ClientPayloadError("the connection closed within the body")
        return await content.readany()
    except RuntimeError as error:
        raise aiohttp.ClientPayloadError("the connection closed within the body") from error
