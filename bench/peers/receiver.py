"""A limit, not a peer: receives a body of known length and hashes it in one thread, stores nothing.

One connection at a time, blocks of 2 MiB filled by the kernel and hashed while they are in the
processor's cache. Its answer is the sha-256. `receiver.py PORT`.
"""

from __future__ import annotations

import hashlib
import re
import socket
import sys

__all__ = ["serve"]

BLOCK = 2 << 20
HEAD_LIMIT = 1 << 16


def serve(connection: socket.socket) -> None:
    """One request."""
    block = bytearray(BLOCK)
    view, have = memoryview(block), 0
    while (end := block.find(b"\r\n\r\n", 0, have)) < 0:
        count = connection.recv_into(view[have:])
        if not count or have > HEAD_LIMIT:
            return  # the bench only looked whether somebody listens
        have += count
    found = re.search(rb"content-length: *([0-9]+)", bytes(view[:end]).lower())
    left, hasher = int(found[1]) if found else 0, hashlib.sha256(view[end + 4 : have])
    left -= have - end - 4
    while left:
        want = min(left, BLOCK)
        have = connection.recv_into(view[:want], want, socket.MSG_WAITALL)
        if not have:
            return
        hasher.update(view[:have])
        left -= have
    body = hasher.hexdigest().encode()
    head = f"HTTP/1.1 201 Created\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        while True:
            client, _ = listener.accept()
            with client:
                serve(client)
