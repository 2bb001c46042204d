"""A server on a real socket that misbehaves as a test wants: it cuts, lies, stalls, redirects.
It parses only what it must.

def cut(exchange):
    exchange.head(200, {"Content-Length": "1000"})
    exchange.send(b"x" * 10)

with Peer(cut) as peer:
    ...  # peer.url, peer.seen
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BEHIND = 5.0  # seconds in which a head is read that has begun to come
SOCKET_TIMEOUT = 60.0  # seconds of a single socket call, so that no test hangs


class Exchange:
    """One request, and the socket to answer on."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = b""
        self._body = bytearray()
        self._has_left = False
        self._responded = False  # 100 Continue, or a response, was sent
        self.cut = False  # for the act: the client hung up before the body's end
        self.go = threading.Event()  # for acts that wait for the test
        self.done = threading.Event()  # set when nothing more is read or sent
        while b"\r\n\r\n" not in self._ahead:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("no request")
            self._ahead += data
        head, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields)
        }

    @property
    def body(self) -> bytes:
        """The bytes that `read_body` has read."""
        return bytes(self._body)

    def was_cut(self) -> bool:
        """Whether the client hung up before the body's end, once the act has ended.

        A response reaches its client before this thread has read the end of the request.
        """
        assert self.done.wait(SOCKET_TIMEOUT), "the exchange does not end"
        return self.cut

    def recv(self, most: int = 65536) -> bytes:
        """Empty once when the client has left; then it raises, so that no act can spin for ever."""
        if self._ahead:
            data, self._ahead = self._ahead[:most], self._ahead[most:]
            return data
        if self._has_left:
            raise ConnectionError("the client has left")
        data = self.sock.recv(most)
        self._has_left = not data
        return data

    def take(self, count: int) -> int:
        """Read so many bytes, in pieces. A client that leaves before them ends the act."""
        taken = 0
        while taken < count:
            if not (data := self.recv(min(65536, count - taken))):
                raise ConnectionError(f"the client left after {taken} bytes")
            taken += len(data)
        return taken

    def put_back(self, data: bytes) -> None:
        """Bytes that were received come again by `recv`."""
        self._ahead = data + self._ahead

    def wait(self) -> None:
        """Wait for the first byte of the body."""
        if not self._ahead:
            self.sock.recv(1, socket.MSG_PEEK)

    def ask_for_body(self) -> None:
        """Send 100 Continue, if the client waits for it; it would wait for a second otherwise."""
        if "expect" in self.headers and not self._responded:
            self.send(CONTINUE)

    def read_body(self) -> bytes:
        """Read to the end of the body and join its chunks; shorter if the client hangs up."""
        self.ask_for_body()
        if self.headers.get("transfer-encoding") == "chunked":
            return self._read_chunked()
        left = int(self.headers.get("content-length", "0"))
        while left:
            data = self.recv_or_cut(min(left, 65536))
            if not data:
                break
            self._body += data
            left -= len(data)
        return self.body

    def recv_or_cut(self, most: int) -> bytes:
        """The next bytes. Empty, with `cut` set, if the client closed or reset the connection."""
        try:
            data = self.recv(most)
        except ConnectionError:
            data = b""
        self.cut = not data
        return data

    def _read_chunked(self) -> bytes:
        raw, at = bytearray(), 0
        while not raw.endswith(b"0\r\n\r\n"):
            data = self.recv_or_cut(65536)
            if not data:
                return self.body
            raw += data
        while at < len(raw):
            end = raw.index(b"\r\n", at)
            count, at = int(raw[at:end], 16), end + 2
            self._body += raw[at : at + count]
            at += count + 2
        return self.body

    def send(self, data: bytes) -> None:
        self._responded = True
        self.sock.sendall(data)

    def head(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} Rude", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def reply(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.head(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.send(body)

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def first_byte(self) -> int:
        """The first byte of the client's Range; 0 without one."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


class Peer:
    """A listener: every connection is one exchange, each in a thread of its own.

    Its kernel holds `window` bytes of each, which it doubles; 0 for as many as it likes. Set on a
    connection that sends already, it would drop what is under way, and the sender would wait for
    its own timers.
    """

    def __init__(
        self,
        act: Callable[[Exchange], object],
        host: str = "127.0.0.1",
        port: int = 0,
        window: int = 0,
    ) -> None:
        self.act = act
        self._seen: list[Exchange] = []
        # Connections without a whole head so far, and whether the head has begun.
        self._heads: dict[socket.socket, bool] = {}
        self._lock = threading.Lock()
        self.met = threading.Event()  # set when the first request's head is here
        self.ended = threading.Event()  # set when the test is over: for acts that wait for nothing
        self._listener = socket.create_server((host, port))
        if window:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []

    @property
    def seen(self) -> list[Exchange]:
        """The exchanges so far, with each whose head was sent by now.

        A client between us and the peer may answer the test before the peer's thread had its turn.
        """
        end = time.monotonic() + BEHIND
        while self._is_behind() and time.monotonic() < end:
            time.sleep(0.001)
        return self._seen

    def _is_behind(self) -> bool:
        with self._lock:
            waits = not self.ended.is_set() and _readable(self._listener)
            return waits or any(begun or _readable(sock) for sock, begun in self._heads.items())

    def __enter__(self) -> Self:
        self._spawn(self._listen)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(0.5)
        for sock in self._socks:  # an act may wait for a client that left silently
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOCKET_TIMEOUT)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while not self.ended.is_set():
            _readable(self._listener, None)
            try:
                with self._lock:
                    sock, _ = self._listener.accept()
                    self._heads[sock] = False
            except OSError:
                return
            sock.settimeout(SOCKET_TIMEOUT)
            self._socks.append(sock)
            self._spawn(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.closing(sock), contextlib.suppress(OSError):
            try:
                _readable(sock, SOCKET_TIMEOUT)
                with self._lock:
                    self._heads[sock] = True
                exchange = Exchange(sock)
                self._seen.append(exchange)
            finally:
                with self._lock:
                    del self._heads[sock]
            self.met.set()
            try:
                self.act(exchange)
            finally:
                exchange.done.set()
            drain_and_close(sock)


def _readable(sock: socket.socket, seconds: float | None = 0.0) -> bool:
    """Whether bytes, a connection or an end wait there, or come within this time."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
    except ValueError:  # it is closed
        return False
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def drain_and_close(sock: socket.socket) -> None:
    """A close with unread bytes would be a reset, and destroy what is under way to the client."""
    with contextlib.closing(sock), contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def sha256_field(data: bytes) -> str:
    """A Repr-Digest value."""
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


def ranged(data: bytes, etag: str = '"v1"', **more: str) -> Callable[[Exchange], None]:
    """An honest server of one file: ranges, If-Range, digest."""

    def act(exchange: Exchange) -> None:
        headers = {"ETag": etag, "Repr-Digest": sha256_field(data), **more}
        start = exchange.first_byte()
        if start and exchange.headers.get("if-range") == etag:
            if start >= len(data):
                exchange.reply(416, {**headers, "Content-Range": f"bytes */{len(data)}"})
                return
            where = f"bytes {start}-{len(data) - 1}/{len(data)}"
            exchange.reply(206, {**headers, "Content-Range": where}, data[start:])
        else:
            exchange.reply(200, headers, data)

    return act
