"""The client process of the small row: uploads over keep-alive connections for some seconds.

Prints the number of answered uploads.

One epoll loop; each connection sends its next upload when the last response is complete. Run as
`python3 -m bench.burst`.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import time
from pathlib import Path

from bench.answer import Answer, Refused, connect

__all__ = ["Line", "main", "run"]

READ = 1 << 16


class Line:
    """One connection, with or without a request under way."""

    __slots__ = ("answer", "began", "connection", "left")

    def __init__(self, port: int) -> None:
        self.connection: socket.socket = connect(port)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.setblocking(False)
        self.left = memoryview(b"")
        self.answer = Answer()
        self.began = 0.0

    def begin(self, request: bytes) -> None:
        self.left, self.answer, self.began = memoryview(request), Answer(), time.perf_counter()

    def push(self) -> bool:
        """Send what fits; True when the request has been sent."""
        while self.left:
            try:
                self.left = self.left[self.connection.send(self.left) :]
            except BlockingIOError:
                return False
        return True

    def pull(self) -> bool:
        """Read what has arrived; True when the response is complete."""
        data = self.connection.recv(READ)
        if not data:
            raise Refused("the server hung up between two uploads")
        if self.answer.feed(data) and not 200 <= self.answer.status < 300:
            raise Refused(f"answered {self.answer.status}: {bytes(self.answer.body[:200])!r}")
        return self.answer.done


def run(
    port: int,
    method: str,
    path: str,
    body: bytes,
    connections: int,
    seconds: float,
    token: str = "",
) -> dict[str, float]:
    """Returns the answered uploads, the seconds in all, and the median and p99 of the latencies."""
    selector = selectors.DefaultSelector()
    lines = [Line(port) for _ in range(connections)]
    waits: list[float] = []
    number = 0
    more = f"Authorization: Bearer {token}\r\n" if token else ""

    def begin(line: Line) -> None:
        nonlocal number
        head = (
            f"{method} {path.format(name=f'small-{number}')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"{more}Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        number += 1
        line.begin(head.encode() + body)
        events = (
            selectors.EVENT_READ if line.push() else selectors.EVENT_READ | selectors.EVENT_WRITE
        )
        selector.modify(line.connection, events, line)

    for line in lines:
        selector.register(line.connection, selectors.EVENT_READ, line)
    began, cpu = time.perf_counter(), time.process_time()
    for line in lines:
        begin(line)
    under_way = connections
    while under_way:
        ready = selector.select(60)
        if not ready:
            raise Refused("no answer for 60 s")
        for key, events in ready:
            line = key.data
            if events & selectors.EVENT_WRITE and line.push():
                selector.modify(line.connection, selectors.EVENT_READ, line)
            if events & selectors.EVENT_READ and line.pull():
                now = time.perf_counter()
                waits.append(now - line.began)
                if now - began < seconds:
                    begin(line)
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
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", default="PUT")
    parser.add_argument(
        "--path", required=True, help="{name} is replaced by each upload's own name"
    )
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--token", default="", help="sent as a bearer token")
    asked = parser.parse_args(arguments)
    report = run(
        asked.port,
        asked.method,
        asked.path,
        asked.body.read_bytes(),
        asked.connections,
        asked.seconds,
        asked.token,
    )
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
