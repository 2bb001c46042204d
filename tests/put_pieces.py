"""Plain PUTs, pieces of one file and questions, as their clients send them."""

from __future__ import annotations

from fix_server import RunningServer
from raw_http import Answer, Wire, head, talk

__all__ = ["cut", "kept", "piece", "put"]


def put(server: RunningServer, key: str, data: bytes, *fields: str) -> Answer:
    lines = [f"Content-Length: {len(data)}", *fields]
    return talk(server.port, head("PUT", f"/files/{key}", *lines) + data)


def piece(server: RunningServer, key: str, whole: bytes, start: int, stop: int) -> Answer:
    span = f"Content-Range: bytes {start}-{stop - 1}/{len(whole)}"
    return put(server, key, whole[start:stop], span)


def kept(server: RunningServer, key: str, total: int | str = "*") -> int:
    """What the question says, in both of its fields."""
    answer = put(server, key, b"", f"Content-Range: bytes */{total}")
    assert answer.status == 308
    offset = int(answer.headers["upload-offset"])
    assert answer.headers.get("range") == (f"bytes=0-{offset - 1}" if offset else None)
    return offset


def cut(server: RunningServer, key: str, whole: bytes, sent: int, *fields: str) -> Answer:
    """A PUT whose client closes its half before the end."""
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/{key}", f"Content-Length: {len(whole)}", *fields))
        wire.send(whole[:sent])
        wire.half_close()
        return wire.answer()
