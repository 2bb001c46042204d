"""Our HTTP/1.1 protocol on uvicorn and httptools: what stock uvicorn loses, swallows for ever or never bounds.

Bytes that came before a hang-up reach the app; a body cut by a half-close is still answered; after an early refusal the rest
of the body is drained for so many bytes and seconds, then the connection closes; heads have a size and a deadline.
Optional: the app runs on any ASGI server. These classes extend uvicorn's internals, so its version is pinned.
"""

from __future__ import annotations

import asyncio
import json
import os
from http import HTTPStatus
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sluiceway.errors import BadRequest, HeadTooLarge, SluiceError, TooSlow
from sluiceway.server.departure import PROTOCOL, READER, left_for_good
from sluiceway.server.flow import Bell, Flow, Line
from sluiceway.server.sendfile import ZEROCOPY, Sending, until_written
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.problems import PROBLEM_TYPE, problem

__all__ = ["SluiceCycle", "SluiceProtocol"]

MOST_AHEAD = 16  # uploads of which 256 KiB are read while the app has as much in hand; for all it would be uncounted memory
LARGE = 64 << 10  # bytes of a piece that is worth a round of the app by itself; joining it would copy it once more
DRAIN_BYTES = 4 << 20  # bytes read and dropped after an early refusal; clients that look up before that see it
DRAIN_SECONDS = 2.0  # and for how long at most
HEAD_BYTES = 64 << 10  # request line and header fields, or whatever else is no body; nginx takes 32 KiB, h11 64
MOST_FRAMING = 16  # bytes of chunk heads a byte of body may cost: one-byte chunks cost 5, a flood of extensions thousands
HEAD_SECONDS = 20.0  # for a whole head to arrive (Slowloris)
EXTENSIONS: dict[str, dict[str, object]] = {ZEROCOPY: {}}  # one for all: a thousand slow uploads have a scope each


