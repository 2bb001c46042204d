"""A TCP proxy that cuts each connection after so many bytes from the client, and counts them.

with CuttingProxy(port, after=2 << 20) as proxy:
    ...  # proxy.url, proxy.sent, proxy.cuts
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

__all__ = ["CuttingProxy"]

SOCKET_TIMEOUT = 60.0  # seconds of any wait
PIECE = 64 << 10
# Bytes that wait in a socket: fewer than a cut, or it would never be reached.
WINDOW = 64 << 10


class CuttingProxy:
    """`sent` counts the bytes that went on to the server; `cuts` the connections that were cut."""

    def __init__(self, port: int, after: int) -> None:
        self._port, self.after = port, after
        self.sent = self.cuts = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._socks: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._socks):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(SOCKET_TIMEOUT)
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            self._socks += [client, server]
            threading.Thread(target=_pass, args=(server, client), daemon=True).start()
            left = self.after
            while data := client.recv(min(PIECE, left)):
                server.sendall(data)
                left -= len(data)
                with self._lock:
                    self.sent += len(data)
                if not left:
                    with self._lock:
                        self.cuts += 1
                    # What was passed on arrives; the client's connection breaks.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
        client.close()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(PIECE):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
