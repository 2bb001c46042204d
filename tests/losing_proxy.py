"""A TCP proxy that loses responses: the server has done what it was asked, and nobody hears of it.

with LosingProxy(server.port, b"upload-concat: final") as proxy: ...   # proxy.url, proxy.lost
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from loopback import READ, Listener

__all__ = ["LosingProxy"]


class LosingProxy(Listener):
    """Passes connections on to the server's port.

    Args:
        server: That port.
        word: In lower case; it stands in the head of a request whose response gets lost.
        times: Responses that get lost; later ones pass.
    """

    def __init__(self, server: int, word: bytes, times: int = 1) -> None:
        super().__init__()
        self.server, self.word, self.times = server, word, times
        self.lost = 0

    def serve(self, client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", self.server))
        self.keep(client, upstream)
        loses = threading.Event()
        downwards = threading.Thread(
            target=self._downwards, args=(client, upstream, loses), daemon=True
        )
        downwards.start()
        with suppress(OSError):
            while data := client.recv(READ):
                with self.lock:
                    if self.word in data.lower() and self.lost < self.times:
                        self.lost += 1
                        loses.set()
                upstream.sendall(data)
        _end(client, upstream)
        downwards.join()
        client.close()
        upstream.close()

    def _downwards(
        self, client: socket.socket, upstream: socket.socket, loses: threading.Event
    ) -> None:
        with suppress(OSError):
            while (data := upstream.recv(READ)) and not loses.is_set():
                client.sendall(data)
        _end(client, upstream)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
