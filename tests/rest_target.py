"""A REST API of another project: records each request, and fails a share of them, by seed.

target = RestTarget(share=0.2, seed=7)   # PUT, HEAD, GET and forms below target.url
target.objects["a/b"].times              # how often the object was stored; 2 is a duplicate
"""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

__all__ = ["Asked", "RestTarget", "Stored"]

WAYS = (
    "429",
    "500",
    "503",
    "reset before",
    "reset after",
    "500 after",
)  # "after": it is stored, and the response is lost


@dataclass
class Stored:
    size: int
    sha256: str
    times: int = 1
    data: bytes | None = None


@dataclass
class Asked:
    method: str
    key: str
    headers: dict[str, str]
    at: float
    status: int = 0


@dataclass
class RestTarget:
    """`knows`: what it understands of HTTP: "once" (Idempotency-Key), "conditions" (If-None-Match),
    "digests", "head".
    """

    share: float = 0.0
    seed: int = 1
    knows: frozenset[str] = frozenset({"once", "conditions", "digests", "head"})
    ways: tuple[str, ...] = WAYS
    spared: frozenset[str] = frozenset()  # methods that never fail
    wait: float = 0.0  # seconds each request takes
    retry_after: str | None = "0"
    keep: bool = False  # keeps the bytes, too
    most: int | None = None  # objects; what would store a further one waits
    objects: dict[str, Stored] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    at_once: int = 0  # the most requests there were at one moment
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.chance = random.Random(self.seed)
        self.answers: dict[str, int] = {}  # idempotency key -> the response's status
        self.busy = 0

    def failure(self, method: str) -> str:
        if method in self.spared:
            return ""
        with self.lock:
            way = (
                self.chance.choice(self.ways)
                if self.ways and self.chance.random() < self.share
                else ""
            )
            if way:
                self.failed[way] += 1
            return way

    @contextmanager
    def listening(self) -> Iterator[RestTarget]:
        class Handler(_Handler):
            target = self

        server = _Server(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/api/"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: RestTarget
    timeout = 60

    def do_PUT(self) -> None:
        self._busy(self._take)

    def do_POST(self) -> None:
        self._busy(self._take)

    def do_HEAD(self) -> None:
        self._busy(self._show)

    def do_GET(self) -> None:
        self._busy(self._show)

    def _busy(self, work: object) -> None:
        target = self.target
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            self.command,
            unquote(urlsplit(self.path).path).removeprefix("/api/"),
            headers,
            time.monotonic(),
        )
        with target.lock:
            target.asked.append(asked)
            target.busy += 1
            target.at_once = max(target.at_once, target.busy)
        try:
            time.sleep(target.wait)
            work(asked, target.failure(asked.method))  # type: ignore[operator]
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the copier was killed, or hung up
        finally:
            with target.lock:
                target.busy -= 1

    def handle_expect_100(self) -> bool:
        return True  # sent later: a failure may come first

    def _take(self, asked: Asked, failure: str) -> None:
        target = self.target
        if self.headers.get("expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if failure == "reset before":
            return self._reset()
        digest, size, kept = hashlib.sha256(), 0, []
        for piece in self._body():
            digest.update(piece)
            size += len(piece)
            if target.keep:
                kept.append(piece)
        if failure in ("429", "503", "500"):
            return self._answer(asked, int(failure), retry=failure != "500")
        status = self._store(
            asked, Stored(size, digest.hexdigest(), data=b"".join(kept) if target.keep else None)
        )
        if failure == "reset after":
            return self._reset()
        return self._answer(asked, 500 if failure else status)

    def _store(self, asked: Asked, fresh: Stored) -> int:
        target, once = self.target, asked.headers.get("idempotency-key", "")
        with target.lock:
            while target.most is not None and len(target.objects) >= target.most:
                target.changed.wait(0.01)
            if "once" in target.knows and once in target.answers:
                return target.answers[once]
            key = f"{asked.key}#{len(target.objects)}" if asked.method == "POST" else asked.key
            there = target.objects.get(key)
            if there and "conditions" in target.knows and asked.headers.get("if-none-match") == "*":
                return 412
            fresh.times = there.times + 1 if there else 1
            target.objects[key] = fresh
            target.answers[once] = 201
            return 201

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding"):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers["content-length"])
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def _show(self, asked: Asked, failure: str) -> None:
        target = self.target
        if failure in ("reset before", "reset after"):
            return self._reset()
        if failure:
            return self._answer(asked, int(failure[:3]), retry=True)
        there = target.objects.get(asked.key)
        if there is None or (asked.method == "HEAD" and "head" not in target.knows):
            return self._answer(asked, 404 if there is None else 405)
        headers = {"Content-Length": str(there.size), "ETag": f'"{there.sha256[:16]}"'}
        if "digests" in target.knows:
            headers["Repr-Digest"] = (
                f"sha-256=:{base64.b64encode(bytes.fromhex(there.sha256)).decode()}:"
            )
        asked.status = 200
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if asked.method == "GET":
            self.wfile.write(there.data or b"")
        return None

    def _answer(self, asked: Asked, status: int, retry: bool = False) -> None:
        asked.status = status
        self.send_response(status)
        if retry and self.target.retry_after is not None:
            self.send_header("Retry-After", self.target.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass  # it was reset

    def log_message(self, format: str, *args: object) -> None:
        pass
