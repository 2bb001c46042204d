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

__all__ = ["Attack", "conversation", "hostile_note"]

ANSWER = 0.1  # seconds a connection may take to answer, before the next one begins
SERVER_ERROR = re.compile(rb"HTTP/1\.1 500 ")

VERSIONS = ["1.1"] * 20 + ["1.0", "2.0", "0.9", "1.2", "x"]
METHODS = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "CONNECT",
    "TRACE",
    "PROPFIND",
    "get",
    "M-SEARCH",
]
KEYS = [
    "a",
    "b.txt",
    "dir/c",
    "dir/",
    "a" * 300,
    "x/" * 40 + "y",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f..",
    "%00",
    "%ff%fe",
    "%C3%A9",
]
KEYS += [
    "e%CC%81",
    "%F0%9F%92%A9",
    "C%3Ax",
    ".sluiceway/drafts/x",
    "a%0d%0ab",
    "%E2%80%AEgpj",
    "%",
    "%zz",
    "a;b=c",
    "a%20b",
    "+",
    "~",
    "CON",
]
KEYS += ["%cc%81" * 60, "%EF%BF%BE", "%ED%A0%80", "a//b", "./a", "%2F%2Fa", "*", "'\"<script>"]
VALUES = [
    "",
    "%00",
    "%ff",
    "a",
    "\\",
    "..",
    "1",
    "-1",
    "99999999999999999999",
    "0x10",
    "%D9%A1",
    "1e3",
    "zip",
    "tar",
    "http://u[::1]@]/x",
]
VALUES += [
    "http://[",
    "http://127.0.0.1:1/",
    "file:///etc/passwd",
    "//x",
    "http://a%00b/",
    "http://" + "a." * 200,
    "x" * 2000,
    "%F0%9F%92%A9",
]
NAMES = ["prefix", "after", "limit", "as", "name", "upload", "url", "x", "", "prefix%00", "%ff"]
NUMBERS = [
    "0",
    "00",
    "1",
    "5",
    "-1",
    "+5",
    "5,5",
    "0x5",
    "1_0",
    "5 ",
    "18446744073709551616",
    "9" * 40,
    "\u0665",
    "",
    "5\t",
    "1e1",
]
FIELDS: dict[str, list[str]] = {
    "Content-Length": NUMBERS,
    "Transfer-Encoding": [
        "chunked",
        "Chunked",
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "\x0bchunked",
        "chunked;x=y",
        "",
    ],
    "Content-Type": [
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=B",
        "x",
        "/",
        "multipart/form-data; boundary=" + "b" * 80,
        "multipart/mixed; boundary=B",
        "application/json",
        "text/html; charset=\xff",
        "a/b" * 200,
    ],
    "Content-Disposition": [
        "attachment",
        'attachment; filename="a',
        "attachment; filename*=UTF-8''%ff",
        "attachment; filename*=x'y'z",
        "attachment; filename=a; filename=b",
        "inline;;;",
        'attachment; filename="..\\..\\x"',
        "attachment; filename*0=a; filename*1=b",
    ],
    "Content-Encoding": ["gzip", "identity", "br, gzip", ""],
    "Content-Range": ["bytes 0-4/5", "bytes */5", "x"],
    "Content-Digest": [
        "sha-256=:AAAA:",
        "sha-256=::",
        "sha-256=:" + "A" * 43 + "=:",
        "md5=:x:",
        "=",
        "sha-256=:AA AA:",
        "sha-256",
    ],
    "Repr-Digest": ["sha-256=:" + "A" * 43 + "=:, sha-256=:AAAA:", "sha-512=::", ",,,"],
    "Range": [
        "bytes=0-",
        "bytes=-1",
        "bytes=5-2",
        "bytes=0-0," * 60 + "0-0",
        "bytes=" + "9" * 30 + "-",
        "lines=1-2",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
    ],
    "If-Range": ['"x"', "Sat, 01 Jan 2000 00:00:00 GMT", 'W/"x"', "x"],
    "If-Match": [
        "*",
        '"x"',
        'W/"x"',
        '"' * 51,
        ",",
        '"\xff"',
        ", ".join(f'"{n}"' for n in range(900)),
    ],
    "If-None-Match": ["*", '"x"', "x", '"a" "b"', ""],
    "If-Modified-Since": [
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "x",
        "Thu, 99 Foo 99999 99:99:99 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
    ],
    "If-Unmodified-Since": ["Sat, 01 Jan 2000 00:00:00 GMT", "", "Mon, 31 Feb 2099 00:00:00 GMT"],
    "Accept": ["text/event-stream", "*/*", "text/html", "a/b;q=x"],
    "Accept-Encoding": ["gzip", "identity;q=0", "*;q=0", "gzip;q=1000"],
    "Expect": ["100-continue", "100-CONTINUE", "200-ok", ""],
    "Upgrade": ["h2c", "websocket", "TLS/1.0", ""],
    "Connection": ["close", "keep-alive", "Upgrade", "Upgrade, HTTP2-Settings", "x" * 100, ""],
    "Origin": [
        "null",
        "http://[",
        "http://localhost",
        "https://evil.example",
        "http://localhost:99999",
        "x",
        "http://\xff",
    ],
    "Host": [
        "localhost",
        "[::1]",
        "[",
        "a:b",
        "",
        "localhost:99999",
        "127.0.0.1",
        "x@y",
        "\xff",
        "localhost, localhost",
    ],
    "Authorization": [
        "Bearer x",
        "Basic",
        "Basic !!!",
        "Basic \xff",
        "Bearer " + "x" * 5000,
        "basic Og==",
    ],
    "X-Forwarded-For": ["1.2.3.4", "\x9b31m", "a\u2028b", "1.2.3.4, x" * 100],
    "Forwarded": ["for=x;proto=y", ";;"],
    "Via": ["1.1 sluiceway", "x"],
    "Sec-Fetch-Site": ["cross-site", "same-origin", "x"],
    "Sec-Fetch-Dest": ["script", "x"],
    "Cookie": ["a=b; " * 200, "\xff"],
    "Trailer": ["X"],
    "Keep-Alive": ["timeout=x"],
    "X" * 300: ["y"],
    "": [""],
    "A B": ["c"],
}
TOKENS = [
    b"\x00",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b'"',
    b"\xff",
    b"%",
    b"--B",
    b"--B--",
    b"0\r\n\r\n",
]
TOKENS += [
    b"GET / HTTP/1.1\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\xc2\x9b",
    b"\xf0\x9f",
    b"A" * 4000,
]
PART_FIELDS = [
    'Content-Disposition: form-data; name="f"; filename="x.bin"',
    'Content-Disposition: form-data; name="t"',
]
PART_FIELDS += [
    "Content-Disposition: form-data",
    'Content-Disposition: form-data; name="f"; filename="',
    "Content-Disposition: attachment",
]
PART_FIELDS += [
    "Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''%ff%00",
    'Content-Disposition: form-data; name=""; filename=""',
]
PART_FIELDS += [
    "Content-Type: multipart/mixed; boundary=C",
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: x",
    "Content-Length: 3",
]
PART_FIELDS += [
    "Content-Transfer-Encoding: quoted-printable",
    "Content-Type: \xff",
    "X",
    ": y",
    "X: " + "z" * 9000,
]
NOTES = [
    "",
    "null",
    "[]",
    "{}",
    "{",
    "1",
    '"x"',
    "{" * 900,
    "[" * 3000,
    '{"size": 5}',
    "\x00",
    '{"sha256": 1e999}',
]
NOTE_VALUES: list[object] = [
    None,
    True,
    0,
    -1,
    1 << 70,
    1.5,
    "",
    "x",
    "zz" * 32,
    "\ud800",
    "\x00",
    "a" * 900,
    [],
    [[]],
    {},
    {"a": {"b": []}},
    "\r\nX: y",
    {"cache-control": "a\r\nX: y", "content-encoding": "\u20ac", "content-language": "\ud800"},
]


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
