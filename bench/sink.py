"""The sink process.

Takes request bodies as fast as a Python process can, counts them and throws them away. Linux only.

One thread a connection, blocking reads into one buffer. Commands come on standard input, one a
line: `count`, `hash` (finds the file in the body and hashes it), `rate N` (bytes a second, 0 for
all it can), `hold` (heads are read, bodies are not) and `go`. Each command and each body is one
line of JSON. Run as `python3 -m bench.sink`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator

from bench.pace import SLICE, Pace

__all__ = ["BodyFile", "Sink", "body_pieces", "main"]

READ = 1 << 20
HEAD_LIMIT = 1 << 16
LINES = 1 << 12  # a chunk's head, or a trailer, is shorter


class Cut(Exception):
    """The connection ended, or what came is no request."""


class Reader:
    """A connection's bytes: lines from what is buffered, bodies straight from the socket."""

    def __init__(self, connection: socket.socket, rate: float = 0) -> None:
        self._connection, self._block = connection, bytearray(READ)
        self._view = memoryview(self._block)
        self._start = self._stop = 0  # what was read and not yet taken
        self.pace = Pace(rate) if rate else None

    def _more(self) -> None:
        """Read once, behind what is left."""
        if self._start == self._stop:
            self._start = self._stop = 0
        elif self._stop == READ:
            left = bytes(self._view[self._start : self._stop])
            self._view[: len(left)] = left
            self._start, self._stop = 0, len(left)
        most = READ if self.pace is None else self._stop + SLICE
        count = self._connection.recv_into(self._view[self._stop : most])
        if not count:
            raise Cut
        if self.pace is not None:
            self.pace.wait(count)
        self._stop += count

    def line(self) -> bytes:
        """Up to and without CR LF."""
        while (end := self._block.find(b"\r\n", self._start, self._stop)) < 0:
            if self._stop - self._start > LINES:
                raise Cut
            self._more()
        found = bytes(self._view[self._start : end])
        self._start = end + 2
        return found

    def take(self, most: int) -> memoryview:
        """At least one and at most `most` bytes; good until the next call."""
        if self._start == self._stop:
            self._more()
        stop = min(self._stop, self._start + most)
        piece = self._view[self._start : stop]
        self._start = stop
        return piece


def body_pieces(reader: Reader, length: int | None) -> Iterator[memoryview]:
    """The body's bytes without framing.

    `length` of them, or chunks (RFC 9112 7.1) when it is None.
    """
    if length is not None:
        while length:
            piece = reader.take(length)
            length -= len(piece)
            yield piece
        return
    while size := int(reader.line().partition(b";")[0], 16):
        while size:
            piece = reader.take(size)
            size -= len(piece)
            yield piece
        if reader.line():
            raise Cut
    while reader.line():
        pass  # trailers


class BodyFile:
    """Hashes the file in a body.

    All of it, or the part with a filename, which must be the form's last.
    """

    def __init__(self, content_type: str) -> None:
        found = re.search(r'multipart/form-data;.*boundary="?([^";]+)', content_type, re.IGNORECASE)
        self._end = f"\r\n--{found[1]}--\r\n".encode("latin-1") if found else b""
        self._hasher, self.size = hashlib.sha256(), 0
        self._inside, self._held = not found, b""

    def feed(self, data: memoryview) -> None:
        if not self._end:
            self._hasher.update(data)
            self.size += len(data)
            return
        held = self._held + bytes(data)
        if not self._inside:
            named = held.find(b'; filename="')
            blank = held.find(b"\r\n\r\n", max(0, named))
            if named < 0 or blank < 0:
                if len(held) > HEAD_LIMIT:
                    raise Cut
                self._held = held
                return
            self._inside, held = True, held[blank + 4 :]
        keep = max(0, len(held) - len(self._end))
        self._hasher.update(held[:keep])
        self.size += keep
        self._held = held[keep:]

    def close(self) -> str | None:
        """The file's sha-256 as hex; None when the form did not end behind it."""
        return self._hasher.hexdigest() if self._held == self._end else None


class Sink:
    """What all connections share."""

    def __init__(self) -> None:
        self.hashes, self.rate = False, 0.0
        self.open = threading.Event()  # bodies may be read
        self.open.set()
        self._telling = threading.Lock()

    def say(self, **words: object) -> None:
        with self._telling:
            print(json.dumps(words), flush=True)

    def command(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        if word in ("hash", "count"):
            self.hashes = word == "hash"
        elif word == "rate":
            self.rate = float(value)
        elif word == "hold":
            self.open.clear()
        elif word == "go":
            self.open.set()
        self.say(now=word)

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while self.request(connection):
                    pass
            except (Cut, OSError, ValueError) as error:
                self.say(cut=type(error).__name__)

    def request(self, connection: socket.socket) -> bool:
        """One request and its response; False when the client is done with the connection."""
        reader = Reader(connection, self.rate)
        try:
            start = reader.line()
        except Cut:
            return False
        fields: dict[str, str] = {}
        while line := reader.line().decode("latin-1"):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        chunked = "chunked" in fields.get("transfer-encoding", "")
        length = None if chunked else int(fields.get("content-length", "0"))
        if not self.open.is_set():
            self.say(held=start.decode("latin-1"))
            self.open.wait()
        file = BodyFile(fields.get("content-type", "")) if self.hashes else None
        body, began = 0, time.perf_counter()
        for piece in body_pieces(reader, length):
            body += len(piece)
            if file is not None:
                file.feed(piece)
        report: dict[str, object] = {
            "body": body,
            "chunked": chunked,
            "seconds": time.perf_counter() - began,
        }
        if file is not None:
            report |= {"sha-256": file.close(), "file": file.size}
        self.say(**report)
        connection.sendall(
            b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nkept\n"
        )
        return fields.get("connection", "").lower() != "close"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args(arguments)
    sink = Sink()

    def accept(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=sink.serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", asked.port), backlog=1024) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        for line in sys.stdin:  # its end is ours
            sink.command(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
