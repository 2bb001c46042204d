"""The transition table of a connection, tested at every byte, for requests and answers.

No sockets: the real HTTP parser runs beside the real limits, as the protocol joins them.
"""

from __future__ import annotations

from collections.abc import Iterator

import httptools
import pytest

from raw_http import LAST_CHUNK, chunk, chunked, head
from sluiceway.errors import BadRequest, SluiceError
from sluiceway.server.http1.head_limits import HEAD_BYTES, framing_fields
from sluiceway.server.http1.limits import (
    AHEAD_BYTES,
    DRAIN_BYTES,
    TRANSITIONS,
    Action,
    ConnectionLimits,
)
from sluiceway.server.http1.limits import ConnectionEvent as Event
from sluiceway.server.http1.limits import ConnectionState as State

UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")
GET = head("GET", "/")
PUT = head("PUT", "/a", "Content-Length: 5") + b"hello"
EMPTY = head("PUT", "/b", "Content-Length: 0")
BLANKS = b"a\r\n\r\n0\r\n\r\n"  # looks like the end of chunks, and of a head
CHUNKED = head("PUT", "/c", "Transfer-Encoding: chunked") + chunk(b"he") + chunked(BLANKS, 3)
EXTENDED = (
    head("PUT", "/d", "Transfer-Encoding: chunked")
    + b"5;name=value\r\nhello\r\n000;last\r\nX-Trailer: y\r\nZ: w\r\n\r\n"
)
OFFERED = head("PUT", "/e", "Content-Length: 5", *UPGRADE) + b"hello"
OFFERED_CHUNKS = head("PUT", "/f", "Transfer-Encoding: chunked", *UPGRADE) + chunked(b"hello", 2)

PIPELINES: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    "reads": (GET * 3, [(b"GET", b"")] * 3),
    "a length": (PUT + GET, [(b"PUT", b"hello"), (b"GET", b"")]),
    "no length": (EMPTY + PUT, [(b"PUT", b""), (b"PUT", b"hello")]),
    "chunks": (CHUNKED + GET, [(b"PUT", b"he" + BLANKS), (b"GET", b"")]),
    "extensions and trailers": (EXTENDED + PUT, [(b"PUT", b"hello"), (b"PUT", b"hello")]),
    "an upgrade": (OFFERED + GET, [(b"PUT", b"hello"), (b"GET", b"")]),
    "an upgrade with chunks": (OFFERED_CHUNKS + GET, [(b"PUT", b"hello"), (b"GET", b"")]),
    "blank lines between": (b"\r\n" + GET + b"\r\n\r\n" + PUT, [(b"GET", b""), (b"PUT", b"hello")]),
}


