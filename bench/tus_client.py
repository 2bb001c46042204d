"""The client process of the resumable rows: one large PATCH, or many small uploads, over tus 1.0.0.

`one` creates an upload and sends a file in one PATCH; its seconds are those of the PATCH. `many`
keeps connections busy with a creation and a PATCH of the whole body each. Run as
`python3 -m bench.tus_client`; it prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bench.answer import Refused, connect, read_answer
from bench.burst import Line

__all__ = ["append", "created", "main"]

OFFSET_STREAM = "application/offset+octet-stream"


def creation(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Length: {length}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def append(path: str, length: int) -> bytes:
    return (
        f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Offset: 0\r\nContent-Type: {OFFSET_STREAM}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def created_at(path: str, head: bytes) -> str:
    """The path of a new upload. Raises Refused without a Location."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            return urlsplit(urljoin(f"http://127.0.0.1{path}", value.strip().decode())).path
    raise Refused("a creation without Location")


def created(connection: socket.socket, path: str, length: int) -> str:
    """Create an upload. Returns its path; raises Refused."""
    connection.sendall(creation(path, length))
    response = read_answer(connection)
    if response.status != 201:
        raise Refused(f"a creation got {response.status}")
    return created_at(path, response.head or b"")


def one(port: int, path: str, source: Path) -> dict[str, float]:
    length = source.stat().st_size
    with connect(port) as connection, source.open("rb") as file:
        upload = created(connection, path, length)
        began, cpu = time.perf_counter(), time.process_time()
        connection.sendall(append(upload, length))
        connection.sendfile(file)
        response = read_answer(connection)
        spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    if response.status != 204:
        raise Refused(f"a PATCH got {response.status}: {bytes(response.body[:200])!r}")
    return {"bytes": length, "seconds": spent, "cpu": cpu}


class Uploads(Line):
    """A connection that creates an upload, then sends its bytes."""

    __slots__ = ("started",)

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.started = False  # the response that comes is that of a creation


def many(port: int, path: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Returns the finished uploads, the seconds in all, and the median and p99 of the latencies."""
    selector = selectors.DefaultSelector()
    lines = [Uploads(port) for _ in range(connections)]
    waits: list[float] = []
    first = creation(path, len(body))

    def push(line: Uploads, request: bytes, since: float | None) -> None:
        line.begin(request)
        if since is not None:
            line.began = since
        events = selectors.EVENT_READ
        if not line.push():
            events |= selectors.EVENT_WRITE
        selector.modify(line.connection, events, line)

    def create(line: Uploads) -> None:
        line.started = True
        push(line, first, None)

    for line in lines:
        selector.register(line.connection, selectors.EVENT_READ, line)
    began, cpu = time.perf_counter(), time.process_time()
    for line in lines:
        create(line)
    under_way = connections
    while under_way:
        ready = selector.select(60)
        if not ready:
            raise Refused("no answer for 60 s")
        for key, events in ready:
            line = key.data
            if events & selectors.EVENT_WRITE and line.push():
                selector.modify(line.connection, selectors.EVENT_READ, line)
            if not (events & selectors.EVENT_READ and line.pull()):
                continue
            now = time.perf_counter()
            if line.started:
                line.started = False
                upload = created_at(path, line.answer.head or b"")
                push(line, append(upload, len(body)) + body, line.began)
                continue
            waits.append(now - line.began)
            if now - began < seconds:
                create(line)
            else:
                under_way -= 1
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    for line in lines:
        line.connection.close()
    selector.close()
    waits.sort()
    return {
        "answered": len(waits), "seconds": spent, "cpu": cpu, "median": waits[len(waits) // 2],
        "p99": waits[len(waits) * 99 // 100],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("one", "many"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="where uploads are created")
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args(arguments)
    if asked.what == "one":
        report = one(asked.port, asked.path, asked.body)
    else:
        body = asked.body.read_bytes()
        report = many(asked.port, asked.path, body, asked.connections, asked.seconds)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
