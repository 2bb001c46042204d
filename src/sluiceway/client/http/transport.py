"""Requests over sockets: the only place that knows aiohttp. One request out, one answer back, every wait bounded.

Redirects, retries and what an answer means are decided elsewhere (`plan`); errors of the library become PeerFailed here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

from sluiceway.client.http.address_guard import refused_address
from sluiceway.client.http.aiohttp_errors import head_too_long, named, undecoded
from sluiceway.client.http.aiohttp_request import ExpectingRequest, StreamedBody
from sluiceway.client.http.digest_auth import DigestLogin
from sluiceway.client.http.exchange import Deadlines, Head
from sluiceway.client.http.outgoing import Outgoing
from sluiceway.client.http.proxies import Proxies, Proxy
from sluiceway.client.http.socket_progress import SocketProgress
from sluiceway.client.http.tls import Trust
from sluiceway.client.retry import IDEMPOTENT
from sluiceway.errors import BadRequest, PeerFailed, PeerTimeout
from sluiceway.wire.headers.conditions import join_fields
from sluiceway.wire.urls import origin, redact_url

__all__ = [
    "EXPECT_FROM",
    "EXPECT_WAIT",
    "MOST_HEAD",
    "Deadlines",
    "OpenResponse",
    "Outgoing",
    "Transport",
]

log: logging.Logger = logging.getLogger("sluiceway.guard")

T = TypeVar("T")
Guard = Callable[[str, int], None]  # address as text, port

EXPECT_FROM = (
    1 << 20
)  # bytes; below, a refusal costs less than the extra round trip (curl's limit since 7.84)
EXPECT_WAIT = (
    1.0  # seconds for the 100; servers that never send one must not cost more (curl's default)
)
READ_AHEAD = 1 << 20  # bytes buffered per answer; the library pauses the socket at twice that
MOST_ANSWER = 1 << 20  # bytes of an answer read as text; a larger one is not for us
UNAUTHORIZED = 401
TICK = 0.1  # seconds between looks at a transfer under way
MOST_HEAD = (
    64 << 10
)  # bytes of an answer's head, and of one header in it: large cookies and policies have tens of KiB
MOST_HEADERS = 256  # of an answer; browsers take some hundred


class OpenResponse:
    """An answer whose head is here and whose body is still coming."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, deadlines: Deadlines) -> None:
        self._response, self._deadlines = response, deadlines
        cookies = tuple(
            value.decode("latin-1")
            for name, value in response.raw_headers
            if name.lower() == b"set-cookie"
        )
        self.head: Head = Head(response.status, _headers(response), url, cookies)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises PeerFailed when it ends before its length, PeerTimeout when it stalls."""
        content = self._response.content
        with named(self.head.url, "reading from", self._deadlines):
            try:
                while chunk := await content.readany():
                    yield chunk
            except (aiohttp.ClientError, OSError):
                # Up to 2 MiB that did arrive; readany() raises before it hands them out, and there is no public way.
                if rest := content._read_nowait(-1):
                    yield rest
                raise

    async def whole(self, most: int = MOST_ANSWER) -> bytes | None:
        """The whole body; None when it has more than `most` bytes. Raises PeerFailed when it breaks off or takes too long."""
        pieces, left = [], most
        try:
            async with asyncio.timeout(self._deadlines.idle):
                async for chunk in self.chunks():
                    pieces.append(chunk)
                    left -= len(chunk)
                    if left < 0:
                        return None
        except TimeoutError:
            raise PeerTimeout(
                f"{redact_url(self.head.url)} did not finish its answer within {self._deadlines.idle:.0f} s"
            ) from None
        return b"".join(pieces)

    async def text(self) -> str:
        """The body as text, at most MOST_ANSWER bytes of it; what came when the connection broke meanwhile."""
        pieces, left = [], MOST_ANSWER
        try:
            async with asyncio.timeout(self._deadlines.idle):
                async for chunk in self.chunks():
                    pieces.append(chunk[:left])
                    left -= len(pieces[-1])
                    if not left:
                        break
        except (PeerFailed, TimeoutError):
            pass  # an early refusal is often followed by a reset; its status is what counts
        return b"".join(pieces).decode("utf-8", "replace")


class Transport:
    """A set of connections. Use as `async with Transport() as transport`.

    `guard` is shown every address right before it is connected to, whatever names and redirects led there; it raises to
    forbid it. `keep` is False where no connection may be used twice: one that died meanwhile would cost an upload that
    cannot be repeated (what surely cannot gets a fresh one anyway). `ahead` is how many bytes of an answer wait to be read
    before the peer is slowed down. `trust` says whose certificates count. Without a guard, the environment's proxies are used.
    `logins` prove who we are to the servers that ask, by their origin.
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
        # A proxy would connect where the guard cannot look.
        self._proxies = Proxies() if guard is None else None
        self._session: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None  # for requests that must not be repeated

    async def __aenter__(self) -> Self:
        self._session = self._opened(self._keep)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._single):
            if session is not None:
                await session.close()

    def _opened(self, keep: bool) -> aiohttp.ClientSession:
        guard = self._guard

        def guarded(found: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, place = found
            if guard is not None:
                guard(place[0], place[1])
            return socket.socket(family, kind, protocol)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=not keep,
                socket_factory=guarded,
                resolver=None if guard is None else _GuardedResolver(guard),
            ),
            auto_decompress=False,  # a resumed download counts the bytes as sent
            cookie_jar=aiohttp.DummyCookieJar(),  # a copy has no session; what one chain of redirects needs is kept there
            headers={"Accept-Encoding": "identity", "User-Agent": "sluiceway"},
            max_field_size=MOST_HEAD,
            max_headers=MOST_HEADERS,
            max_line_size=MOST_HEAD,
            read_bufsize=self._ahead,
            request_class=ExpectingRequest,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=self.deadlines.connect
            ),
        )

    def unproven(self, url: str) -> bool:
        """Whether this server will ask who we are, and has not yet: what cannot be sent twice waits for its word."""
        login = self._logins.get(origin(url))
        return login is not None and not login.known

    def challenged(self, head: Head) -> bool:
        """Whether an answer is a challenge that can be met: the same request again proves who we are."""
        login = self._logins.get(origin(head.url)) if head.status == UNAUTHORIZED else None
        return login is not None and login.learn(head.headers.get("www-authenticate", ""))

    def _for(self, method: str, body: Outgoing | None) -> aiohttp.ClientSession:
        """A kept connection may have been closed over there a moment ago, which shows only when the request is on its way. What
        cannot be sent again gets a fresh one."""
        if self._session is None:
            raise BadRequest("A Transport is used with `async with`")
        if not self._keep or body is None or (method in IDEMPOTENT and body.repeatable):
            return self._session
        if self._single is None:
            self._single = self._opened(keep=False)
        return self._single

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Outgoing | None = None,
        *,
        expect: bool = False,
        patience: float = EXPECT_WAIT,
        on_sent: Callable[[int], None] | None = None,
    ) -> AsyncIterator[OpenResponse]:
        """Send the request; the answer, closed at the end of the block (its connection too, unless it was read whole).

        `expect` asks for 100-continue before the body and waits for it for `patience` seconds. `on_sent` is told, about every
        TICK, how many bytes of the body the peer has acknowledged (where the system tells; else: the socket took).
        Raises PeerFailed and its kinds; what the body's source raises comes through as it is.
        """
        session = self._for(method, body)
        tracker, limits = aiohttp.UploadTracker(), self.deadlines
        if body is not None:
            body.line = SocketProgress(lambda: tracker.bytes_written)
        try:
            target = URL(url, encoded=True)
        except ValueError:
            raise BadRequest(
                f"{redact_url(url)} is no URL that can be asked; check host and port"
            ) from None
        if (login := self._logins.get(origin(url))) is not None and (
            proof := login.answer(method, url)
        ) is not None:
            headers = {**headers, "authorization": proof}
        proxy = None if self._proxies is None else self._proxies.of(url)
        sending = session.request(
            method,
            target,
            headers={**headers, **_for_proxy(proxy)} if target.scheme == "http" else headers,
            ssl=self._contexts.of(url),
            proxy=None if proxy is None else proxy.url,
            proxy_headers=_for_proxy(proxy) or None,
            data=None if body is None else StreamedBody(body, patience),
            expect100=expect,
            allow_redirects=False,
            upload_tracker=tracker,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=limits.connect,
                sock_read=limits.idle if body is None else limits.answer,
            ),
        )
        try:
            with named(url, "sending to" if body is not None else "asking", limits, body):
                response = await _watched(_started(sending), _Idle(url, body, limits.idle, on_sent))
            if body is not None:
                body.halt()
            try:
                if sum(len(name) + len(value) for name, value in response.raw_headers) > MOST_HEAD:
                    raise head_too_long(url)
                coding = ", ".join(response.headers.getall("Transfer-Encoding", []))
                if coding.strip().lower() not in (
                    "",
                    "chunked",
                    "identity",
                ):  # the library undoes chunks, and nothing else
                    raise undecoded(url, coding)
                yield OpenResponse(response, url, limits)
            finally:
                response.close()
        finally:
            if body is not None:
                await body.left()


