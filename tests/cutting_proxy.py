"""A TCP proxy that breaks connections as bad networks do, and counts what clients send through it.

with CuttingProxy(server.port, cut=6_000_000) as proxy: ...   # proxy.url, proxy.sent, proxy.cuts
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

from loopback import READ, Listener, pass_on

__all__ = ["CuttingProxy"]


class CuttingProxy(Listener):
    """Passes connections on to the server's port.

    Args:
        server: That port. It may change, as that of a server that was started again.
        cut: Bytes from the client after which a connection ends; None for never.
        rate: Bytes a second from the client, for each connection alone.
        total: Bytes a second from clients, for all connections together.
    """

    def __init__(
        self,
        server: int,
        cut: int | None = None,
        rate: float = float("inf"),
        total: float = float("inf"),
    ) -> None:
        super().__init__(window=READ)  # less than a cut, or the client would have sent everything
        self.server, self.cut, self.rate, self.total = server, cut, rate, total
        self._free = 0.0  # when the line is free again, by time.monotonic()
        self.sent = 0  # bytes that clients have sent, headers included
        self.cuts = 0

    def serve(self, client: socket.socket) -> None:
        try:
            upstream = socket.create_connection(("127.0.0.1", self.server))
        except OSError:  # a server that is down
            client.close()
            return
        self.keep(client, upstream)
        threading.Thread(target=self._downwards, args=(client, upstream), daemon=True).start()
        self._upwards(client, upstream)

    def _upwards(self, client: socket.socket, upstream: socket.socket) -> None:
        count, free = 0, 0.0
        with suppress(OSError):
            while data := client.recv(READ if self.cut is None else min(READ, self.cut - count)):
                count += len(data)
                with self.lock:
                    self.sent += len(data)
                upstream.sendall(data)
                if self.cut is not None and count >= self.cut:
                    with self.lock:
                        self.cuts += 1
                    break
                now = time.monotonic()
                free = max(now, free) + len(data) / self.rate
                with self.lock:
                    self._free = max(now, self._free) + len(data) / self.total
                time.sleep(max(free, self._free) - now)
        self._end(client, upstream)

    def _downwards(self, client: socket.socket, upstream: socket.socket) -> None:
        pass_on(upstream, client)
        self._end(client, upstream)

    def _end(self, *sockets: socket.socket) -> None:
        """Ends both; the second of their threads closes them, when no other one waits in them."""
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self.lock:
            is_last = not self.open.issuperset(sockets)
            self.open.difference_update(sockets)
        if is_last:
            client, upstream = sockets
            # A reset: a sender whose window is closed never hears of an end. What was passed on
            # arrives: it is beyond the place where the line broke.
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            upstream.close()
