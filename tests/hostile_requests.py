"""A generator of hostile requests.

Heads, targets, queries, forms, chunks, pipelines and stored attributes, made of a seed.

attack = Attack(port, seed, root) # the same seed sends the same bytes, connection by connection
attack.run(seconds, threads=4)
assert attack.found == []  # faults in the responses, each with the seed that repeats it

`python tests/hostile_requests.py PORT SEED` sends one connection again and prints what came back.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hostile_words import (
    FIELDS,
    KEYS,
    METHODS,
    NAMES,
    NOTE_VALUES,
    NOTES,
    PART_FIELDS,
    TOKENS,
    VALUES,
    VERSIONS,
)

__all__ = ["Attack", "conversation", "hostile_note"]

ANSWER = 0.1  # seconds a connection may take to answer, before the next one begins
SERVER_ERROR = re.compile(rb"HTTP/1\.1 500 ")


def conversation(seed: str, prefix: str = "") -> list[bytes]:
    """Yields what one connection sends, piece by piece."""
    dice = random.Random(seed)
    data = b"".join(_request(dice, prefix) for _ in range(dice.choice([1, 1, 1, 2, 3, 6])))
    if dice.random() < 0.25:
        data = _mutated(dice, data)
    if dice.random() < 0.15:
        data = data[: dice.randrange(len(data) + 1)]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice([0, 0, 1, 3])))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def hostile_note(dice: random.Random, honest: bytes | None) -> bytes:
    """Returns content that another program, or a broken disk, could leave in a file's attribute."""
    if honest is None or dice.random() < 0.2:
        return dice.choice(NOTES).encode("utf-8", "surrogatepass")
    try:
        content = json.loads(honest)
    except (ValueError, RecursionError):
        return _mutated(dice, honest)
    if not isinstance(content, dict) or dice.random() < 0.2:
        return _mutated(dice, honest)
    for _ in range(dice.randint(1, 3)):
        content[dice.choice([*content, "other", "headers", "user"])] = dice.choice(NOTE_VALUES)
    return json.dumps(content, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def _request(dice: random.Random, prefix: str) -> bytes:
    method = (
        dice.choice(METHODS)
        if dice.random() < 0.3
        else dice.choice(["GET", "PUT", "POST", "HEAD", "DELETE"])
    )
    fields: list[tuple[str, str]] = [("Host", "localhost")] if dice.random() < 0.95 else []
    body = b""
    if method in ("PUT", "POST", "PATCH") or dice.random() < 0.1:
        kind, body = _body(dice)
        if kind:
            fields.append(("Content-Type", kind))
        if dice.random() < 0.5:
            fields.append(("Content-Length", str(len(body))))
        else:
            fields.append(("Transfer-Encoding", "chunked"))
            body = _chunked(dice, body)
    for _ in range(dice.choice([0, 0, 0, 0, 1, 1, 2, 5])):
        name = dice.choice(list(FIELDS))
        fields.append((name, dice.choice(FIELDS[name])))
    if dice.random() < 0.02:
        fields += [("A", "")] * dice.choice([100, 200, 5000])
    lines = [f"{method} {_target(dice, prefix, method)} HTTP/{dice.choice(VERSIONS)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace") + b"\r\n" + body


def _target(dice: random.Random, prefix: str, method: str) -> str:
    key = dice.choice(["a", "b.txt", "dir/c"]) if dice.random() < 0.5 else dice.choice(KEYS)
    if dice.random() < 0.75:
        usual = {
            "PUT": [f"/files/{key}"],
            "DELETE": [f"/files/{key}", "/uploads/" + key],
            "POST": ["/files"],
        }
        path = dice.choice(
            usual.get(
                method, [f"/files/{key}", "/files", "/", "/uploads/abcdefgh", "/fetch", "/readyz"]
            )
        )
    else:
        path = dice.choice(
            [
                "/",
                "/files/",
                "/uploads/",
                "/healthz",
                "/page/",
                "/metrics",
                "/nowhere",
                "*",
                "//",
                "/%2e",
                "/fetch",
            ]
        )
        if path.endswith("/"):
            path += key
    if dice.random() < 0.4:
        path += "?" + "&".join(
            f"{dice.choice(NAMES)}={dice.choice(VALUES)}" for _ in range(dice.randint(1, 3))
        )
    if path.startswith("/"):
        path = prefix + path
    if dice.random() < 0.05:
        path = (
            dice.choice(
                [
                    "http://localhost",
                    "http://",
                    "http://[",
                    "https://x:99999",
                    "localhost:80",
                    "\xff",
                    "#",
                ]
            )
            + path
        )
    return path


def _body(dice: random.Random) -> tuple[str, bytes]:
    kind = dice.random()
    if kind < 0.4:
        return "", dice.randbytes(dice.choice([0, 1, 5, 1000, 70_000]))
    if kind < 0.5:
        content: object = dice.choice(
            [
                {"url": dice.choice(VALUES)},
                {"url": 1},
                [],
                None,
                {"url": "http://127.0.0.1:1/", "key": dice.choice(KEYS)},
            ]
        )
        return "application/json", dice.choice(
            [json.dumps(content).encode(), b"[" * 60_000, b'{"url":' * 20_000, b"\xff", b"1" * 6000]
        )
    body = b""
    for _ in range(dice.choice([0, 1, 2, 5, 30])):
        lines = [dice.choice(PART_FIELDS[:2])] if dice.random() < 0.7 else []
        lines += dice.choices(PART_FIELDS, k=dice.choice([0, 0, 1, 3]))
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        body += (
            b"--B\r\n" + head + b"\r\n" + dice.randbytes(dice.choice([0, 1, 20, 5000])) + b"\r\n"
        )
    body += dice.choice(
        [b"--B--\r\n", b"--B--\r\n", b"--B--", b"--B-", b"", b"--B--\r\n" + b"x" * 70_000]
    )
    return "multipart/form-data; boundary=B", _mutated(dice, body) if dice.random() < 0.3 else body


def _chunked(dice: random.Random, body: bytes) -> bytes:
    size = dice.choice([1, 7, 1000, 100_000])
    if size == 1:
        body = body[:2000]
    form = dice.choice(
        [b"%x\r\n%s\r\n"] * 12
        + [b"%x;a=b\r\n%s\r\n", b"0%x\r\n%s\r\n", b"%X \r\n%s\r\n", b"-%x\r\n%s\r\n", b"%x\n%s\n"]
    )
    chunks = b"".join(
        form % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)
    )
    return chunks + dice.choice(
        [b"0\r\n\r\n"] * 8
        + [b"0\r\nX: y\r\n\r\n", b"000;x\r\n\r\n", b"0\r\n", b"", b"0\r\nContent-Length: 5\r\n\r\n"]
    )


