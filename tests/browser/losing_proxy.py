"""A proxy that forwards requests and drops the responses to uploads: it closes the connection
instead.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["losing_proxy"]

READ = 1 << 16


@contextmanager
def losing_proxy(server: int) -> Iterator[int]:
    """A port whose connections lead to the server's port."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening, server), daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        listening.close()


def _accept(listening: socket.socket, server: int) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        upstream = socket.create_connection(("127.0.0.1", server))
        posting = threading.Event()
        for source, target, carry in ((client, upstream, _requests), (upstream, client, _answers)):
            threading.Thread(target=carry, args=(source, target, posting), daemon=True).start()


def _requests(client: socket.socket, upstream: socket.socket, posting: threading.Event) -> None:
    with suppress(OSError):
        while data := client.recv(READ):
            if data.startswith(b"POST "):
                posting.set()
            upstream.sendall(data)
    _hang_up(client, upstream)


def _answers(upstream: socket.socket, client: socket.socket, posting: threading.Event) -> None:
    with suppress(OSError):
        while (data := upstream.recv(READ)) and not posting.is_set():
            client.sendall(data)
    _hang_up(client, upstream)


def _hang_up(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
