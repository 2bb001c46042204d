"""A proxy in front of an S3 server that makes requests fail, by a script.

faults = S3Faults(endpoint)                       # a thread of its own, ended by close()
faults.script["key"] = Fault("stall", "part", times=2)

The first `times` requests of that kind for that key meet the fault; all others pass.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from s3_crc64nvme import ChecksumKeeper, is_crc64nvme

__all__ = ["KINDS", "Fault", "S3Faults", "one_answer"]

KINDS = ("refuse", "reset", "stall", "500", "slowdown", "error-in-200", "lost", "slow")
CHECKSUMS = ("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer")
STALL_TIME = 30.0  # seconds; a client's deadline ends it long before
READ_BLOCK = 64 << 10  # bytes of a body read at once

ERROR = (
    "<?xml version='1.0' encoding='UTF-8'?>\n"
    "<Error><Code>{code}</Code><Message>made by a test</Message></Error>"
)


@dataclass
class Fault:
    """A kind of fault for a kind of request.

    Requests are put, create, part, copy, complete, abort, get, head and list.
    """

    kind: str
    request: str
    times: int = 1
    at: int = 100_000  # bytes of the body before a reset
    met: int = 0  # times it happened
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, request: str) -> bool:
        with self._lock:
            if request != self.request or self.met >= self.times:
                return False
            self.met += 1
            return True


class S3Faults:
    """The proxy, at `url`. With a `certificate`, a PEM file with its key, it speaks TLS."""

    def __init__(self, endpoint: str, certificate: Path | None = None) -> None:
        self.script: dict[str, Fault] = {}  # last segment of a key -> what happens to it
        # The response to a request with x-amz-checksum headers, if the server does not know them.
        self.unknown: tuple[int, bytes] | None = None
        self.checksums = 0  # requests with such headers
        # The response to a request with a CRC64NVME, if the server does not know that one.
        self.unknown_crc64nvme: tuple[int, bytes] | None = None
        self.keeper: ChecksumKeeper | None = None
        self.payloads: list[str] = []  # x-amz-content-sha256 of each part
        self.seen: list[str] = []  # the kinds of all requests, in order
        self.closing = threading.Event()
        place = urlsplit(endpoint).netloc
        owner = self

        class Handler(_Handler):
            faults, upstream = owner, place

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = (
            f"http{'' if certificate is None else 's'}://127.0.0.1:{self._server.server_address[1]}"
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: S3Faults
    upstream: str

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""

    def _pass(self) -> None:
        parts = urlsplit(self.path)
        request = _request_kind(self.command, parts.query)
        if "x-amz-copy-source" in self.headers:
            request = "copy"
        self.faults.seen.append(request)
        fault = self.faults.script.get(unquote(parts.path).rpartition("/")[2])
        if self.command in ("PUT", "POST") and any(
            name.lower().startswith(CHECKSUMS) for name in self.headers
        ):
            self.faults.checksums += 1
            if self.faults.unknown is not None:
                self._body(None, 0)
                self._respond(*self.faults.unknown)
                return
            if self.faults.unknown_crc64nvme is not None and is_crc64nvme(self.headers):
                self._body(None, 0)
                self._respond(*self.faults.unknown_crc64nvme)
                return
        if request == "part":
            self.faults.payloads.append(self.headers["x-amz-content-sha256"])
        kind = fault.kind if fault is not None and fault.strikes(request) else ""
        try:
            self._answer(kind, fault)
        except OSError:  # a client that was stalled has left
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815  # the names http.server calls

    def _answer(self, kind: str, fault: Fault | None) -> None:
        if kind == "refuse":
            return self._break()
        if kind == "stall":
            self.faults.closing.wait(STALL_TIME)
            return self._break()
        if kind in ("500", "slowdown", "error-in-200"):
            self._body(None, 0)
            code = "SlowDown" if kind == "slowdown" else "InternalError"
            return self._respond(
                {"500": 500, "slowdown": 503}.get(kind, 200), ERROR.format(code=code).encode()
            )
        if kind == "reset" and fault is not None:
            self._body(None, 0, fault.at)
            return self._break()
        keeper = self.faults.keeper
        if keeper is not None and keeper.refuses(self.command, self.path, self.headers):
            self._body(None, 0)
            return self._respond(400, ERROR.format(code="BadDigest").encode())
        server = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    server.putheader(name, value)
            server.endheaders()
            self._body(server, 0.02 if kind == "slow" else 0)
            response = server.getresponse()
            data = response.read()
            if kind == "lost":
                return self._break()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            if keeper is not None and response.status < 300:
                for name, value in keeper.answer(self.command, self.path, self.headers).items():
                    self.send_header(name, value)
            length = (
                response.getheader("content-length") if self.command == "HEAD" else str(len(data))
            )
            if length is not None:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(data)
        finally:
            server.close()
        return None

    def _body(
        self, server: http.client.HTTPConnection | None, pause: float, most: int | None = None
    ) -> None:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self._chunks(server)
            return
        left = int(self.headers.get("content-length") or 0)
        if most is not None:
            left = min(left, most)
        while left:
            data: Any = self.rfile.read1(min(READ_BLOCK, left))
            if not data:
                raise ConnectionError("cut")
            left -= len(data)
            if server is not None:
                server.send(data)
            if pause:
                time.sleep(pause)

    def _chunks(self, server: http.client.HTTPConnection | None) -> None:
        """Pass chunks as they come: over TLS boto3 sends a part's checksum after it."""
        size = 1
        while size:
            line = self.rfile.readline(100)
            size = int(line.partition(b";")[0], 16)
            data = line + self.rfile.read(size + 2)
            if server is not None:
                server.send(data)

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _break(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _request_kind(method: str, query: str) -> str:
    names = {pair.partition("=")[0] for pair in query.split("&")}
    if method == "PUT":
        return "part" if "partNumber" in names else "put"
    if method == "POST":
        return "create" if "uploads" in names else "complete"
    if method == "DELETE":
        return "abort" if "uploadId" in names else "delete"
    return "list" if "list-type" in names else method.lower()


@contextmanager
def one_answer(status: int, body: bytes, to_get: bytes | None = None) -> Iterator[str]:
    """The URL of a server that answers every request in the same way.

    With `to_get`, it answers 200 with that body to GET, and 404 to HEAD.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing."""

        def _respond(self) -> None:
            found = (status, body)
            if to_get is not None and self.command in ("GET", "HEAD"):
                found = (200, to_get) if self.command == "GET" else (404, b"")
            self.send_response_only(found[0])
            self.send_header("Content-Length", str(len(found[1])))
            self.end_headers()
            self.wfile.write(found[1])

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _respond  # noqa: N815  # the names http.server calls

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