class SluiceCycle(RequestResponseCycle):
    """One request and its answer."""

    queue: list[bytes]  # body bytes in the pieces they came in, instead of a bytearray copied twice
    input_ended: bool  # no more bytes can come: the client closed its half
    body_told: bool  # the app has had the last message of the body

    ahead: ClassVar[set[object]] = set()  # of all cycles: who reads although the app does not wait

    def adopt(self) -> None:
        """Take over a cycle made by uvicorn."""
        self.message_event: Any = Bell()
        self.queue, self.input_ended, self.body_told = [], False, False
        if self.scope["http_version"] == "1.0":
            self.waiting_for_100_continue: bool = False  # RFC 9110 10.1.1: an older client would take the 100 for the answer

    async def receive(self) -> Any:
        self.ahead.discard(self)
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not self.queue and self.more_body and not (self.disconnected or self.input_ended or self.response_complete):
            self.message_event.clear()
            self.flow.resume_reading()
            await self.message_event.wait()
        if self.response_complete:
            return {"type": "http.disconnect"}
        if self.queue:
            body = self._next_piece()
            self.body_told = not (self.more_body or self.queue)
            if self.body_told:
                self.flow.resume_reading()  # to hear of a hang-up
            elif len(self.ahead) < MOST_AHEAD:
                self.ahead.add(self)
                self.flow.resume_reading()
            return {"type": "http.request", "body": body, "more_body": not self.body_told}
        if not self.more_body and not self.body_told:
            self.body_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.more_body:  # cut: the peer is gone, or will send no more
            return {"type": "http.disconnect"}
        while not (self.disconnected or self.response_complete):  # the whole body was told: the next news is the end
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def _next_piece(self) -> bytes:
        """A large piece as it came; small ones joined, because each costs the app a round."""
        if len(self.queue) == 1 or len(self.queue[0]) >= LARGE:
            return self.queue.pop(0)
        body = b"".join(self.queue)
        self.queue.clear()
        return body

    async def send(self, message: Any) -> None:
        if message["type"] == ZEROCOPY:
            await self._send_file(message)
            message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        if message["type"] == "http.response.start":
            if self.more_body:
                # Without this a client would send the rest of a terabyte to have its connection back.
                headers = [item for item in message.get("headers", []) if item[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and self.more_body:
            self.keep_alive = True  # uvicorn would close here; the protocol drains first and closes then
        await super().send(message)

    async def _send_file(self, message: Any) -> None:
        """ASGI's Zero Copy Send, for answers of a known length."""
        file = message["file"].fileno()
        at = message["offset"] if "offset" in message else os.lseek(file, 0, os.SEEK_CUR)
        count = message["count"] if "count" in message else os.fstat(file).st_size - at
        if count > self.expected_content_length:
            raise SluiceError("A file has more bytes than the answer's Content-Length says")
        try:
            await cast("SluiceProtocol", cast("dict[str, Any]", self.scope)[PROTOCOL]).send_file(file, at, count)
        except (ConnectionError, TimeoutError):
            self.disconnected = True
        self.expected_content_length -= count


class SluiceProtocol(HttpToolsProtocol):
    """One connection."""

    # 30 attributes fit into what objects of a class share, and uvicorn has 28: with ours each would get 1.5 KiB of its own
    __slots__ = (
        "_body_bytes",
        "_complaint",
        "_deaf",
        "_drained",
        "_draining",
        "_framing_bytes",
        "_head_bytes",
        "_head_deadline",
        "_head_ended",
        "_head_size",
        "_in_head",
        "_message_ended",
        "_mute_bytes",
        "_muted",
        "_passed_over",
        "_sending",
    )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.flow: Any = Flow(transport)
        self.pipeline: Any = Line()
        self._sending: Sending | None = None  # what the kernel sends by itself
        self._drained = 0
        self._draining: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of the head that is arriving
        self._head_size = 0  # of its whole lines
        self._head_deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._muted = False  # while a parser is told what we know already
        self._passed_over = b""  # framing of a body that the parser takes for the protocol of an Upgrade
        self._head_ended = self._message_ended = False  # by the bytes that came last
        self._body_bytes = 0
        self._framing_bytes = 0  # of this message, that are not its head and not its body
        self._mute_bytes = 0  # since the last that brought body, or ended a head or a message
        self._deaf = False  # what comes in is not understood any more; answers under way still go out
        self._complaint: SluiceError | None = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._draining, self._head_deadline):
            if timer is not None:
                timer.cancel()
        if self._sending is not None:
            self._sending.stop()
        SluiceCycle.ahead.discard(self.cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._draining is not None or self._deaf:
            self._drain(len(data))
            return
        if self._head_deadline is not None:
            self._head_bytes += len(data)
        elif self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body):
            self._head_bytes = len(data)
            self._await_head()
        body_before = self._body_bytes
        self._head_ended = self._message_ended = False
        self._unset_keepalive_if_required()
        self._parse(data)
        if not self._deaf:
            self._bound_framing(len(data), self._body_bytes - body_before)

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps our half open, as asyncio documents
        """The client closed its half. An upload, cut by that or whole, is answered; for the rest it is a hang-up."""
        cycle = cast("SluiceCycle | None", self.cycle)
        if self._draining is not None or cycle is None or cycle.response_complete:
            return False
        if cycle.more_body:
            cycle.input_ended = True
            cycle.message_event.set()
            self.loop.call_later(DRAIN_SECONDS * 5, self.transport.close)  # should the app never answer
            return True
        cycle.keep_alive = False
        # A reader that goes away closes both halves, and shall not keep a download or an event stream alive.
        return cycle.scope["method"] not in ("GET", "HEAD") and READER not in cycle.scope

    def shutdown(self) -> None:
        """The server stops. Whoever only waits for an upload to begin need not hold it up: the app hears it by its state."""
        stopping = self.app_state.get("sluiceway.stopping")
        if stopping is not None:
            stopping.set()
        super().shutdown()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self._muted:
            return
        super().on_message_begin()
        self._in_head, self._head_size = True, 0

    def on_url(self, url: bytes) -> None:
        if self._muted:
            return
        super().on_url(url)
        self._measure_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._muted or not self._in_head:
            return  # a trailer: merged with the head it would pass for a field that a proxy in front has checked
        super().on_header(name, value.strip(b" \t"))  # RFC 9110 5.5; httptools leaves what stands behind
        self._measure_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        if self._muted:
            return
        self._in_head, self._head_ended = False, True
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        self._check_head()
        if self.parser.should_upgrade():
            framing = [item for item in self.headers if item[0] in (b"content-length", b"transfer-encoding")]
            self._passed_over = b"".join(b"%s: %s\r\n" % item for item in framing if item[1] != b"0")
        if self.scheme == "http" and hasattr(os, "sendfile"):  # not below TLS
            cast("dict[str, Any]", self.scope)["extensions"] = EXTENSIONS
        super().on_headers_complete()
        if self.cycle is not None and type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = SluiceCycle
            cast("SluiceCycle", self.cycle).adopt()
            cast("dict[str, Any]", self.cycle.scope)[PROTOCOL] = self

    def client_left(self) -> bool:
        """Whether the client of the request under way is gone, also where reading is paused."""
        length = next((value for name, value in self.headers if name == b"content-length"), None)
        missing = None if length is None else ascii_uint(length) - self._body_bytes
        return left_for_good(self.transport.get_extra_info("socket"), missing)

    def on_message_complete(self) -> None:
        if self._passed_over:
            return  # it is not: the body comes
        self._message_ended = True
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle = cast("SluiceCycle", self.cycle)
        if cycle.response_complete:
            return
        cycle.queue.append(body)
        self.flow.pause_reading()  # until the app has taken it
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        cycle = self.cycle
        SluiceCycle.ahead.discard(cycle)
        unread = self._deaf or (cycle is not None and cycle.more_body)
        if not unread or self.transport.is_closing() or self.pipeline:
            super().on_response_complete()
            if self._in_head and self._head_deadline is None:
                self._head_bytes = 1  # half a head came while the answer was under way
                self._await_head()
            return
        # The answer is out, the client may still be sending: show it the end of our half and give it time to look.
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self._linger()

    # Our own

    async def send_file(self, file: int, at: int, count: int) -> None:
        """Raises ConnectionError and TimeoutError when the client is gone, TooSlow, StoreFailed."""
        await until_written(self.transport, self.flow.drain)
        if self.transport.is_closing():
            raise ConnectionResetError
        # A descriptor of its own: the loop knows the other as the transport's, and may close it while a thread sends.
        with self.transport.get_extra_info("socket").dup() as line:
            self._sending = Sending(line, file, at, count)
            try:
                await self._sending.run()
            except (ConnectionError, TimeoutError):
                self.transport.abort()
                raise
            finally:
                self._sending = None

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # We switch to no other protocol, and Upgrade may be ignored (RFC 9110 7.8). curl --http2 and Java's client
                # send it with uploads; httptools then takes the body for the other protocol's first bytes.
                data = data[upgrade.args[0] :]
                if self._passed_over:
                    self._take_up(self._passed_over)
            except httptools.HttpParserError:
                self._refuse(self._complaint or BadRequest("This is not well-formed HTTP; nothing of it was stored"))
                return

    def _take_up(self, framing: bytes) -> None:
        """Read on with a parser that never heard of an upgrade."""
        self.parser: Any = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._muted = True
        self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
        self._muted, self._passed_over = False, b""

    def _check_head(self) -> None:
        """What httptools lets pass and two servers in a row could read differently. Raises BadRequest."""
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in ("1.0", "1.1"):
            self._complain(BadRequest("This server speaks HTTP/1.1 and HTTP/1.0"))
        if names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
            self._complain(BadRequest("A request has exactly one Host (RFC 9112 3.2)"))
        if codings and (version == "1.0" or codings != [b"chunked"]):
            self._complain(BadRequest("The only Transfer-Encoding this server reads is chunked, in HTTP/1.1"))

    def _measure_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_BYTES:
            self._complain(_too_large())

    def _bound_framing(self, fed: int, body: int) -> None:
        """Half a head, chunk extensions, trailers: httptools takes them without end, and keeps most of it."""
        self._mute_bytes = 0 if body or self._head_ended or self._message_ended else self._mute_bytes + fed
        self._framing_bytes = 0 if self._head_ended else self._framing_bytes + fed - body
        if self._mute_bytes > HEAD_BYTES or self._framing_bytes > HEAD_BYTES + MOST_FRAMING * self._body_bytes:
            self._refuse(_too_large())

    def _complain(self, error: SluiceError) -> None:
        """Stop the parser from within its callback."""
        self._complaint = error
        raise error

    def _linger(self) -> None:
        """Show the client the end of our half and give it time to look, before the close that may throw the answer away."""
        self._draining = self.loop.call_later(DRAIN_SECONDS, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _drain(self, size: int) -> None:
        self._drained += size
        if self._drained > DRAIN_BYTES:
            self.flow.pause_reading()  # the timer closes; whoever reads before it sees the answer

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._head_deadline = None
        if self._head_bytes:
            self._refuse(TooSlow("The request's head did not arrive in time; send it again"))
        else:
            self.transport.close()

    def _refuse(self, error: SluiceError) -> None:
        """Understand nothing more. The request under way is answered by the app, none under way by us; then close."""
        self._deaf = True
        cycle = cast("SluiceCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            if cycle.more_body:
                cycle.input_ended = True
                cycle.message_event.set()
            return
        body = json.dumps(problem(error)).encode()
        fields = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        head = b"HTTP/1.1 %d %s\r\n" % (error.status, HTTPStatus(error.status).phrase.encode())
        self.transport.write(head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body)
        self._linger()


def _too_large() -> SluiceError:
    return HeadTooLarge(
        f"Header fields, chunk heads and trailers have at most {HEAD_BYTES >> 10} KiB; send less", limit=HEAD_BYTES
    )
