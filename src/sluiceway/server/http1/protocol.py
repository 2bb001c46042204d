"""Our HTTP/1.1 protocol on uvicorn and httptools: what stock uvicorn loses, swallows for ever or never bounds.

Bytes that came before a hang-up reach the app; a body cut by a half-close is still answered; after an early refusal the rest
of the body is drained for so many bytes and seconds, then the connection closes; heads have a size and a deadline; one request is
parsed at a time. Optional: the app runs on any ASGI server. These classes extend uvicorn's internals, so its version is pinned.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sluiceway.errors import BadRequest, SluiceError, TooSlow, Unavailable
from sluiceway.server.http1.connection_limit import Admission, Crowd
from sluiceway.server.http1.cycle import SluiceCycle
from sluiceway.server.http1.flow import Flow, SmallDeque
from sluiceway.server.http1.head_limits import (
    HEAD_BYTES,
    FramingMeter,
    bare_refusal,
    body_length,
    check_fields,
    check_trailer,
    framing_fields,
    head_error,
    too_large,
)
from sluiceway.server.http1.message_end import MessageEnd
from sluiceway.server.http1.peer_gone import PROTOCOL, READER, hung_up, peer_disconnected, reset
from sluiceway.server.http1.sendfile import ZEROCOPY, Sending, until_written
from sluiceway.server.http1.stalled_readers import StalledReaders

__all__ = ["SluiceProtocol"]

DRAIN_BYTES = (
    4 << 20
)  # bytes read and dropped after an early refusal; clients that look up before that see it
DRAIN_SECONDS = 2.0  # and for how long at most
HEAD_SECONDS = 20.0  # for a whole head to arrive (Slowloris)
AHEAD_BYTES = (
    64 << 10
)  # of requests sent before the answer to the one before them; beyond it, and one read more, none are read
EXTENSIONS: dict[str, dict[str, object]] = {
    ZEROCOPY: {}
}  # one for all: a thousand slow uploads have a scope each

_watches: WeakKeyDictionary[ServerState, StalledReaders] = (
    WeakKeyDictionary()
)  # one timer for all connections of a server
_crowd = Crowd()


class SluiceProtocol(HttpToolsProtocol):
    """One connection."""

    # 30 attributes fit into what objects of a class share, and uvicorn has 28: with ours each would get 1.5 KiB of its own
    __slots__ = (
        "_ahead",
        "_body_bytes",
        "_complaint",
        "_deaf",
        "_drained",
        "_draining",
        "_end",
        "_half_closed",
        "_head_begun",
        "_head_deadline",
        "_head_size",
        "_in_head",
        "_meter",
        "_muted",
        "_passed_over",
        "_sending",
        "unread",
    )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.flow: Any = Flow(transport)
        self.pipeline: Any = SmallDeque()
        self._end = MessageEnd()
        self._meter = FramingMeter()
        self._ahead = bytearray()  # what came behind the request under way, as it came
        self._half_closed = False  # by the client, which may still wait for answers
        self._sending: Sending | None = None  # what the kernel sends by itself
        self._drained = 0
        self._draining: asyncio.TimerHandle | None = None
        self._head_begun = False
        self._head_size = 0  # of the whole lines of the head that is arriving
        self._head_deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._muted = False  # while a parser is told what we know already
        self._passed_over = (
            b""  # framing of a body that the parser takes for the protocol of an Upgrade
        )
        self._body_bytes = 0  # of this request
        self._deaf = (
            False  # what comes in is not understood any more; answers under way still go out
        )
        self._complaint: SluiceError | None = None
        self.unread: tuple[int, float] | None = None
        if self.server_state not in _watches:
            _watches[self.server_state] = StalledReaders(cast("set[Any]", self.connections))
        _watches[self.server_state].start(self.loop)
        if self._fits(transport):
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._draining, self._head_deadline):
            if timer is not None:
                timer.cancel()
        if self._sending is not None:
            self._sending.stop()
        self._ahead.clear()
        SluiceCycle.ahead.discard(self.cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._draining is not None or self._deaf:
            self._drain(len(data))
        elif self._answering():
            self._keep(data)
        else:
            self._unset_keepalive_if_required()
            self._read(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps our half open, as asyncio documents
        """The client closed its half. An upload, cut by that or whole, is answered; for the rest it is a hang-up."""
        self._half_closed = True
        cycle = cast("SluiceCycle | None", self.cycle)
        if self._draining is not None or cycle is None or cycle.response_complete:
            return False
        if cycle.more_body:
            cycle.input_ended = True
            cycle.message_event.set()
            self.loop.call_later(
                DRAIN_SECONDS * 5, self.transport.close
            )  # should the app never answer
            return True
        if self._reads(cycle):
            return False
        if not self._ahead:
            cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """The server stops. Whoever only waits for an upload to begin need not hold it up: the app hears it by its state."""
        stopping = self.app_state.get("sluiceway.stopping")
        if stopping is not None:
            stopping.set()
        super().shutdown()

    # What the watch over all connections asks

    def waits_for_reader(self) -> int:
        """While an answer is under way and the transport takes more, the app may add to it: then a size tells nothing."""
        adding = (
            self.cycle is not None
            and not self.cycle.response_complete
            and not self.flow.write_paused
        )
        return (
            0
            if adding and not self.transport.is_closing()
            else self.transport.get_write_buffer_size()
        )

    def look_for_leaving(self) -> None:
        """While more lies ahead than may be kept nothing is read, and the end of the connection stands behind it."""
        if self.flow.full:
            reads = self.cycle is None or self._reads(cast("SluiceCycle", self.cycle))
            if hung_up(self.transport.get_extra_info("socket"), half=reads):
                self.transport.abort()

    def drop(self) -> str:
        reset(self.transport)
        return self.client[0] if self.client else "a client"

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self._muted:
            return
        if self._answering():  # where a request ends we know from its head, and the parser knows better: believe neither
            self._complain(
                BadRequest(
                    "It cannot be told where this request ends; nothing of the next one was read"
                )
            )
        super().on_message_begin()
        self._in_head, self._head_size, self._body_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        if self._muted:
            return
        super().on_url(url)
        self._measure_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._muted:
            return
        try:
            if (
                not self._in_head
            ):  # merged with the head it would pass for a field that a proxy in front has checked
                check_trailer(name)
                return
            check_fields(len(self.headers) + 1)
        except SluiceError as error:
            self._complain(error)
        super().on_header(
            name, value.strip(b" \t")
        )  # RFC 9110 5.5; httptools leaves what stands behind
        self._measure_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        if self._muted:
            return
        self._in_head, self._meter.ended_head, self._head_begun = False, True, False
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        if (error := head_error(self.parser.get_http_version(), self.headers)) is not None:
            self._complain(error)
        self._end.expect_body(body_length(self.headers))
        if self.parser.should_upgrade():
            self._passed_over = framing_fields(self.headers)
        if self.scheme == "http" and hasattr(os, "sendfile"):  # not below TLS
            cast("dict[str, Any]", self.scope)["extensions"] = EXTENSIONS
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.__class__ = SluiceCycle
        cycle.adopt()
        cycle.scope[PROTOCOL] = self
        super()._start_asgi_task(cycle, app)

    def client_left(self) -> bool:
        """Whether the client of the request under way is gone, also where reading is paused."""
        length = body_length(self.headers)
        return peer_disconnected(
            self.transport.get_extra_info("socket"),
            None if length is None else length - self._body_bytes,
        )

    def on_message_complete(self) -> None:
        if self._passed_over:
            return  # it is not: the body comes
        self._meter.ended_message = True
        self._end.expect_head()
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
        if unread and not self.transport.is_closing():
            # The answer is out, the client may still be sending: show it the end of our half and give it time to look.
            self.server_state.total_requests += 1
            self._unset_keepalive_if_required()
            self._linger()
            return
        super().on_response_complete()
        if self._ahead and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._read_ahead()

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
            except (ConnectionError, TimeoutError, TooSlow):
                reset(self.transport)
                raise
            finally:
                self._sending = None

    def _answering(self) -> bool:
        """Whether a whole request is being answered: what comes now belongs to the next."""
        return self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete)

    def _reads(self, cycle: SluiceCycle) -> bool:
        """Whether this is a reader: when it leaves it closes both halves, and then no download or event stream lives on."""
        return cycle.scope["method"] in ("GET", "HEAD") or READER in cycle.scope

    def _read(self, data: bytes) -> None:
        """Parse up to the end of a request; the rest waits for its answer."""
        start = 0
        while start < len(data) and not self._deaf:
            if self._answering():
                self._keep(data[start:])
                return
            stop = self._end.within(data, start)
            self._step(data if stop - start == len(data) else data[start:stop])
            start = stop

    def _keep(self, data: bytes) -> None:
        self._ahead += data
        if len(self._ahead) > AHEAD_BYTES:
            self.flow.pause_reading()
            self.flow.full = True

    def _read_ahead(self) -> None:
        """The next of the requests that came before their turn."""
        while self._ahead and not (self._deaf or self._answering()):
            stop = self._end.within(self._ahead, 0)
            data = bytes(self._ahead[:stop])
            del self._ahead[:stop]
            self._step(data)
        self.flow.full = len(self._ahead) > AHEAD_BYTES
        if (
            self.cycle.response_complete or not cast("SluiceCycle", self.cycle).queue
        ):  # else once the app has taken that
            self.flow.resume_reading()
        if self._half_closed and not self._ahead and not self.eof_received():
            self.transport.close()

    def _step(self, data: bytes) -> None:
        """Parse a piece that ends no later than the head or the body it belongs to."""
        if self._end.in_head and not self._head_begun:
            self._head_begun = True
            if self._head_deadline is None:
                self._await_head()
        body = self._body_bytes
        self._meter.begin()
        self._parse(data)
        if not self._deaf and self._meter.beyond(
            len(data), max(0, self._body_bytes - body), self._body_bytes
        ):
            self._refuse(too_large())

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We switch to no other protocol, and Upgrade may be ignored (RFC 9110 7.8). curl --http2 and Java's client
            # send it with uploads; httptools then takes the body for the other protocol's first bytes.
            if self._passed_over:
                self._take_up(self._passed_over)
        except httptools.HttpParserError:
            self._refuse(
                self._complaint
                or BadRequest("This is not well-formed HTTP; nothing of it was stored")
            )

    def _take_up(self, framing: bytes) -> None:
        """Read on with a parser that never heard of an upgrade."""
        self.parser: Any = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._muted = True
        self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
        self._muted, self._passed_over = False, b""

    def _measure_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_BYTES:
            self._complain(too_large())

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

    def _fits(self, transport: asyncio.Transport) -> bool:
        """Whether there is room for this connection; else it is answered and closed."""
        sock = transport.get_extra_info("socket")
        admission = Admission.IN if sock is None else _crowd.admit(sock.fileno())
        if admission is Admission.IN:
            return True
        self._refuse(
            Unavailable("This server has as many connections as it can serve; try again later")
        )
        if admission is Admission.FULL:
            transport.close()
        return False

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._head_deadline = None
        if self._head_begun:
            self._refuse(TooSlow("The request's head did not arrive in time; send it again"))
        else:
            self.transport.close()

    def _refuse(self, error: SluiceError) -> None:
        """Understand nothing more. The request under way is answered by the app, none under way by us; then close."""
        self._deaf = True
        self._ahead.clear()
        cycle = cast("SluiceCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            if cycle.more_body:
                cycle.input_ended, cycle.why_ended = True, error
                cycle.message_event.set()
            return
        self.transport.write(bare_refusal(error, self.server_state.default_headers))
        self._linger()
