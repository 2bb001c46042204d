"""A TCP proxy behind which the server is far away: each byte arrives late, in both directions.

with LongLine(server.port, delay=0.04) as line: ...   # line.url

For systems whose kernel cannot delay packets (netem).
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from queue import Queue

from loopback import READ, Listener

__all__ = ["LongLine"]

WINDOW = 4 << 20  # bytes that are on their way in one direction of a connection, at most


class LongLine(Listener):
    """Passes connections on to the server's port.

    Args:
        server: That port.
        delay: Seconds, each way.
    """

    def __init__(self, server: int, delay: float) -> None:
        super().__init__()
        self.server, self.delay = server, delay

    def serve(self, client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", self.server))
        self.keep(client, upstream)
        down = threading.Thread(target=self._carry, args=(upstream, client), daemon=True)
        down.start()
        self._carry(client, upstream)
        down.join()
        client.close()
        upstream.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        queue: Queue[tuple[float, bytes]] = Queue(WINDOW // READ)
        arriving = threading.Thread(target=self._arrive, args=(queue, target), daemon=True)
        arriving.start()
        data = b"-"
        while data:
            try:
                data = source.recv(READ)
            except OSError:
                data = b""
            queue.put((time.monotonic() + self.delay, data))
        arriving.join()

    def _arrive(self, queue: Queue[tuple[float, bytes]], target: socket.socket) -> None:
        while True:
            due, data = queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            with suppress(OSError):
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
