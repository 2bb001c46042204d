"""A real HTTP proxy on loopback.

It knows CONNECT and absolute-form, may want a password or refuse, and records each request.

with Proxy() as proxy: ...   # proxy.url, proxy.asked: "CONNECT host:port", "GET
http://host:port/path"
"""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Proxy"]

SOCKET_TIMEOUT = 20.0  # seconds of any wait


class Proxy:
    def __init__(self, user: str = "", refuses: int = 0) -> None:
        self.asked: list[str] = []
        self._proof = b64encode(user.encode()).decode() if user else ""
        self._refuses = refuses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{user + '@' if user else ''}{self.place}"
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
        self._socks.append(client)
        with client, suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (piece := client.recv(65536)):
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            self.asked.append(f"{method} {target}")
            known = dict(field.lower().split(": ", 1) for field in fields)
            if (
                self._proof
                and known.get("proxy-authorization", "").removeprefix("basic ")
                != self._proof.lower()
            ):
                client.sendall(
                    b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            if self._refuses:
                client.sendall(
                    b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    % self._refuses
                )
                return
            place = target if method == "CONNECT" else urlsplit(target).netloc
            host, _, port = place.rpartition(":")
            with socket.create_connection((host, int(port)), SOCKET_TIMEOUT) as server:
                self._socks.append(server)
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    kept = [field for field in fields if not field.lower().startswith("proxy-")]
                    path = target.split(place, 1)[1] or "/"
                    server.sendall(
                        "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "", ""]).encode("latin-1")
                        + body
                    )
                back = threading.Thread(target=_pass, args=(server, client), daemon=True)
                back.start()
                _pass(client, server)
                back.join(SOCKET_TIMEOUT)


def _pass(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
