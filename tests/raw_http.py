"""HTTP/1.1 by hand, byte for byte: requests that no client library can send, and their responses.

with Wire(port) as wire:
    wire.send(head("PUT", "/files/a", "Content-Length: 5") + b"hel")
    wire.half_close()
    assert wire.answer().status == 400
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

__all__ = [
    "BOUNDARY",
    "LAST_CHUNK",
    "Answer",
    "Wire",
    "chunk",
    "chunked",
    "form_begun",
    "form_body",
    "form_head",
    "head",
    "talk",
]

SOCKET_TIMEOUT = 60.0  # seconds of any socket call, so that no test hangs
LAST_CHUNK = b"0\r\n\r\n"
BOUNDARY = "----sluice7MA4YWxkTrZu0gW"


def head(method: str, target: str, *fields: str, host: str | None = "localhost") -> bytes:
    """The head of a request. `fields` are whole lines without their end."""
    lines = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host else []), *fields]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8") + b"\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(data: bytes, size: int = 100) -> bytes:
    """A whole chunked body in chunks of `size` bytes."""
    return b"".join(chunk(data[at : at + size]) for at in range(0, len(data), size)) + LAST_CHUNK


def form_body(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A form of (name, filename, bytes) as browsers write it; a filename of None makes a field."""
    body = b""
    for name, filename, data in parts:
        given = "" if filename is None else f'; filename="{filename}"'
        kind = "" if filename is None else "Content-Type: application/octet-stream\r\n"
        part_head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{given}\r\n'
        body += f"{part_head}{kind}\r\n".encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def form_begun(*parts: tuple[str, str | None, bytes]) -> bytes:
    """As `form_body`, without the end of the last part: more of its bytes can follow."""
    return form_body(*parts).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())


def form_head(length: int | None, *fields: str, target: str = "/files") -> bytes:
    """The head of a form request; a length of None makes it chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return head(
        "POST", target, f"Content-Type: multipart/form-data; boundary={BOUNDARY}", framing, *fields
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """One final response and the interim ones (100, …) before it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem response."""
        return str(self.json()["code"])


class Wire:
    """One connection to a server on this machine."""

    def __init__(
        self, port: int, *, send_buffer: int | None = None, source: str = "127.0.0.1"
    ) -> None:
        """`source` is the address of the client: one of 127.0.0.0/8."""
        self.sock = socket.socket()
        if source != "127.0.0.1":
            self.sock.bind((source, 0))
        self.sock.settimeout(SOCKET_TIMEOUT)
        if send_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ahead = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def half_close(self) -> None:
        """Send no more bytes; the response can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def answer(self, *, to_head: bool = False) -> Answer:
        """Returns the next final response. Raises ConnectionError if none comes."""
        interim: list[int] = []
        while True:
            raw = self._until(b"\r\n\r\n")
            line, *lines = raw.decode("latin-1").split("\r\n")
            status = int(line.split(" ")[1])
            if status >= 200:
                break
            interim.append(status)
        headers: dict[str, str] = {}
        for name, _, value in (item.partition(":") for item in lines):
            headers[name.lower()] = (
                f"{headers[name.lower()]}, {value.strip()}"
                if name.lower() in headers
                else value.strip()
            )
        if to_head or status in (204, 304):
            body = b""
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                self._until(b"\r\n")
            self._until(b"\r\n")
        else:
            body = self.rest()
        return Answer(status, headers, body, interim)

    def interim(self) -> int:
        """Returns the status of the next response, which must be an interim one.

        Reads only its head.
        """
        return int(self._until(b"\r\n\r\n").split(b" ")[1])

    def head(self) -> str:
        """Returns the head of the next response, without its last empty line."""
        return self._until(b"\r\n\r\n").decode("latin-1")

    def rest(self) -> bytes:
        """Returns all bytes up to the end of the connection, which may also be a reset."""
        data, self._ahead = self._ahead, b""
        with suppress(ConnectionError):
            while more := self.sock.recv(65536):
                data += more
        return data

    def silent(self, seconds: float) -> bool:
        """Whether neither bytes nor the end arrive during this time."""
        if self._ahead:
            return False
        self.sock.settimeout(seconds)
        try:
            self._ahead = self.sock.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(SOCKET_TIMEOUT)
        return False

    def closed(self) -> bool:
        """Wait for the end of the connection; returns False if bytes arrive instead."""
        return self.rest() == b""

    def _until(self, end: bytes) -> bytes:
        while end not in self._ahead:
            self._more()
        data, _, self._ahead = self._ahead.partition(end)
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._ahead) < size:
            self._more()
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(f"the connection ended after {self._ahead!r}")
        self._ahead += data


def talk(port: int, data: bytes, *, half_close: bool = False) -> Answer:
    """One request on a connection of its own; returns the response."""
    with Wire(port) as wire:
        wire.send(data)
        if half_close:
            wire.half_close()
        return wire.answer()
