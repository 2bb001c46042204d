"""A TCP proxy that breaks connections as bad networks do, and counts what clients send through it.

with cutting_proxy(server.port, cut=6_000_000) as proxy: ...   # proxy.url, proxy.sent
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["CuttingProxy", "cutting_proxy"]

READ = 1 << 16


class CuttingProxy:
    """Passes connections on to the server's port.

    Args:
        server: That port. It may change, as that of a server that was started again.
        cut: Bytes from the client after which a connection ends; None for never.
        rate: Bytes a second from the client, for each connection alone.
    """

    def __init__(self, server: int, cut: int | None, rate: float) -> None:
        self.server, self.cut, self.rate = server, cut, rate
        self.sent = 0  # bytes that clients have sent, headers included
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.listen(64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock, self._open = threading.Lock(), set[socket.socket]()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_all(self) -> None:
        """End every connection now."""
        with self._lock:
            ended = list(self._open)
        for one in ended:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", self.server))
            except OSError:  # a server that is down
                client.close()
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ)
            with self._lock:
                self._open |= {client, upstream}
            threading.Thread(target=self._upwards, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._downwards, args=(client, upstream), daemon=True).start()

    def _upwards(self, client: socket.socket, upstream: socket.socket) -> None:
        count, free = 0, 0.0
        with suppress(OSError):
            while data := client.recv(READ):
                count += len(data)
                with self._lock:
                    self.sent += len(data)
                upstream.sendall(data)
                if self.cut is not None and count >= self.cut:
                    self.cuts += 1
                    break
                now = time.monotonic()
                free = max(now, free) + len(data) / self.rate
                time.sleep(free - now)
        self._end(client, upstream)

    def _downwards(self, client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(READ):
                client.sendall(data)
        self._end(client, upstream)

    def _end(self, *sockets: socket.socket) -> None:
        """Ends both; the second of their threads closes them, when no other one waits in them."""
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            is_last = not self._open.issuperset(sockets)
            self._open.difference_update(sockets)
        if is_last:
            client, upstream = sockets
            # A reset: a sender whose window is closed never hears of an end. What was passed on
            # arrives: it is beyond the place where the line broke.
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            upstream.close()


@contextmanager
def cutting_proxy(
    server: int, cut: int | None = None, rate: float = float("inf")
) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server, cut, rate)
    try:
        yield proxy
    finally:
        proxy.close()
