"""Our HTTP/1.1 protocol on uvicorn and httptools: it performs what `limits.py` decides.

Stock uvicorn loses bytes before a hang-up, answers no half-closed upload, closes over an early
refusal that its client has not read, and bounds neither heads nor pipelines. Optional: the app
runs on any ASGI server. These classes extend uvicorn's internals, so its version is pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sluiceway.errors import SluiceError, TooSlow, Unavailable
from sluiceway.pipe.descriptors import descriptor_of_its_own
from sluiceway.pipe.lending import LentSocket
from sluiceway.server.http1.connection_limit import Admission, ConnectionLimit
from sluiceway.server.http1.cycle import SluiceCycle
from sluiceway.server.http1.flow import FlowControl
from sluiceway.server.http1.head_limits import bare_refusal, body_length, framing_fields, unreadable
from sluiceway.server.http1.lending import lendable_bytes
from sluiceway.server.http1.limits import (
    BODY,
    CLOSED,
    CUT,
    HEAD,
    IDLE,
    LOST,
    PARSER_REPLACED,
    PARSER_WAITS,
    UPGRADE,
    Action,
    ConnectionLimits,
)
from sluiceway.server.http1.peer_gone import READER, hung_up, peer_disconnected, reset
from sluiceway.server.http1.request_scope import request_scope
from sluiceway.server.http1.sendfile import Sending, until_written
from sluiceway.server.http1.stalled_readers import StalledReaders
from sluiceway.server.http1.stopping import close_after, close_idle, leave

__all__ = ["SluiceProtocol"]

DRAIN_TIMEOUT = 2.0  # seconds to read and drop what comes behind the last response
HEAD_TIMEOUT = 20.0  # seconds for a whole head to arrive (Slowloris)

# One timer for all connections of a server.
_watches: WeakKeyDictionary[ServerState, StalledReaders] = WeakKeyDictionary()
_connection_limit = ConnectionLimit()


class SluiceProtocol(HttpToolsProtocol):
    """One connection."""

    # 30 attributes fit into what objects of a class share, and uvicorn has 28: with ours each
    # connection would get 1.5 KiB of its own.
    __slots__ = ("_drain_timer", "_head_timer", "_lent", "_limits", "_sending", "unread")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.flow: Any = FlowControl(transport)
        self.pipeline: Any = ()  # requests that came before their turn: `_limits` holds them
        self._limits = ConnectionLimits()
        self._sending: Sending | None = None  # what the kernel sends by itself
        self._lent: LentSocket | None = None  # what threads read by themselves
        self._head_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self.unread: tuple[int, float] | None = None
        if self.server_state not in _watches:
            _watches[self.server_state] = StalledReaders(cast("set[Any]", self.connections))
        _watches[self.server_state].start(self.loop)
        if self._fits(transport):
            self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.happens(LOST)
        self._stop_timers()
        if self._sending is not None:
            self._sending.stop()
        if self._lent is not None:
            self._lent.stop()
        self._limits.held.clear()
        SluiceCycle.ahead.discard(self.cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._run(self._limits.received(data))

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps our half open, as asyncio documents
        """The client closed its half. An upload, cut by that or complete, is still answered; any
        other request is given up."""
        reader = self.cycle is None or self._reads(self.cycle)
        self._perform(self._limits.input_ended(reader=reader))
        if self._limits.state is CUT:
            self.loop.call_later(DRAIN_TIMEOUT * 5, self.transport.close)  # if no answer comes
        return self._limits.state is not CLOSED

    def shutdown(self) -> None:
        if not leave(self):
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        close_idle(self)

    # What the watch over all connections asks

    def waits_for_reader(self) -> int:
        """While an answer is under way and the transport takes more, the app may add to it: then
        a size means nothing."""
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
        """While more is held than may be, nothing is read, and the end of the connection stands
        behind it."""
        if self.flow.full:
            reads = self.cycle is None or self._reads(self.cycle)
            if hung_up(self.transport.get_extra_info("socket"), half=reads):
                self.transport.abort()

    def drop(self) -> str:
        reset(self.transport)
        return self.client[0] if self.client else "a client"

    # httptools' callbacks. In PARSER_WAITS a new parser is given what we know already.

    def on_message_begin(self) -> None:
        if self._limits.state not in PARSER_WAITS:
            self._limits.message_began()
            self.url: bytes = b""
            self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        if self._limits.state not in PARSER_WAITS:
            self.url += url
            self._limits.url(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._limits.state in PARSER_WAITS:
            return
        # RFC 9110 5.5; httptools leaves the white space behind a value
        field = name.lower(), value.strip(b" \t")
        if self._limits.field(name, value, len(self.headers)):
            self.headers.append(field)
        elif self._limits.state is BODY:
            self.cycle.trailers.append(field)

    def on_headers_complete(self) -> None:
        limits, parser, headers = self._limits, self.parser, self.headers
        if limits.state in PARSER_WAITS:
            return
        version = parser.get_http_version()
        limits.check_head(version, headers)
        target, method = httptools.parse_url(self.url), parser.get_method()
        self.scope: Any = request_scope(self, target, method, version)
        self.cycle: Any = SluiceCycle(self.scope, self, keep_alive=parser.should_keep_alive())
        self.flow.reads_ahead = True
        task = self.loop.create_task(self.cycle.run(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        upgrade = parser.should_upgrade() and bool(framing_fields(headers))
        self._perform(limits.head_ended(upgrade=upgrade))

    def on_body(self, body: bytes) -> None:
        self._limits.body_bytes += len(body)
        cycle = self.cycle
        cycle.queue.append(body)
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._limits.state in PARSER_WAITS:
            return  # it is not: the body comes
        self._limits.message_ended()
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # What the cycle calls

    def on_response_complete(self) -> None:
        SluiceCycle.ahead.discard(self.cycle)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        action = self._limits.answered()
        if self._limits.state is IDLE:
            self.flow.resume_reading()
            close_after(self, self.timeout_keep_alive)
        self._perform(action)

    # What the app may ask, by the scope

    def client_left(self) -> bool:
        """Whether the client of the request under way is gone, also where reading is paused."""
        if self._lent is not None and self._lent.busy:
            return False  # the thread sees it, and only the thread knows what it has read
        # Below TLS, what the kernel has is not the body.
        length = body_length(self.headers) if self.scheme == "http" else None
        lent = 0 if self._lent is None else self._lent.taken
        return peer_disconnected(
            self.transport.get_extra_info("socket"),
            None if length is None else length - self._limits.body_bytes - lent,
        )

    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The fields behind the body of the request under way, once it is complete."""
        return cast("SluiceCycle", self.cycle).trailers

    def lend(self, handed_back: Callable[[int], None]) -> LentSocket | None:
        """Lend the connection for the middle of the body under way; None where that cannot be.

        `handed_back` hears how many bytes were taken.
        """
        cycle = self.cycle
        may = self.scheme == "http" and not self.transport.is_closing()
        most = lendable_bytes(self._limits.missing, cycle, self.flow) if may else 0
        sock = descriptor_of_its_own(self.transport.get_extra_info("socket")) if most else None
        if sock is None:
            return None
        SluiceCycle.ahead.discard(cycle)
        self._perform(self._limits.lend())

        def take_back(taken: int) -> None:
            handed_back(taken)
            self._take_back(taken)

        self._lent = LentSocket(sock, most, take_back)
        return self._lent

    async def send_file(self, file: int, at: int, count: int) -> None:
        """Send `count` bytes of an open file.

        Raises ConnectionError and TimeoutError when the client is gone, TooSlow, StoreFailed.
        """
        await until_written(self.transport, self.flow.drain)
        if self.transport.is_closing():
            raise ConnectionResetError
        # A descriptor of its own: the loop knows the other as the transport's, and may close it
        # while a thread sends.
        with self.transport.get_extra_info("socket").dup() as sock:
            self._sending = Sending(sock, file, at, count)
            try:
                await self._sending.run()
            except (ConnectionError, TimeoutError, TooSlow):
                reset(self.transport)
                raise
            finally:
                self._sending = None

    # Our own

    def _reads(self, cycle: SluiceCycle) -> bool:
        """Whether this is a reader: when it leaves it closes both halves, and then its download
        or event stream has to end."""
        return cycle.scope["method"] in ("GET", "HEAD") or READER in cycle.scope

    def _run(self, steps: Iterator[memoryview | Action]) -> None:
        for step in steps:
            if isinstance(step, Action):
                self._perform(step)
            else:
                self._parse(step)
        state = self._limits.state
        if state is HEAD:  # most heads come whole, and need no timer
            self._time_head()
        elif state is BODY and self.cycle.has_enough:
            self.flow.pause_reading()  # until the app has taken it

    def _parse(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We switch to no other protocol, and Upgrade may be ignored (RFC 9110 7.8). curl
            # --http2 and Java's client send it with uploads; httptools then takes the body for
            # the other protocol's first bytes.
            if self._limits.state is UPGRADE:
                self._replace_parser(framing_fields(self.headers))
        except httptools.HttpParserError as error:
            is_method = isinstance(error, httptools.HttpParserInvalidMethodError)
            self._refuse(unreadable(data if is_method else b""))

    def _replace_parser(self, framing: bytes) -> None:
        """Read the body, or its rest, with a parser that knows only the fields that frame it."""
        self.parser: Any = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
        self._limits.happens(PARSER_REPLACED)

    def _take_back(self, taken: int) -> None:
        """The parser reads on behind the bytes that threads took."""
        self._lent, self.flow.reads_ahead = None, True
        if missing := self._limits.handed_back(taken):
            self._replace_parser(b"content-length: %d\r\n" % missing)

    def _perform(self, action: Action) -> None:
        if action:
            _PERFORM[action](self)

    def _time_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._time_out)

    def _cut_body(self) -> None:
        self.cycle.input_ended, self.cycle.why_ended = True, self._limits.error
        self.cycle.message_event.set()

    def _answer_last(self) -> None:
        if not self._limits.held:
            self.cycle.keep_alive = False

    def _write_refusal(self) -> None:
        error = self._limits.error or SluiceError()
        asked = self.headers or ()  # None before the first request
        self.transport.write(bare_refusal(error, self.server_state.default_headers, asked))
        self._linger()

    def _pause_full(self) -> None:
        self.flow.pause_reading()
        self.flow.full = True

    def _close(self) -> None:
        self._stop_timers()
        self.transport.close()

    def _read_held(self) -> None:
        """The next of the requests that came before their turn, and the end behind the last."""
        if not self._limits.held:
            return
        self._unset_keepalive_if_required()
        self._run(self._limits.held_requests())
        self.flow.full = self._limits.full
        cycle = self.cycle
        if cycle.response_complete or not cycle.queue:  # else once the app has taken that
            self.flow.resume_reading()
        if self._limits.input_is_over and not self._limits.held:
            self.eof_received()

    def _refuse(self, error: SluiceError) -> None:
        self._perform(self._limits.refuse(error))

    def _linger(self) -> None:
        """Show the client the end of our half and give it time to look, before the close that may
        throw the answer away."""
        self._stop_timers()
        self._unset_keepalive_if_required()
        self._drain_timer = self.loop.call_later(DRAIN_TIMEOUT, self._time_out)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _fits(self, transport: asyncio.Transport) -> bool:
        """Whether there is room for this connection; else it is answered and closed."""
        sock = transport.get_extra_info("socket")
        admission = Admission.ACCEPT if sock is None else _connection_limit.admit(sock.fileno())
        if admission is Admission.ACCEPT:
            return True
        self._refuse(
            Unavailable("This server has as many connections as it can serve; try again later")
        )
        if admission is Admission.CLOSE:
            transport.close()
        return False

    def _time_out(self) -> None:
        self._stop_timers()
        self._perform(self._limits.timed_out())

    def _stop_timers(self) -> None:
        for timer in (self._drain_timer, self._head_timer):
            if timer is not None:
                timer.cancel()
        self._drain_timer = self._head_timer = None


_PERFORM: dict[Action, Callable[[SluiceProtocol], None]] = {
    Action.TIME_NO_HEAD: SluiceProtocol._stop_timers,
    Action.CUT_BODY: SluiceProtocol._cut_body,
    Action.LAST_ANSWER: SluiceProtocol._answer_last,
    Action.NEXT: SluiceProtocol._read_held,
    Action.REFUSE: SluiceProtocol._write_refusal,
    Action.LINGER: SluiceProtocol._linger,
    Action.PAUSE: lambda protocol: protocol.flow.pause_reading(),
    Action.PAUSE_FULL: SluiceProtocol._pause_full,
    Action.CLOSE: SluiceProtocol._close,
}
