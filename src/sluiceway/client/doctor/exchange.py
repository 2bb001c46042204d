"""One connection with one request, for a probe: everything is bounded in bytes and seconds.

h11 frames both directions, so interim responses and early final ones are seen as they are. A peer
that hangs up is a result here, not an error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import h11

from sluiceway.client.doctor.target import Target
from sluiceway.wire.numbers import clipped_uint

__all__ = ["MOST_INTERIM", "ProbeConnection", "ProbeResponse"]

READ_SIZE = 16 << 10
MOST_BODY = 64 << 10  # bytes of a response that are kept; more is not read
MOST_TIMES = 200
MOST_INTERIM = 200  # interim responses of one request
LEAST_WAIT = 0.001  # seconds; of TLS only a read shows whether there is anything for us
MOST_RAW = 4 << 10  # bytes of a response to raw bytes


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """What came back.

    `status` is 0 without a final response; `failure` says why: "no response", "hung up", "no whole
    response". `interim` are the statuses before it, `times` when pieces of the body came, in
    seconds since the request began.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    interim: tuple[int, ...] = ()
    failure: str = ""
    times: tuple[float, ...] = ()

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str:
        """The first value of a field, or no text."""
        return next(iter(self.all(name)), "")

    @property
    def content(self) -> Mapping[str, object]:
        """The body as a JSON object; empty if it is none."""
        try:
            found = json.loads(self.body, parse_int=_clipped)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def echo(self) -> Mapping[str, object] | None:
        """What the server's /doctor saw, if this is its response."""
        found = self.content
        return found if self.status == 200 and found.get("doctor") == 1 else None


def _clipped(digits: str) -> int:
    """A whole number of JSON: one of any length would be no number that can be compared."""
    return (clipped_uint(digits.removeprefix("-")) or 0) * (-1 if digits[0] == "-" else 1)


class ProbeConnection:
    """Raises OSError where no connection, or no TLS, can be had."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._target, self._timeout = target, timeout
        self._socket = target.connect(timeout)
        self._state = h11.Connection(h11.CLIENT)
        self._began = time.monotonic()
        self._interim: list[int] = []
        self._head: h11.Response | None = None
        self._is_over = False  # nothing more can come
        self.is_broken: bool = False  # the peer stopped reading

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def begin(self, method: str, path: str, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Send the head of a request to a path below the target's."""
        every = [*self._target.fields(), *fields]
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in every]
        target = self._target.path_of(path)
        self._began = time.monotonic()
        self._send(h11.Request(method=method, target=target, headers=headers))

    def send(self, data: bytes) -> None:
        """Part of the body. What the peer no longer reads is dropped."""
        self._send(h11.Data(data=data))

    def end(self) -> None:
        """The end of the request."""
        self._send(h11.EndOfMessage())

    def has_response(self, seconds: float = LEAST_WAIT) -> bool:
        """Whether a response begins within that time, or none can come any more."""
        until = time.monotonic() + max(seconds, LEAST_WAIT)
        while self._head is None and not self._is_over:
            try:
                event = self._next_event(until)
            except TimeoutError:
                return False
            except (OSError, h11.RemoteProtocolError):
                self._is_over = True
            else:
                self._take(event)
        return True

    def next_status(self, seconds: float) -> int:
        """The status of the next head, interim or final; 0 if none comes within that time."""
        try:
            self._take(self._next_event(time.monotonic() + seconds))
        except (OSError, h11.RemoteProtocolError):
            return 0
        if self._head is not None:
            return self._head.status_code
        return self._interim[-1] if self._interim else 0

    def response(self) -> ProbeResponse:
        """Wait for the final response and its body."""
        until = time.monotonic() + self._timeout
        body, times, failure = bytearray(), list[float](), ""
        try:
            while not self._is_over and len(body) < MOST_BODY:
                event = self._next_event(until)
                self._take(event)
                if isinstance(event, h11.Data):
                    body += event.data
                    if len(times) < MOST_TIMES:
                        times.append(time.monotonic() - self._began)
        except TimeoutError:
            failure = "no response" if self._head is None else "no whole response"
        except (OSError, h11.RemoteProtocolError):
            failure = "hung up" if self._head is None else "no whole response"
        if self._head is None and not failure:
            failure = "hung up"
        head = self._head
        return ProbeResponse(
            0 if head is None else head.status_code,
            () if head is None else _fields(head),
            bytes(body[:MOST_BODY]),
            tuple(self._interim),
            failure,
            tuple(times),
        )

    def raw(self, data: bytes, seconds: float) -> bytes:
        """What comes back for bytes that need not be HTTP."""
        until, found = time.monotonic() + seconds, bytearray()
        try:
            self._socket.sendall(data)
            while len(found) < MOST_RAW and (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not (read := self._socket.recv(MOST_RAW)):
                    break
                found += read
        except OSError:
            pass  # it hung up, or says no more
        return bytes(found[:MOST_RAW])

    def _take(self, event: object) -> None:
        if isinstance(event, h11.InformationalResponse):
            self._interim.append(event.status_code)
            self._is_over = len(self._interim) >= MOST_INTERIM  # no honest server sends so many
        elif isinstance(event, h11.Response):
            self._head = event
        elif not isinstance(event, h11.Data):
            self._is_over = True  # the response, or the connection

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._state.send(event)
        if data and not self.is_broken:
            self._socket.settimeout(self._timeout)
            try:
                self._socket.sendall(data)
            except OSError:
                self.is_broken = True  # an early response may still be there

    def _next_event(self, until: float) -> object:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            self._state.receive_data(self._socket.recv(READ_SIZE))
        return event


def _fields(head: h11.Response) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head.headers
    )
