"""A backend as a program that tests kill and start again: it writes down what it took.

python dying_backend.py PORT FOLDER [BYTES]

Each request that came whole is a file of FOLDER: its head's lines, an empty one, its body. With
BYTES it stops reading after so many. Prints its port.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def serve(sock: socket.socket, folder: Path, most: int) -> None:
    with sock, suppress(OSError):
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536) or b"\r\n\r\n"
        head, _, begun = data.partition(b"\r\n\r\n")
        body = bytearray(begun)
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        length = int(fields.get(b"content-length", b"0"))
        while len(body) < length:
            while len(body) >= most:
                time.sleep(60)
            if not (more := sock.recv(65536)):
                return
            body += more
        if not head.startswith(b"HEAD"):
            name = folder / f"{time.time_ns()}"
            name.with_suffix(".new").write_bytes(head + b"\r\n\r\n" + body)
            os.replace(name.with_suffix(".new"), name.with_suffix(".taken"))
        sock.sendall(
            b"HTTP/1.1 201 Created\r\nLocation: /books/7\r\nContent-Type: application/json\r\n"
            b'Content-Length: 12\r\nConnection: close\r\n\r\n{"ok": true}'
        )
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    most = int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, folder, most), daemon=True).start()


main()
