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
from urllib.parse import urlsplit

from loopback import Listener, pass_on

__all__ = ["Proxy"]

SOCKET_TIMEOUT = 20.0  # seconds of any wait


class Proxy(Listener):
    def __init__(self, user: str = "", refuses: int = 0) -> None:
        self.asked: list[str] = []
        self._proof = b64encode(user.encode()).decode() if user else ""
        self._refuses = refuses
        super().__init__()
        self.url = f"http://{user + '@' if user else ''}{self.place}"

    def serve(self, client: socket.socket) -> None:
        client.settimeout(SOCKET_TIMEOUT)
        self.keep(client)
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
                self.keep(server)
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    kept = [field for field in fields if not field.lower().startswith("proxy-")]
                    path = target.split(place, 1)[1] or "/"
                    server.sendall(
                        "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "", ""]).encode("latin-1")
                        + body
                    )
                back = threading.Thread(target=_pass_to_the_end, args=(server, client), daemon=True)
                back.start()
                _pass_to_the_end(client, server)
                back.join(SOCKET_TIMEOUT)


def _pass_to_the_end(one: socket.socket, other: socket.socket) -> None:
    pass_on(one, other)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
