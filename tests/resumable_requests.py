"""Requests of the IETF's resumable uploads, in any version, over raw sockets.

begun = create(server, 8, b"hello ")
last = append(server, 8, begun.headers["location"], 6, b"world")
"""

from __future__ import annotations

from fix_server import RunningServer
from raw_http import Answer, Wire, head, talk

__all__ = [
    "ANNOUNCED",
    "IANA",
    "LATER",
    "VERSIONS",
    "append",
    "append_fields",
    "ask",
    "complete",
    "create",
    "interim_of",
    "named",
    "says_complete",
    "stored",
]

VERSIONS = [3, 4, 5, 6, 7, 8, 9, None]
LATER = [6, 7, 8, 9, None]  # with Upload-Limit, Upload-Length, application/partial-upload
ANNOUNCED = [3, 4, 5, 6, 7, 8, 9]  # clients that name their version get a 104
IANA = "https://iana.org/assignments/http-problem-types"


def named(version: int | None) -> list[str]:
    return [] if version is None else [f"Upload-Draft-Interop-Version: {version}"]


def complete(version: int | None, value: bool) -> str:
    """The field that says whether these are the last bytes."""
    if version == 3:
        return f"Upload-Incomplete: ?{int(not value)}"
    return f"Upload-Complete: ?{int(value)}"


def says_complete(version: int | None, answer: Answer) -> bool:
    if version == 3:
        return answer.headers["upload-incomplete"] == "?0"
    return answer.headers["upload-complete"] == "?1"


def create(
    server: RunningServer,
    version: int | None,
    data: bytes = b"",
    *fields: str,
    done: bool = False,
    target: str = "/files?name=book.txt",
    method: str = "POST",
) -> Answer:
    lines = [*named(version), complete(version, done), f"Content-Length: {len(data)}", *fields]
    return talk(server.port, head(method, target, *lines) + data)


def append(
    server: RunningServer,
    version: int | None,
    url: str,
    offset: int,
    data: bytes,
    *fields: str,
    done: bool = True,
) -> Answer:
    lines = [*append_fields(version, offset, done), f"Content-Length: {len(data)}", *fields]
    return talk(server.port, head("PATCH", url, *lines) + data)


def append_fields(version: int | None, offset: int, done: bool) -> list[str]:
    kind = [] if version in (3, 4, 5) else ["Content-Type: application/partial-upload"]
    return [*named(version), *kind, complete(version, done), f"Upload-Offset: {offset}"]


def ask(
    server: RunningServer, version: int | None, url: str, *fields: str, method: str = "HEAD"
) -> Answer:
    with Wire(server.port) as wire:
        wire.send(head(method, url, *named(version), *fields))
        return wire.answer(to_head=method == "HEAD")


def stored(server: RunningServer, answer: Answer) -> bytes:
    """The file that the response names."""
    key: str = answer.json()["files"][0]["key"]
    return (server.root / key).read_bytes()


def interim_of(wire: Wire) -> tuple[int, dict[str, str]]:
    """The next response, which must be an interim one."""
    line, *lines = wire.head().split("\r\n")
    return int(line.split(" ")[1]), {
        name.lower(): value.strip() for name, _, value in (item.partition(":") for item in lines)
    }
