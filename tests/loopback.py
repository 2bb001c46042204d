"""What the proxies of the tests share: a listener on loopback, with a thread for each connection.

Derive and define `serve`. Used as `with`: at its end every connection that was kept ends.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

__all__ = ["Listener", "pass_on"]

READ = 64 << 10


class Listener:
    """Listens on a free port.

    Args:
        window: Bytes that may wait in a connection; None for as many as the system allows.
    """

    def __init__(self, window: int | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        if window is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.place}"
        self.lock, self.open = threading.Lock(), set[socket.socket]()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        self.cut_all()

    def serve(self, client: socket.socket) -> None:
        """Serves one connection in a thread of its own, and closes it."""
        raise NotImplementedError

    def keep(self, *sockets: socket.socket) -> None:
        """From now on `cut_all` ends these."""
        with self.lock:
            self.open.update(sockets)

    def cut_all(self) -> None:
        """End every connection now."""
        with self.lock:
            ended = list(self.open)
        for one in ended:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Pass on what the one sends, until either ends."""
    with suppress(OSError):
        while data := one.recv(READ):
            other.sendall(data)