class Connection:
    """The limits and the parser of one connection; the app answers when the test asks it to."""

    def __init__(self) -> None:
        self.limits = ConnectionLimits()
        self.parser = httptools.HttpRequestParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.requests: list[tuple[bytes, bytes]] = []  # the complete ones
        self.actions: list[Action] = []
        self.body = b""
        self.parsed = 0  # bytes given to the parser
        self.eager = False  # the app answers each request as soon as it is whole

    @property
    def state(self) -> State:
        return self.limits.state

    def send(self, *pieces: bytes) -> Connection:
        for piece in pieces:
            self._run(self.limits.received(piece))
            while self.eager and self.state is State.ANSWER:
                self.answer()
        return self

    def answer(self) -> Action:
        action = self.limits.answered()
        self.actions.append(action)
        if action is Action.NEXT:
            self._run(self.limits.held_requests())
        return action

    def half_close(self, *, reader: bool = False) -> Action:
        self.actions.append(action := self.limits.input_ended(reader=reader))
        return action

    def _run(self, steps: Iterator[memoryview | Action]) -> None:
        for step in steps:
            if isinstance(step, Action):
                self.actions.append(step)
                continue
            self.parsed += len(step)
            try:
                self.parser.feed_data(step)
            except httptools.HttpParserUpgrade:
                if self.state is State.UPGRADE:
                    self.parser = httptools.HttpRequestParser(self)
                    framing = framing_fields(self.headers)
                    self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
                    self.limits.happens(Event.PARSER_REPLACED)
            except httptools.HttpParserError:
                self.actions.append(self.limits.refuse(BadRequest("not HTTP")))

    # The parser's callbacks, as in the protocol

    def on_message_begin(self) -> None:
        if self.state is not State.UPGRADE:
            self.limits.message_began()
            self.headers, self.body = [], b""

    def on_url(self, url: bytes) -> None:
        if self.state is not State.UPGRADE:
            self.limits.url(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state is not State.UPGRADE and self.limits.field(name, value, len(self.headers)):
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.state is not State.UPGRADE:
            self.limits.check_head(self.parser.get_http_version(), self.headers)
            upgrade = self.parser.should_upgrade() and bool(framing_fields(self.headers))
            self.limits.head_ended(upgrade=upgrade)

    def on_body(self, body: bytes) -> None:
        assert self.state is State.BODY
        self.limits.body_bytes += len(body)
        self.body += body

    def on_message_complete(self) -> None:
        if self.state is not State.UPGRADE:
            self.limits.message_ended()
            self.requests.append((self.parser.get_method(), self.body))


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Every split into two pieces, and into single bytes."""
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("eager", [True, False], ids=["answered at once", "answered at the end"])
@pytest.mark.parametrize("name", PIPELINES)
def test_every_split_gives_the_same_requests(name: str, eager: bool) -> None:
    """One request at a time reaches the parser; the next one waits for its response."""
    data, requests = PIPELINES[name]
    for pieces in cuts(data):
        connection = Connection()
        connection.eager = eager
        connection.send(*pieces)
        if not eager:
            assert connection.state is State.ANSWER
            assert connection.requests == requests[:1]
            assert connection.parsed + len(connection.limits.held) == len(data)
            while connection.state is State.ANSWER:
                assert connection.answer() is Action.NEXT

        assert (connection.requests, connection.state) == (requests, State.IDLE), pieces
        assert connection.parsed == len(data)
        assert set(connection.actions) <= {Action.NOTHING, Action.NEXT}


@pytest.mark.parametrize("name", PIPELINES)
def test_an_answer_may_come_at_every_byte(name: str) -> None:
    """A response within the body is early: the server drops the rest of the body.

    Before the end of the head no response is possible; after the request the next one follows.
    """
    data, requests = PIPELINES[name]
    states = set()
    for at in range(len(data) + 1):
        connection = Connection().send(data[:at])
        states.add(connection.state)
        if connection.state in (State.IDLE, State.HEAD):
            with pytest.raises(SluiceError, match="does not know ANSWERED"):
                connection.answer()
        elif connection.state is State.BODY:
            parsed = connection.parsed
            assert connection.answer() is Action.LINGER
            connection.send(data[at:])
            assert (connection.state, connection.requests) == (State.DRAIN, [])
            assert connection.parsed == parsed
        else:
            assert connection.answer() is Action.NEXT
            connection.eager = True
            connection.send(data[at:])
            while connection.state is State.ANSWER:
                connection.answer()
            assert (connection.requests, connection.state) == (requests, State.IDLE)
    assert {State.HEAD, State.ANSWER} <= states <= {*State} - {State.CUT, State.MUTE, State.DRAIN}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_client_may_close_its_half_at_every_byte(name: str) -> None:
    """Without a request the connection closes; a truncated body and a request are answered."""
    data, _ = PIPELINES[name]
    expected = {
        State.IDLE: (Action.CLOSE, State.CLOSED),
        State.HEAD: (Action.CLOSE, State.CLOSED),
        State.BODY: (Action.CUT_BODY, State.CUT),
        State.ANSWER: (Action.LAST_ANSWER, State.ANSWER),
    }
    for at in range(len(data) + 1):
        connection = Connection().send(data[:at])
        before = connection.state
        assert (connection.half_close(), connection.state) == expected[before]
        if before is State.BODY:
            assert connection.limits.error is None
            assert connection.answer() is Action.LINGER

        reader = Connection().send(data[:at])
        assert (reader.half_close(reader=True) is Action.CLOSE) == (before is not State.BODY)


REFUSED: dict[str, tuple[bytes, str, State]] = {
    "no HTTP": (b"nonsense\r\n\r\n", "bad-request", State.DRAIN),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad-request", State.DRAIN),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", "bad-request", State.DRAIN),
    "many fields": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * 128 + b"\r\n",
        "head-too-large",
        State.DRAIN,
    ),
    "a digest in a trailer": (
        head("PUT", "/", "Transfer-Encoding: chunked") + b"0\r\nDigest: sha-256=x\r\n\r\n",
        "bad-digest",
        State.CUT,
    ),
    "no chunk": (
        head("PUT", "/", "Transfer-Encoding: chunked") + b"xyz\r\n\r\n",
        "bad-request",
        State.CUT,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_split_is_refused_alike(name: str) -> None:
    """Nothing behind the error is parsed. We answer a bad head, the app answers a bad body."""
    data, code, state = REFUSED[name]
    for pieces in cuts(data + GET):
        connection = Connection().send(*pieces)

        assert connection.state is state, pieces
        assert connection.limits.error is not None
        assert connection.limits.error.code == code
        assert connection.requests == []
        assert (Action.REFUSE in connection.actions) == (state is State.DRAIN)
        assert (Action.CUT_BODY in connection.actions) == (state is State.CUT)
        if state is State.CUT:
            assert connection.half_close() is Action.NOTHING
            assert connection.answer() is Action.LINGER


def test_a_refusal_behind_a_complete_request_waits_for_its_answer() -> None:
    """The app's response is sent first; bytes that arrive meanwhile are neither held nor parsed."""
    connection = Connection().send(PUT)
    assert connection.limits.refuse(SluiceError()) is Action.NOTHING
    connection.send(GET)

    assert (connection.state, bytes(connection.limits.held)) == (State.MUTE, b"")
    assert connection.requests == [(b"PUT", b"hello")]
    assert connection.answer() is Action.LINGER


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y" * 999),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: " + b"y" * 994 + b"\r\n"),
        (b"GET /", b"y" * 999),
        (head("PUT", "/", "Transfer-Encoding: chunked") + b"5;", b"y" * 999),
        (head("PUT", "/", "Transfer-Encoding: chunked") + b"0\r\n", b"X: " + b"y" * 994 + b"\r\n"),
        (head("PUT", "/", "Transfer-Encoding: chunked"), b"1;" + b"y" * 992 + b"\r\nz\r\n"),
    ],
    ids=["field", "fields", "target", "extension", "trailers", "extensions"],
)
def test_a_flood_is_refused(begun: bytes, more: bytes) -> None:
    """Soon after 64 KiB that are not body, in pieces of 1,000 bytes."""
    connection = Connection().send(begun)
    sent = 0
    while connection.limits.error is None:
        connection.send(more)
        sent += len(more)
        assert sent < 2 * HEAD_BYTES

    assert connection.limits.error.code == "head-too-large"
    assert sent > HEAD_BYTES - 2000


