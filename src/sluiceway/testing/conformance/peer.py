"""The server under test, as bytes on a socket: requests that end, and ones that are cut.

h11 frames both directions, so that interim responses, trailers and early answers are seen as they
come. Each wait has a deadline.
"""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from sluiceway.testing.conformance.outcomes import NoResponse, NotOffered

__all__ = ["Connection", "Peer", "SeenResponse"]

READ_SIZE = 64 << 10  # bytes
MOST_BODY = 64 << 20  # bytes of a response that are kept
SHOWN_BODY = 120  # characters of a body in a report
RESTART_TIMEOUT = 30.0  # seconds
LOOK_AGAIN = 0.05  # seconds
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


@dataclass(frozen=True, slots=True)
class SeenResponse:
    """A response. Field names are in lower case; of a repeated field the values are joined."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    interim: tuple[SeenResponse, ...] = field(default=())

    @property
    def text(self) -> str:
        return self.body[:SHOWN_BODY].decode(errors="replace")

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


class Connection:
    """One connection with one request on it."""

    def __init__(self, url: SplitResult, timeout: float) -> None:
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            self._socket = ssl.create_default_context().wrap_socket(
                self._socket, server_hostname=host
            )
        self._timeout = timeout
        self._state = h11.Connection(h11.CLIENT)
        self._interim: list[SeenResponse] = []
        self._head: h11.Response | None = None
        self._is_broken = False  # the server stopped reading

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send_head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> None:
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        self._send(h11.Request(method=method, target=target, headers=fields))

    def send(self, data: bytes) -> None:
        """Part of the body. What the server no longer reads is dropped."""
        self._send(h11.Data(data=data))

    def end(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        self._send(h11.EndOfMessage(headers=list(trailers)))

    def response(self) -> SeenResponse:
        """Wait for the final response. Raises NoResponse."""
        head, body = self._head, b""
        while True:
            event = self._next_event()
            if isinstance(event, h11.InformationalResponse):
                self._interim.append(SeenResponse(event.status_code, _fields(event)))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body = (body + event.data)[:MOST_BODY]
            elif head is not None:
                return SeenResponse(head.status_code, _fields(head), body, tuple(self._interim))
            else:
                raise NoResponse("the server closed the connection without a response")

    def interim(self, seconds: float) -> SeenResponse | None:
        """The next interim response that is not 100, if one comes in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                event = self._next_event()
            except NoResponse:
                return None
            finally:
                self._socket.settimeout(self._timeout)
            if isinstance(event, h11.Response):
                self._head = event
            if not isinstance(event, h11.InformationalResponse):
                return None
            if event.status_code != 100:
                self._interim.append(SeenResponse(event.status_code, _fields(event)))
                return self._interim[-1]
        return None

    def may_continue(self) -> bool:
        """Wait for 100, or for a final response, which `response` returns then."""
        event = self._next_event()
        if isinstance(event, h11.Response):
            self._head = event
        return isinstance(event, h11.InformationalResponse | h11.Response)

    def close(self) -> None:
        """FIN."""
        self._socket.close()

    def reset(self) -> None:
        """RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._socket.close()

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._state.send(event)
        if data and not self._is_broken:
            try:
                self._socket.sendall(data)
            except OSError:
                self._is_broken = True  # an early response may still be there

    def _next_event(self) -> object:
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(self._socket.recv(READ_SIZE))
        except OSError as error:
            raise NoResponse(f"no response: {error}") from None
        except h11.RemoteProtocolError as error:
            raise NoResponse(f"no whole response: {error}") from None
        if event is h11.PAUSED:
            raise NoResponse("the response has ended already")
        return event


class Peer:
    """The server under test.

    Args:
        url: Where uploads are created.
        headers: Fields of each request, such as Authorization.
        timeout: Seconds of each wait.
        restart: A shell command that restarts the server and returns.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], timeout: float, restart: str = ""
    ) -> None:
        self.url: str = url
        self._headers, self._timeout, self._restart = dict(headers), timeout, restart

    def restart(self) -> None:
        """Run the command that restarts the server, and wait until it answers.

        Raises NotOffered without a command, NoResponse where the server does not come back.
        """
        if not self._restart:
            raise NotOffered("give --restart COMMAND")
        subprocess.run(self._restart, shell=True, check=True, timeout=RESTART_TIMEOUT)  # noqa: S602  # the operator's own words
        self.wait_for(RESTART_TIMEOUT)

    def wait_for(self, seconds: float) -> None:
        """Wait until the server answers. Raises NoResponse where it does not."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.ask("OPTIONS", self.url, {})
                return
            except (OSError, NoResponse):
                if time.monotonic() > end:
                    raise NoResponse("the server is not there any more") from None
                time.sleep(LOOK_AGAIN)

    def absolute(self, location: str) -> str:
        return urljoin(self.url, location)

    def begin(
        self, method: str, url: str, headers: Mapping[str, str], length: int | None
    ) -> Connection:
        """Send the head of a request whose body comes in pieces; chunked with no `length`."""
        parts = urlsplit(url)
        framing = {"transfer-encoding": "chunked"} if length is None else {}
        if length is not None and (length or method not in ("GET", "HEAD", "DELETE", "OPTIONS")):
            framing = {"content-length": str(length)}
        fields = {"host": parts.netloc, **self._headers, **headers, **framing}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = Connection(parts, self._timeout)
        try:
            connection.send_head(method, target, fields.items())
        except BaseException:
            connection.close()
            raise
        return connection

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        chunked: bool = False,
        trailers: Iterable[tuple[str, str]] = (),
    ) -> SeenResponse:
        """One whole request. Raises NoResponse."""
        connection = self.begin(method, url, headers, None if chunked else len(body))
        with connection:
            for start in range(0, len(body), READ_SIZE):
                connection.send(body[start : start + READ_SIZE])
            connection.end(trailers)
            return connection.response()


def _fields(event: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields
