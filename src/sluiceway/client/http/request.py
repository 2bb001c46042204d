"""The one way to send a request with a body: open it, write, then finish or abort.

A response may come at any moment; from then on nothing is written, and `write` raises it. Knows
nothing of what the bytes mean. Every wait has one of the transport's deadlines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sluiceway.client.http.aiohttp_request import SEND_CHUNK, PushedBody
from sluiceway.client.http.exchange import Response
from sluiceway.client.http.thread_sending import SendingBurst
from sluiceway.client.http.transport import Transport
from sluiceway.errors import PeerFailed, PeerTimeout
from sluiceway.pipe.budget import Block, Budget
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.wire.urls import redact_url

__all__ = ["EXPECT_WAIT", "MOST_RESPONSE", "EarlyResponse", "StreamingRequest"]

EXPECT_WAIT = 1.0  # seconds for the 100: servers that never send one must not cost more (as curl)
AT_ONCE = 1 << 20  # bytes of a block for which the event loop is busy
MOST_RESPONSE = 1 << 20  # bytes of a response that are kept; an upload's has a few hundred
ACKNOWLEDGED_EVERY = 0.002  # seconds between looks whether the peer has what a file gave
LEAVE_TIMEOUT = 5.0  # seconds: a read from a dead network drive must not hold up the error


class EarlyResponse(Exception):
    """The peer answered before it had the whole body: nothing more is written to it."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.head.status)
        self.response = response


@dataclass(frozen=True, slots=True)
class _UnsentRest:
    """A burst that has ended, and the block that holds what the peer did not take of it."""

    burst: SendingBurst
    block: Block
    budget: Budget

    def release(self) -> None:
        self.budget.release_block(self.block)