def test_chunks_of_one_byte_are_accepted() -> None:
    """They cost five more bytes for each byte of body."""
    connection = Connection().send(head("PUT", "/", "Transfer-Encoding: chunked"))
    connection.send(*[chunk(b"x")] * 50_000, LAST_CHUNK)

    assert connection.requests == [(b"PUT", b"x" * 50_000)]


def test_held_and_dropped_bytes_have_a_bound() -> None:
    """Beyond the bound the server stops reading; a response frees the space of a held request."""
    connection = Connection().send(PUT)
    while Action.PAUSE_FULL not in connection.actions:
        assert len(connection.limits.held) <= AHEAD_BYTES
        connection.send(GET)
    while connection.limits.full:
        connection.answer()
    assert connection.limits.held

    refused = Connection().send(b"nonsense\r\n\r\n")
    sent = 0
    while Action.PAUSE not in refused.actions:
        refused.send(bytes(100_000))
        sent += 100_000
    assert DRAIN_BYTES < sent <= DRAIN_BYTES + 200_000


def test_a_deadline_closes_or_refuses() -> None:
    """408 within a head; before a head and after the last response the connection just closes."""
    silent, begun = Connection(), Connection().send(GET[:5])
    assert (silent.limits.timed_out(), silent.state) == (Action.CLOSE, State.CLOSED)
    assert (begun.limits.timed_out(), begun.state) == (Action.REFUSE, State.DRAIN)
    assert begun.limits.error is not None
    assert begun.limits.error.code == "too-slow"
    assert (begun.limits.timed_out(), begun.state) == (Action.CLOSE, State.CLOSED)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_step_is_in_the_table_or_impossible(state: State, event: Event) -> None:
    """No other event changes the state."""
    limits = ConnectionLimits()
    limits.state = state
    if (state, event) in TRANSITIONS:
        after, action = TRANSITIONS[state, event]
        assert (limits.happens(event), limits.state) == (action, after)
    else:
        with pytest.raises(SluiceError, match=f"{state.name} does not know {event.name}"):
            limits.happens(event)
        assert limits.state is state


def test_every_state_is_reached_and_left() -> None:
    """Every state is reached from IDLE; only CLOSED is final."""
    reached = {State.IDLE}
    for _ in State:
        reached |= {after for (state, _), (after, _) in TRANSITIONS.items() if state in reached}

    assert reached == set(State)
    assert {state for (state, _), (after, _) in TRANSITIONS.items() if after is not state} == (
        set(State) - {State.CLOSED}
    )