def _mutated(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(4):
            case 0:
                changed[at : at + 1] = dice.randbytes(1)
            case 1:
                del changed[at : at + dice.choice([1, 2, 10, 100])]
            case 2:
                changed[at:at] = dice.choice(TOKENS)
            case _:
                changed[at:at] = changed[at : at + dice.choice([1, 10, 200])]
    return bytes(changed)


class Attack:
    """Hostile connections to one server, several at a time."""

    def __init__(self, port: int, seed: str, root: Path | None = None, prefix: str = "") -> None:
        self.port, self.seed, self._root, self._prefix = port, seed, root, prefix
        self.found: list[str] = []  # answers that must not occur
        self.sent = 0  # connections so far

    def run(self, seconds: float, threads: int = 4) -> None:
        end = time.monotonic() + seconds
        workers = [
            threading.Thread(target=self._work, args=(number, end)) for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self, number: int, end: float) -> None:
        connection = 0
        while time.monotonic() < end and not self.found:
            seed = f"{self.seed}/{number}/{connection}"
            if self._root is not None and number == 0 and connection % 5 == 0:
                self._spoil(random.Random(seed))
            response = talk(self.port, seed, self._prefix)
            if SERVER_ERROR.search(response):
                self.found.append(f"status 500 for the connection {seed!r}: {response[-600:]!r}")
            connection += 1
            self.sent += 1

    def _spoil(self, dice: random.Random) -> None:
        """Change the attribute of a stored file."""
        with contextlib.suppress(OSError):  # deleted meanwhile, or larger than an attribute may be
            found = sorted(self._root.rglob("*"))[:500] if self._root else []
            paths = [path for path in found if path.is_file() and ".sluiceway" not in path.parts]
            if not paths:
                return
            path = dice.choice(paths)
            try:
                honest: bytes | None = os.getxattr(path, "user.sluiceway")
            except OSError:
                honest = None
            os.setxattr(path, "user.sluiceway", hostile_note(dice, honest))


def talk(port: int, seed: str, prefix: str = "") -> bytes:
    """Send one connection's bytes and read for a moment. Then end it in one of several ways."""
    dice = random.Random(seed + "/end")
    ending: Callable[[socket.socket], None] = dice.choice(
        [_close, _close, _reset, _half_close, _half_close]
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        response = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            for piece in conversation(seed, prefix):
                sock.settimeout(2)
                sock.sendall(piece)
            if ending is _half_close:
                _half_close(sock)
            if dice.random() < 0.85:
                sock.settimeout(ANSWER)
                while len(response) < 1 << 20 and (more := sock.recv(65536)):
                    response += more
        if ending is _reset:
            _reset(sock)
    return response


def _close(sock: socket.socket) -> None:
    pass


def _half_close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if __name__ == "__main__":
    print(b"".join(conversation(sys.argv[2])))
    print(talk(int(sys.argv[1]), sys.argv[2]))