class StreamingRequest:
    """One request under way.

    `length` is that of the whole body in bytes; None sends it in chunks. `repeatable`: its sender
    could send it once more. With `expect`, the peer is asked before the body: for `expect_timeout`
    seconds, after which the body goes anyway; None insists on the peer's word. `on_sent` gets the
    number of bytes that the peer has acknowledged, about ten times a second.
    """

    def __init__(
        self,
        transport: Transport,
        method: str,
        url: str,
        headers: Mapping[str, str],
        length: int | None,
        *,
        expect: bool = False,
        expect_timeout: float | None = None,
        repeatable: bool = False,
        on_sent: Callable[[int], None] | None = None,
    ) -> None:
        self._transport, self._method, self._url, self._headers = transport, method, url, headers
        self._must_agree = expect and expect_timeout is None
        if expect_timeout is None:  # `open` gives up before
            expect_timeout = 2 * transport.deadlines.idle
        self._body = PushedBody(
            length,
            repeatable=repeatable,
            expect=expect,
            expect_timeout=expect_timeout,
            on_sent=on_sent,
        )
        self._request: asyncio.Task[Response] | None = None
        self._blocked: asyncio.Task[object] | None = None  # the task that is inside `write`
        self._woken = False
        self._rest: _UnsentRest | None = None  # of the last burst
        self._from_file = False  # the kernel sends a file itself; the peer may not have all of it

    async def open(self) -> None:
        """Connect and send the head; with `expect`, wait for the peer's 100 Continue.

        Raises EarlyResponse, PeerFailed.
        """
        self._request = asyncio.get_running_loop().create_task(self._ask())
        self._request.add_done_callback(self._wake)
        timeout = self._transport.deadlines.idle if self._must_agree else None
        first: set[asyncio.Future[Any]] = {self._request, self._body.ready}
        await asyncio.wait(first, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._request.done():
            raise EarlyResponse(self._request.result())
        if not self._body.ready.done():
            raise PeerTimeout(
                f"{redact_url(self._url)} answered neither 100 Continue nor an error for "
                f"{timeout:g} seconds; it may not know Expect: such a one wants no --relay-expect"
            )

    async def write(self, data: Buffer) -> None:
        """Write the next bytes; returns when the connection is ready for more.

        Raises EarlyResponse, PeerFailed.
        """
        if self._body.answered or self._open_request.done():
            raise EarlyResponse(await self._outcome())
        await self._send_rest()
        await self._write(self._body.push(data))

    async def write_block(self, data: Buffer) -> None:
        """As `write`, of a large buffer that is used again afterwards: nothing keeps a view of it.

        The kernel gets it here, without a copy. What a full socket does not take waits as a small
        copy in the transport. A body in chunks is written as ever, from a copy. Raises
        EarlyResponse, PeerFailed.
        """
        if self._body.length is None:
            await self.write(bytes(data))
            return
        at = 0
        with memoryview(data) as view:
            while at < len(view):
                if self._body.answered or self._open_request.done():
                    raise EarlyResponse(await self._outcome())
                await asyncio.sleep(0)
                if sent := await self._send_now(view[at : at + AT_ONCE]):
                    at += sent
                    continue
                piece = view[at : at + SEND_CHUNK]
                await self._write(self._body.push_beside(piece, counts=True))
                at += len(piece)

    async def _send_now(self, view: memoryview) -> int:
        """Returns the bytes that the kernel took at once: none below TLS. Raises EarlyResponse."""
        if (sock := self._body.plain_socket()) is None:
            return 0
        with closing(sock):
            try:
                sent = sock.send(view)
            except BlockingIOError:
                return 0
            except OSError:
                raise EarlyResponse(await self._outcome()) from None
        self._body.sent_by_thread(sent)
        return sent

    async def flush(self) -> None:
        """Give the connection what the last burst left. Raises EarlyResponse, PeerFailed."""
        await self._send_rest()

    async def _write(self, push: Coroutine[Any, Any, None]) -> None:
        self._blocked = asyncio.current_task()
        try:
            await push
        except asyncio.CancelledError:
            # `_wake` cancelled, because a response came while the peer took nothing. A second
            # cancellation is the caller's.
            if not self._woken or (self._blocked is not None and self._blocked.uncancel() > 0):
                raise
        except (OSError, RuntimeError):
            pass  # the connection is gone: the request knows why, or has the response
        else:
            return
        finally:
            self._blocked = None
        raise EarlyResponse(await self._outcome())

    async def draw(self, lent: LentConnection, update: Update, budget: Budget) -> bool:
        """Send what a thread receives on a lent connection in one burst.

        What the peer did not take of it waits in its block: whatever is sent next sends it first,
        from the event loop, so no thread waits for a peer that stalls. Returns False where no
        thread can send, or no block is free. Raises EarlyResponse, PeerFailed.
        """
        if self._body.answered or self._open_request.done():
            raise EarlyResponse(await self._outcome())
        began = time.monotonic()
        try:
            await self._send_rest()
        finally:
            lent.destination_wait = waited = time.monotonic() - began
        if (block := await budget.wait_for_block()) is None:
            return False
        if (sock := self._body.plain_socket()) is None:
            budget.release_block(block)
            return False
        with closing(sock):
            chunked, plentiful = self._body.length is None, budget.plentiful
            burst = SendingBurst(sock, block, chunked, plentiful)
            self._rest = _UnsentRest(burst, block, budget)
            async with lent.turn():
                await lent.in_thread(lambda: burst.run(lent, update))
        lent.destination_wait += waited
        self._body.sent_by_thread(burst.sent)
        if burst.broken:
            raise EarlyResponse(await self._outcome())
        if not burst.rest:
            await self._send_rest()  # which gives the block back
        self._from_file = self._from_file or burst.by_kernel
        if self._from_file and lent.ended:
            began = time.monotonic()
            await self.until_acknowledged()
            lent.destination_wait += time.monotonic() - began
        return True

    async def until_acknowledged(self) -> None:
        """Wait for the peer's kernel to have every byte that was written, or for a response.

        Of a file that our kernel sends, what a program writes into it until then is sent instead: a
        look whether the file is still the same would come too early. Raises PeerTimeout.
        """
        idle, before, since = self._transport.deadlines.idle, -1, time.monotonic()
        while (acknowledged := self.acknowledged) < self.handed and not self._open_request.done():
            if acknowledged != before:
                before, since = acknowledged, time.monotonic()
            elif time.monotonic() - since > idle:
                raise PeerTimeout(f"{redact_url(self._url)} took nothing for {idle:.0f} seconds")
            await asyncio.sleep(ACKNOWLEDGED_EVERY)
        self._from_file = False

    async def _send_rest(self) -> None:
        """Send what the last burst left."""
        rest, self._rest = self._rest, None
        if rest is None:
            return
        try:
            left = rest.burst.rest
            for behind, data in zip(range(len(left) - 1, -1, -1), left, strict=True):
                counts = behind == (1 if rest.burst.chunked else 0)  # in chunks, a CRLF is last
                await self._write(self._body.push_beside(data, counts=counts))
        finally:
            rest.release()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, which reads a source and writes; a response that comes first cancels it.

        Raises EarlyResponse, PeerFailed and what `work` raises.
        """
        request, working = self._open_request, asyncio.get_running_loop().create_task(work)
        try:
            await asyncio.wait({request, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return
        finally:
            await _stop(working)
        raise EarlyResponse(request.result())

    async def finish(self) -> Response:
        """Send the end of the body and return the response. Raises PeerFailed, PeerTimeout."""
        await self._send_rest()
        if not self._body.end.done():
            self._body.end.set_result(None)
        return await self._outcome()

    async def abort(self) -> None:
        """Break off: the peer sees a body that never ends. Safe at any time, also twice."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.release()
        request, self._request = self._request, None
        if request is not None:
            if not self._body.end.done():
                self._body.end.cancel()
            await _stop(request)

    @property
    def response(self) -> Response | None:
        """The response, if it has come. Raises PeerFailed when there will be none."""
        request = self._request
        if request is None or not request.done() or request.cancelled():
            return None
        return request.result()

    @property
    def connected(self) -> bool:
        """Whether a connection was made."""
        return self._body.is_connected

    @property
    def handed(self) -> int:
        """Bytes of the body that were given to the connection."""
        return self._body.handed

    @property
    def acknowledged(self) -> int:
        """Bytes of the body that the peer's kernel has."""
        return 0 if self._body.progress is None else self._body.progress.acknowledged

    @property
    def _open_request(self) -> asyncio.Task[Response]:
        if self._request is None:
            raise PeerFailed("The request to the destination was broken off already")
        return self._request

    async def _ask(self) -> Response:
        async with self._transport.ask(
            self._method, self._url, self._headers, self._body
        ) as response:
            return await response.read(MOST_RESPONSE)

    def _wake(self, _: object) -> None:
        if self._blocked is not None:
            self._woken = True
            self._blocked.cancel()

    async def _outcome(self) -> Response:
        """The response. The transport bounds the wait; a lost connection ends it."""
        request = self._open_request
        await asyncio.wait({request})
        if request.cancelled():
            raise PeerTimeout(f"{redact_url(self._url)} was given up")
        return request.result()


async def _stop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and give it LEAVE_TIMEOUT for its clean-up. Its error is dropped."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=LEAVE_TIMEOUT)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
