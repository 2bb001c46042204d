"""The client process of the rows at once: some uploads of one file, all begun together.

One thread an upload, each with a blocking sendfile, so that the sender costs as little as for one.
Upload number N sends the source from byte N * step on. Prints one JSON line. Run as `python3 -m
bench.send_many`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

from bench.answer import Refused, connect, read_answer
from bench.send import raw_envelope, warm

__all__ = ["main", "send_all"]


class Upload:
    """One of them: seconds from the common start to the last byte of its response."""

    def __init__(self, port: int, method: str, path: str, source: Path, start: int, size: int):
        self._port, self._source, self._start, self._size = port, source, start, size
        self._envelope = raw_envelope(method, path, size)
        self.seconds = 0.0
        self.refused: str | None = None

    def run(self, began: threading.Barrier) -> None:
        with connect(self._port) as connection, self._source.open("rb") as file:
            began.wait()
            clock = time.perf_counter()
            try:
                connection.sendall(self._envelope.before)
                at, stop = self._start, self._start + self._size
                while at < stop:
                    at += os.sendfile(connection.fileno(), file.fileno(), at, stop - at)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server may have answered early: its response says why
            try:
                response = read_answer(connection)
            except (Refused, OSError) as error:
                self.refused = f"{type(error).__name__}: {error}"
                return
            self.seconds = time.perf_counter() - clock
        if not 200 <= response.status < 300:
            text = bytes(response.body[:200]).decode("utf-8", "replace")
            self.refused = f"{response.status} {text}"


def send_all(
    port: int, method: str, path: str, source: Path, count: int, size: int, step: int
) -> dict[str, object]:
    """Seconds of all and of each, this process's processor seconds, and what was refused."""
    uploads = [
        Upload(port, method, path.format(name=f"many-{number}"), source, number * step, size)
        for number in range(count)
    ]
    barrier = threading.Barrier(count + 1)
    threads = [threading.Thread(target=one.run, args=(barrier,)) for one in uploads]
    for thread in threads:
        thread.start()
    barrier.wait()
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "each": [one.seconds for one in uploads if one.refused is None],
        "refused": sorted({one.refused for one in uploads if one.refused is not None}),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", default="PUT")
    parser.add_argument("--path", required=True, help="{name} is each upload's own name")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of each")
    parser.add_argument("--step", type=int, required=True, help="bytes between two beginnings")
    asked = parser.parse_args(arguments)
    warm(asked.source)
    told = send_all(
        asked.port, asked.method, asked.path, asked.source, asked.count, asked.size, asked.step
    )
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
