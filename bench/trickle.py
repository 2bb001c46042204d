"""The client process of the slow row.

Many uploads at once, each sending one piece a second and never finishing.

Prints one JSON line when all are under way, goes on until standard input closes, then prints what
became of them. Run as `python3 -m bench.trickle`.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time

from bench.answer import connect
from bench.tus_client import append, created

__all__ = ["Trickle", "main"]

# Bytes each upload says it will bring: far more than the run sends, yet 1,000 reservations fit on
# the disk (8 GiB).
DECLARED = 8 << 20
TICKS = 50  # sends are spread over the second in so many groups
MOST_SECONDS = 600


class Trickle:
    """`count` uploads under way; send_group() gives every TICKS-th of them its piece."""

    def __init__(
        self,
        port: int,
        method: str,
        path: str,
        count: int,
        piece: int,
        declared: int = DECLARED,
        create: str = "",
    ) -> None:
        """`create` is where tus uploads are created, whose PATCHes are sent then."""
        self.piece = b"s" * piece
        self.open: list[socket.socket | None] = []
        self.pieces = 0
        self.lost: list[str] = []
        for number in range(count):
            connection = connect(port)
            if create:
                connection.sendall(append(created(connection, create, declared), declared))
                connection.setblocking(False)
                self.open.append(connection)
                continue
            head = (
                f"{method} {path.format(name=f'slow-{number}')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {declared}\r\n\r\n"
            )
            connection.sendall(head.encode())
            connection.setblocking(False)
            self.open.append(connection)

    def send_group(self, tick: int) -> None:
        for index in range(tick % TICKS, len(self.open), TICKS):
            connection = self.open[index]
            if connection is None:
                continue
            try:
                self.pieces += connection.send(self.piece) == len(self.piece)
            except OSError as error:
                self.drop(index, type(error).__name__)

    def drop(self, index: int, why: str) -> None:
        connection = self.open[index]
        if connection is not None:
            connection.close()
            self.open[index] = None
            self.lost.append(why)

    def look(self) -> None:
        """An upload that gets a response or a hang-up before its end is lost."""
        poll = select.poll()
        index_of = {}
        for index, connection in enumerate(self.open):
            if connection is not None:
                poll.register(connection, select.POLLIN)
                index_of[connection.fileno()] = index
        for descriptor, _ in poll.poll(0):
            index = index_of[descriptor]
            connection = self.open[index]
            try:
                received = connection.recv(200) if connection is not None else b""
            except OSError as error:
                received = type(error).__name__.encode()
            self.drop(index, received.split(b"\r\n")[0].decode("latin-1") or "hung up")

    def report(self) -> dict[str, object]:
        self.look()
        alive = sum(connection is not None for connection in self.open)
        return {"alive": alive, "pieces": self.pieces, "lost": sorted(set(self.lost))}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", default="PUT")
    parser.add_argument(
        "--path", required=True, help="{name} is replaced by each upload's own name"
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--piece", type=int, default=1024, help="bytes a second of each upload")
    parser.add_argument("--declared", type=int, default=DECLARED, help="bytes each says to bring")
    parser.add_argument("--once", action="store_true", help="one piece each, then nothing more")
    parser.add_argument("--create", default="", help="where tus uploads are created")
    asked = parser.parse_args(arguments)
    trickle = Trickle(
        asked.port,
        asked.method,
        asked.path,
        asked.count,
        asked.piece,
        asked.declared,
        asked.create,
    )
    began = time.monotonic()
    tick = 0
    while tick < TICKS * MOST_SECONDS:
        pause = max(0.0, began + tick / TICKS - time.monotonic())
        if select.select([sys.stdin], [], [], pause)[0]:
            break  # the bench closed our input: enough
        if tick < TICKS or not asked.once:
            trickle.send_group(tick)
        tick += 1
        if tick == TICKS:
            print(json.dumps(trickle.report()), flush=True)
    print(json.dumps({**trickle.report(), "seconds": time.monotonic() - began}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
