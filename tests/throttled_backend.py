"""A backend as a program: reads bodies at a given speed, and counts the bytes read in a file.

python throttled_backend.py BYTES_PER_SECOND COUNTER_FILE [SECONDS_BEFORE_ITS_ANSWER]

The counter is 8 bytes, little end first, of all body bytes of all requests: it can be read while
the process is stopped. A speed of 0 reads no body. Prints its port.
"""

from __future__ import annotations

import mmap
import socket
import sys
import threading
import time
from contextlib import suppress

WINDOW = 64 << 10  # bytes the kernel may hold before we read; it doubles that
STEP = 20_000  # bytes a read, or what comes in a millisecond


class Counter:
    """Counts into a file."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)
        self._lock = threading.Lock()
        self.total = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count
            self._memory[:8] = self.total.to_bytes(8, "little")


def serve(sock: socket.socket, speed: int, counter: Counter, pause: float) -> None:
    with sock, suppress(OSError):
        ahead = b""
        while b"\r\n\r\n" not in ahead:
            ahead += sock.recv(1)
        lines = ahead.decode("latin-1").lower().split("\r\n")
        left = next(
            int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")
        )
        while not speed:
            time.sleep(60)
        due = time.monotonic()
        while left:
            data = sock.recv(min(max(STEP, speed // 1000), left))
            if not data:
                return
            left -= len(data)
            counter.add(len(data))
            due = max(
                due + len(data) / speed, time.monotonic() - 0.05
            )  # after a stop, the lost time is not caught up
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(pause)
        sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)


def main() -> None:
    speed, counter = int(sys.argv[1]), Counter(sys.argv[2])
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, speed, counter, pause), daemon=True).start()


main()
