"""What one connection may do next, as a table: (state, event) -> (next state, action).

Sans-IO. It sees the bytes that came, what the HTTP parser makes of them, and the end of each
answer; it decides which bytes are parsed, held or dropped, what is refused, and when to close.
It must not know sockets, timers or uvicorn: `protocol.py` performs the actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from sluiceway.errors import BadRequest, SluiceError, TooSlow
from sluiceway.server.http1.head_limits import (
    HEAD_BYTES,
    MOST_FIELDS,
    Fields,
    announced_digests,
    body_length,
    check_fields,
    check_trailer,
    head_error,
    too_large,
)
from sluiceway.server.http1.message_end import MessageEnd

__all__ = [
    "AHEAD_BYTES",
    "DRAIN_BYTES",
    "MOST_FRAMING",
    "PARSER_WAITS",
    "TRANSITIONS",
    "Action",
    "ConnectionEvent",
    "ConnectionLimits",
    "ConnectionState",
]

# Bytes dropped after an early refusal. Clients that look up before that see the answer.
DRAIN_BYTES = 4 << 20
# Bytes of requests that may come before the answer to the one before them. Beyond them, and one
# more read, nothing is read.
AHEAD_BYTES = 64 << 10
# Bytes of chunk heads that each byte of body may cost. Chunks of one byte cost 5, a flood of
# extensions thousands.
MOST_FRAMING = 16


class ConnectionState(IntEnum):
    """Where a connection stands."""

    IDLE = 0  # no byte of the next request has come
    HEAD = 1  # a head is arriving
    UPGRADE = 2  # the head asks for another protocol; the parser is replaced before the body
    BODY = 3  # a body, with its chunk heads and trailers, is arriving; the app may answer already
    ANSWER = 4  # the request is complete, its answer is not: what comes is held
    CUT = 5  # the body ended too early and the app knows it; what comes is dropped
    MUTE = 6  # as ANSWER, but what came behind the request was refused and is dropped
    DRAIN = 7  # the last answer is out and our half is closed; what comes is dropped
    CLOSED = 8
    LENT = 9  # threads read the body; the parser is replaced before what they leave


class ConnectionEvent(IntEnum):
    """What can happen to a connection."""

    HEAD_BEGAN = 0  # the first byte of a request
    HEAD_ENDED = 1
    UPGRADE_ASKED = 2  # the head ended and asks for another protocol, and a body follows it
    PARSER_REPLACED = 3
    MESSAGE_ENDED = 4  # the last byte of a request
    ANSWERED = 5  # the last byte of an answer was written
    REFUSED = 6  # what came is not acceptable
    INPUT_ENDED = 7  # the client closed its half and may wait for an answer
    READER_LEFT = 8  # the same, of a request whose client closes a half only when it leaves
    TIMED_OUT = 9
    LOST = 10  # both halves are closed
    LENDING = 11  # threads begin to read the body


class Action(IntEnum):
    """What the protocol does now."""

    NOTHING = 0
    TIME_NO_HEAD = 1  # stop the deadline of a head
    CUT_BODY = 2  # tell the app that the body ends here, and why
    LAST_ANSWER = 3  # close after the answer under way, unless requests are held behind it
    NEXT = 4  # go on with the requests that are held
    REFUSE = 5  # write the refusal, then linger
    LINGER = 6  # close our half, and the connection a little later
    PAUSE = 7  # stop reading: enough was dropped
    PAUSE_FULL = 8  # stop reading until a held request was used
    CLOSE = 9


# By themselves, because an attribute of an enum takes half a microsecond (Python 3.11).
IDLE, HEAD, UPGRADE, BODY, ANSWER, CUT, MUTE, DRAIN, CLOSED, LENT = ConnectionState
(
    HEAD_BEGAN,
    HEAD_ENDED,
    UPGRADE_ASKED,
    PARSER_REPLACED,
    MESSAGE_ENDED,
    ANSWERED,
    REFUSED,
    INPUT_ENDED,
    READER_LEFT,
    TIMED_OUT,
    LOST,
    LENDING,
) = ConnectionEvent

TRANSITIONS: Final[
    dict[tuple[ConnectionState, ConnectionEvent], tuple[ConnectionState, Action]]
] = {
    (IDLE, HEAD_BEGAN): (HEAD, Action.NOTHING),
    (IDLE, REFUSED): (DRAIN, Action.REFUSE),
    (IDLE, INPUT_ENDED): (CLOSED, Action.CLOSE),
    (IDLE, TIMED_OUT): (CLOSED, Action.CLOSE),
    (HEAD, HEAD_ENDED): (BODY, Action.TIME_NO_HEAD),
    (HEAD, UPGRADE_ASKED): (UPGRADE, Action.TIME_NO_HEAD),
    (HEAD, REFUSED): (DRAIN, Action.REFUSE),
    (HEAD, INPUT_ENDED): (CLOSED, Action.CLOSE),
    (HEAD, TIMED_OUT): (DRAIN, Action.REFUSE),
    (UPGRADE, PARSER_REPLACED): (BODY, Action.NOTHING),
    (BODY, MESSAGE_ENDED): (ANSWER, Action.NOTHING),
    (BODY, ANSWERED): (DRAIN, Action.LINGER),
    (BODY, REFUSED): (CUT, Action.CUT_BODY),
    (BODY, INPUT_ENDED): (CUT, Action.CUT_BODY),
    (BODY, LENDING): (LENT, Action.PAUSE),
    (LENT, PARSER_REPLACED): (BODY, Action.NOTHING),
    (LENT, ANSWERED): (DRAIN, Action.LINGER),
    (LENT, INPUT_ENDED): (CUT, Action.CUT_BODY),
    (ANSWER, ANSWERED): (IDLE, Action.NEXT),
    (ANSWER, REFUSED): (MUTE, Action.NOTHING),
    (ANSWER, INPUT_ENDED): (ANSWER, Action.LAST_ANSWER),
    (ANSWER, READER_LEFT): (CLOSED, Action.CLOSE),
    (CUT, ANSWERED): (DRAIN, Action.LINGER),
    (CUT, INPUT_ENDED): (CUT, Action.NOTHING),
    (MUTE, ANSWERED): (DRAIN, Action.LINGER),
    (MUTE, INPUT_ENDED): (MUTE, Action.LAST_ANSWER),
    (MUTE, READER_LEFT): (CLOSED, Action.CLOSE),
    (DRAIN, INPUT_ENDED): (CLOSED, Action.CLOSE),
    (DRAIN, TIMED_OUT): (CLOSED, Action.CLOSE),
    (CLOSED, INPUT_ENDED): (CLOSED, Action.CLOSE),  # below TLS a close takes a while
    **{(state, LOST): (CLOSED, Action.NOTHING) for state in ConnectionState},
}
_READING = frozenset({IDLE, HEAD, BODY})  # states in which the parser gets bytes
# The parser gets no byte of the client's: it is replaced, and hears what is known already.
PARSER_WAITS = frozenset({UPGRADE, LENT})
_ANSWERING = frozenset({ANSWER, MUTE})
_REFUSABLE = _READING | {ANSWER}


class ConnectionLimits:
    """Gets everything that happens to one connection, and says what to do.

    The parser's callbacks (`message_began` to `message_ended`) raise what they refuse; whoever
    runs the parser stops it then and calls `refuse`. A pair that is not in the table is a bug
    here, and raises SluiceError.
    """

    __slots__ = (
        "_announced",
        "_dropped",
        "_end",
        "_head_size",
        "_overhead",
        "_unproductive",
        "body_bytes",
        "error",
        "held",
        "input_is_over",
        "state",
    )

    def __init__(self) -> None:
        self.state: ConnectionState = IDLE
        self.held: bytearray = bytearray()  # what came behind the request under way
        self.error: SluiceError | None = None  # why something was refused
        self.input_is_over: bool = False  # the client closed its half
        self.body_bytes: int = 0  # of the request under way, so far
        self._end = MessageEnd()
        self._announced: frozenset[bytes] = frozenset()  # digests that come as trailers
        self._dropped = 0
        self._head_size = 0  # of the complete lines of the head that is arriving
        self._overhead = 0  # bytes of the request under way that are neither its head nor its body
        self._unproductive = 0  # bytes since the last that brought body, or ended a head or body

    @property
    def full(self) -> bool:
        """Whether so much is held that nothing more may be read."""
        return len(self.held) > AHEAD_BYTES

    # What comes from the client

    def received(self, data: bytes) -> Iterator[memoryview | Action]:
        """Pieces for the parser, none beyond the end of a head or body, and actions, in turn.

        Each has to be dealt with before the next is asked for: the state may change meanwhile.
        """
        at, view = 0, memoryview(data)
        while at < len(data) and self.state in _READING:
            if self.state is IDLE:
                self.happens(HEAD_BEGAN)
            stop = self._end.within(data, at)
            state, body = self.state, self.body_bytes
            yield view[at:stop]
            if self.body_bytes - body == stop - at:
                self._unproductive = 0  # nothing but body
            elif self._costs_too_much(stop - at, self.body_bytes - body, state):
                yield self.refuse(too_large())
            at = stop
        if at == len(data):
            return
        if self.state is ANSWER:
            self.held += data[at:]
            if self.full:
                yield Action.PAUSE_FULL
            return
        self._dropped += len(data) - at
        if self._dropped > DRAIN_BYTES:
            yield Action.PAUSE  # a timer closes; who reads before that sees the answer

    def held_requests(self) -> Iterator[memoryview | Action]:
        """As `received`, of what is held, up to the end of the next request."""
        data = bytes(self.held)
        self.held.clear()
        yield from self.received(data)

    def input_ended(self, *, reader: bool) -> Action:
        """The client closed its half, and what it sent before is no longer held.

        `reader`: a client that closes both halves when it leaves, as of a download.
        """
        self.input_is_over = True
        if reader and self.state in _ANSWERING:
            return self.happens(READER_LEFT)
        return self.happens(INPUT_ENDED)

    def answered(self) -> Action:
        """The last byte of an answer was written."""
        return self.happens(ANSWERED)

    def timed_out(self) -> Action:
        """The deadline of a head, or of the bytes behind the last answer, has passed."""
        self.error = TooSlow("The request's head did not arrive in time; send it again")
        return self.happens(TIMED_OUT)

    # What threads read of a body

    @property
    def missing(self) -> int | None:
        """Bytes of the body under way that were not parsed; None where its length is unknown."""
        return self._end.missing if self.state in (BODY, LENT) else None

    def lend(self) -> Action:
        """Threads read the body from here."""
        return self.happens(LENDING)

    def handed_back(self, taken: int) -> int:
        """Threads took `taken` bytes. Returns how many the parser takes up; 0 if it does not."""
        self.body_bytes += taken
        self._end.skip(taken)
        return self.missing or 0 if self.state is LENT else 0

    # What the parser finds

    def message_began(self) -> None:
        """Raises BadRequest where a second request begins inside the first.

        The end of a request is known here from its head, and to the parser from its bytes. Where
        the two differ, neither is believed.
        """
        if self.state is ANSWER:
            raise self._complain(
                BadRequest("The end of this request is ambiguous; nothing of the next one was read")
            )
        self._head_size = self.body_bytes = 0

    def url(self, size: int) -> None:
        """`size` bytes of the request's target. Raises HeadTooLarge."""
        self._head_size += size
        if self._head_size > HEAD_BYTES:
            raise self._complain(too_large())

    def field(self, name: bytes, value: bytes, before: int) -> bool:
        """A field line, after `before` others; whether it belongs to the head.

        A trailer does not: merged with the head it would pass for a field that a proxy in front
        has checked. Raises HeadTooLarge, BadDigest.
        """
        if self.state is HEAD:
            self._head_size += len(name) + len(value) + 4
            if before < MOST_FIELDS and self._head_size <= HEAD_BYTES:
                return True
        try:
            if self.state is not HEAD:
                if name.lower() not in self._announced:
                    check_trailer(name)
                return False
            check_fields(before + 1)
            raise too_large()
        except SluiceError as error:
            raise self._complain(error) from None

    def check_head(self, version: str, fields: Fields) -> None:
        """The head is complete. Raises BadRequest."""
        if (error := head_error(version, fields)) is not None:
            raise self._complain(error)
        length = body_length(fields)
        self._announced = announced_digests(fields) if length is None else frozenset()
        self._end.expect_body(length)

    def head_ended(self, *, upgrade: bool) -> Action:
        """The head was accepted. `upgrade`: it asks for another protocol, and a body follows."""
        asked = UPGRADE_ASKED if upgrade else HEAD_ENDED
        return self.happens(asked)

    def message_ended(self) -> Action:
        """The request is complete."""
        self._end.expect_head()
        return self.happens(MESSAGE_ENDED)

    def refuse(self, error: SluiceError) -> Action:
        """What came is not acceptable: because of what a callback raised before, or of `error`.

        The app answers the request under way; where there is none, we do.
        """
        self.error = self.error or error
        self.held.clear()
        return self.happens(REFUSED)

    # The rest

    def happens(self, event: ConnectionEvent) -> Action:
        """The step of the table. Raises SluiceError for one that it does not have."""
        try:
            self.state, action = TRANSITIONS[self.state, event]
        except KeyError:
            raise SluiceError(
                f"A connection in {self.state.name} does not know {event.name}"
            ) from None
        return action

    def _costs_too_much(self, size: int, body: int, state: ConnectionState) -> bool:
        """Whether half a head, chunk extensions or trailers are beyond their bounds.

        The parser takes them without end, and keeps most of it. `size` bytes were parsed and
        brought `body` bytes of the body; they end no later than the head or body they are of.
        """
        ended = self.state is not state
        body = max(0, body)  # a new request begins with 0
        self._unproductive = 0 if body or ended else self._unproductive + size
        self._overhead = 0 if ended and state is HEAD else self._overhead + size - body
        return self.state in _REFUSABLE and (
            self._unproductive > HEAD_BYTES
            or self._overhead > HEAD_BYTES + MOST_FRAMING * self.body_bytes
        )

    def _complain(self, error: SluiceError) -> SluiceError:
        """Remember it: the parser hides what its callbacks raise."""
        self.error = error
        return error