def _for_proxy(proxy: Proxy | None) -> dict[str, str]:
    return (
        {}
        if proxy is None or proxy.authorization is None
        else {"Proxy-Authorization": proxy.authorization}
    )


class _GuardedResolver(aiohttp.ThreadedResolver):
    """One forbidden address among a name's forbids the name: a connect would quietly go on to the next of them."""

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
        for place in found:
            self._guard(place["host"], place["port"])
        return found


async def _started(request: Any) -> aiohttp.ClientResponse:
    response: aiohttp.ClientResponse = await request
    return response


class _Idle:
    """Looks at a request under way: tells how far it is, and ends it when the peer takes nothing for `limit` seconds."""

    def __init__(
        self, url: str, body: Outgoing | None, limit: float, on_sent: Callable[[int], None] | None
    ) -> None:
        self._url, self._body, self._limit, self._on_sent = url, body, limit, on_sent
        self._last = (-1, time.monotonic())

    def __call__(self) -> None:
        if self._body is None or self._body.line is None:
            return
        taken, now = self._body.line.taken, time.monotonic()
        # Acknowledged counts, too: our kernel may hold megabytes for a slow peer, and then takes nothing for a long time.
        moved = taken + self._body.line.acknowledged
        if (
            moved != self._last[0] or taken >= self._body.handed
        ):  # it moves, or there is nothing to take
            self._last = (moved, now)
        elif now - self._last[1] > self._limit:
            raise PeerTimeout(
                f"{redact_url(self._url)} took nothing for {self._limit:.0f} seconds; try again later"
            )
        if self._on_sent is not None:
            self._on_sent(self._body.line.acknowledged)


async def _watched(work: Coroutine[Any, Any, T], look: Callable[[], None]) -> T:
    """Run `work`, calling `look` about every TICK and once at the end; what `look` raises ends the work."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=TICK)
            look()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, also where we were cancelled in the moment in which it failed


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return join_fields(response.raw_headers)
