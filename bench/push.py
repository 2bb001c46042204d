"""The client process of the stalled row: many uploads at once, each as fast as its socket allows.

Upload number N sends the source from byte N * STEP on, so that no two have the same bytes. Prints
one JSON line when all are answered. Run as `python3 -m bench.push`.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import IO

from bench.answer import Answer, Refused, connect

__all__ = ["STEP", "Push", "main", "run"]

STEP = 4096  # bytes
READ = 1 << 16
EVENT_TIMEOUT = 600.0  # seconds without one event until a run fails


class Push:
    """One upload: the head is sent at once, the file as fast as the socket accepts it."""

    def __init__(self, port: int, request: bytes, file: IO[bytes], start: int, stop: int) -> None:
        self.connection: socket.socket = connect(port)
        self.connection.sendall(request)
        self.connection.setblocking(False)
        self._file, self._at, self._stop = file, start, stop
        self.answer = Answer()

    def push(self) -> bool:
        """Send what fits; True when the file has been sent, or the server reads no more of it."""
        try:
            while self._at < self._stop:
                self._at += os.sendfile(
                    self.connection.fileno(), self._file.fileno(), self._at, self._stop - self._at
                )
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # the response, if there is one, has the reason
        return True

    def pull(self) -> bool:
        """Read what has arrived; True when the response is complete."""
        data = self.connection.recv(READ)
        if not data:
            raise Refused("the server hung up without an answer")
        return self.answer.feed(data)


def run(port: int, method: str, path: str, source: Path, count: int) -> dict[str, object]:
    """Returns the number of successes, the other responses, and the seconds in all."""
    selector = selectors.DefaultSelector()
    refused: list[str] = []
    size, began = source.stat().st_size, time.perf_counter()
    with source.open("rb") as file:
        for number in range(count):
            start = number * STEP
            head = (
                f"{method} {path.format(name=f'push-{number}')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {size - start}\r\n\r\n"
            )
            one = Push(port, head.encode(), file, start, size)
            selector.register(one.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
        while selector.get_map():
            ready = selector.select(EVENT_TIMEOUT)
            if not ready:
                raise Refused(f"{len(selector.get_map())} uploads stand still")
            for key, events in ready:
                one = key.data
                if events & selectors.EVENT_WRITE and one.push():
                    selector.modify(one.connection, selectors.EVENT_READ, one)
                if not events & selectors.EVENT_READ:
                    continue
                try:
                    if not one.pull():
                        continue
                    if not 200 <= one.answer.status < 300:
                        refused.append(
                            f"{one.answer.status} "
                            f"{bytes(one.answer.body[:200]).decode('utf-8', 'replace')}"
                        )
                except (Refused, OSError) as error:
                    refused.append(f"{type(error).__name__}: {error}")
                selector.unregister(one.connection)
                one.connection.close()
    selector.close()
    return {
        "finished": count - len(refused),
        "refused": sorted(set(refused)),
        "seconds": time.perf_counter() - began,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", default="PUT")
    parser.add_argument(
        "--path", required=True, help="{name} is replaced by each upload's own name"
    )
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    asked = parser.parse_args(arguments)
    print(json.dumps(run(asked.port, asked.method, asked.path, asked.source, asked.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
