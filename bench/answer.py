"""One HTTP/1.1 answer read from bytes, and the socket a client process speaks through.

It knows no server.
"""

from __future__ import annotations

import socket
import struct

__all__ = ["Answer", "Refused", "connect", "read_answer"]

STALL = 300  # seconds a peer may say nothing before a run is given up
HEAD_LIMIT = 1 << 16
READ = 1 << 16


class Refused(Exception):
    """The server's answer was not a success, or was no answer at all."""


class Answer:
    """feed() it what arrives; `done` when head and body are whole."""

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
            if self.status >= 200:  # 1xx only announces the answer
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
    """The whole answer.

    An answer that ends with the connection counts when its head was complete.
    """
    answer = Answer()
    while not answer.done:
        data = connection.recv(READ)
        if not data:
            if answer.head is None:
                raise Refused("the server hung up without an answer")
            break
        answer.feed(data)
    return answer
