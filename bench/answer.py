"""Reads one HTTP/1.1 response from bytes, and opens the socket of a client process."""

from __future__ import annotations

import socket
import struct

__all__ = ["Answer", "Refused", "connect", "read_answer"]

STALL = 300  # seconds without a byte from a peer until a run fails
HEAD_LIMIT = 1 << 16
READ = 1 << 16


class Refused(Exception):
    """The server's response was not a success, or could not be read."""


class Answer:
    """One response: feed() takes its bytes; `done` is set when head and body are complete."""

    def __init__(self) -> None:
        self.head: bytes | None = None
        self.status = 0
        self.length: int | None = None
        self.chunked = False
        self.body = bytearray()

    @property
    def done(self) -> bool:
        if self.head is None:
            return False
        if self.chunked:
            return self.body.endswith(b"0\r\n\r\n")
        return self.length is not None and len(self.body) >= self.length

    def feed(self, data: bytes) -> bool:
        self.body += data
        while self.head is None and b"\r\n\r\n" in self.body:
            head, _, rest = bytes(self.body).partition(b"\r\n\r\n")
            self.body = bytearray(rest)
            self.status = int(head.split(b" ", 2)[1])
            if self.status >= 200:  # a 1xx precedes the final response
                self._read_head(head)
        if self.head is None and len(self.body) > HEAD_LIMIT:
            raise Refused("the answer's head does not end")
        return self.done

    def _read_head(self, head: bytes) -> None:
        self.head = head
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self.length = int(value)
            elif name.lower() == b"transfer-encoding":
                self.chunked = True
        if self.status in (204, 304):
            self.length = 0


def connect(port: int) -> socket.socket:
    """A blocking loopback connection.

    Kernel time-outs instead of Python's, which would make sendfile non-blocking.
    """
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(None)
    limit = struct.pack("ll", STALL, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    return connection


def read_answer(connection: socket.socket) -> Answer:
    """Read the whole response. One that ends with the connection counts if its head is complete."""
    response = Answer()
    while not response.done:
        data = connection.recv(READ)
        if not data:
            if response.head is None:
                raise Refused("the server hung up without an answer")
            break
        response.feed(data)
    return response
