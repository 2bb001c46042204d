"""Downloads: ranges, conditions in the RFC's order, inert headers, readers that leave or stall."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import requests

from fix_server import RunningServer
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
SIZE = 1000
DATA = pattern(SIZE)


@pytest.fixture(scope="module")
def shelf(taker: RunningServer) -> RunningServer:
    """A server with a small object, an empty one and a large one."""
    for key, data in (("small.bin", DATA), ("empty.bin", b""), ("large.bin", pattern(8 * MIB) * 4)):
        put(taker, key, data)
    return taker


def put(server: RunningServer, key: str, data: bytes, **headers: str) -> requests.Response:
    response = requests.put(
        f"{server.url}/files/{quote(key)}", data=data, headers=headers, timeout=30
    )
    assert response.ok, response.text
    return response


def get(
    server: RunningServer, key: str = "small.bin", method: str = "GET", **headers: str
) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Accept-Encoding", "identity")
    return requests.request(method, f"{server.url}/files/{quote(key)}", headers=named, timeout=30)


# Whole objects


def test_a_download_has_all_headers_to_check_and_resume_it(
    shelf: RunningServer,
) -> None:
    """Length, strong tag, date, digest, ranges, name: all there, on GET and HEAD alike."""
    response, without = get(shelf), get(shelf, method="HEAD")

    assert response.content == DATA
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["ETag"].startswith('"')
    assert response.headers["Accept-Ranges"] == "bytes"
    assert (
        abs(parsedate_to_datetime(response.headers["Last-Modified"]).timestamp() - time.time())
        < 3600
    )
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert response.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert without.content == b""
    differing = {"date", "x-request-id", "traceparent"}
    assert {k.lower(): v for k, v in without.headers.items() if k.lower() not in differing} == {
        k.lower(): v for k, v in response.headers.items() if k.lower() not in differing
    }


def test_head_sends_no_byte_of_the_body(shelf: RunningServer) -> None:
    """Not even one that a client library would hide."""
    with Wire(shelf.port) as wire:
        wire.send(head("HEAD", "/files/large.bin") + head("GET", "/healthz", "Connection: close"))
        raw = wire.rest()

    assert raw.count(b"HTTP/1.1 200") == 2
    assert raw.endswith(b"ok\n")
    assert len(raw) < 4000


def test_an_empty_object_is_an_object(shelf: RunningServer) -> None:
    """200, length 0, also when a range is asked for: there is nothing to cut."""
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-5"}):
        response = get(shelf, "empty.bin", **headers)
        assert (response.status_code, response.content, response.headers["Content-Length"]) == (
            200,
            b"",
            "0",
        )


def test_a_missing_object_is_404(shelf: RunningServer) -> None:
    """Missing objects, folders, and every spelling of a way out of the root."""
    put(shelf, "dir/inside", b"x")
    (shelf.root.parent / "outside.txt").write_text("secret")
    targets = ["/files/nothing", "/files/dir", "/files/dir/", "/files/", "/files/small.bin/x"]
    targets += [
        f"/files/{way}"
        for way in (
            "../outside.txt",
            "%2e%2e/outside.txt",
            "..%2foutside.txt",
            "dir/../../outside.txt",
        )
    ]
    targets += [
        f"/files/{way}"
        for way in (
            ".sluiceway/drafts",
            "dir//inside",
            "./small.bin",
            "a%00b",
            "%5c..%5coutside.txt",
        )
    ]
    targets += ["/files//etc/passwd", "/files/%2fetc%2fpasswd", "/files/" + "n" * 5000]
    for method in ("GET", "HEAD", "DELETE"):
        for target in targets:
            with Wire(shelf.port) as wire:
                wire.send(head(method, target, "Connection: close"))
                status = wire.answer(to_head=method == "HEAD").status
            assert status in (400, 404), (method, target)

    assert (shelf.root.parent / "outside.txt").read_text() == "secret"
    assert get(shelf, "dir/inside").content == b"x"


# Ranges

SINGLE = [
    ("bytes=0-0", 0, 1),
    ("bytes=0-", 0, SIZE),
    ("bytes=0-999", 0, SIZE),
    ("bytes=0-1000000000000000000000000", 0, SIZE),
    ("bytes=999-", 999, SIZE),
    ("bytes=999-999", 999, SIZE),
    ("bytes=500-599", 500, 600),
    ("bytes=-1", 999, SIZE),
    ("bytes=-1000", 0, SIZE),
    ("bytes=-99999999999999999999999999", 0, SIZE),
    ("BYTES = 5-9", 5, 10),
    ("bytes=5-9,", 5, 10),
    ("bytes=5-7,8-9", 5, 10),
    ("bytes=2000-,5-9", 5, 10),
]


@pytest.mark.parametrize(("asked", "start", "stop"), SINGLE, ids=[case[0] for case in SINGLE])
def test_one_range_is_exactly_those_bytes(
    shelf: RunningServer, asked: str, start: int, stop: int
) -> None:
    """206, the bytes, Content-Range with the total, and the validators of a 200."""
    response = get(shelf, Range=asked)

    assert (response.status_code, response.content) == (206, DATA[start:stop])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(stop - start)
    whole = get(shelf)
    for name in (
        "ETag",
        "Last-Modified",
        "Repr-Digest",
        "Content-Type",
        "Content-Disposition",
        "Cache-Control",
    ):
        assert response.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    "asked",
    [
        "items=0-5",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=+1-5",
        "bytes=0x1-5",
        "bytes=٣-٤",
        "bytes=" + ",".join(f"{n * 4}-{n * 4 + 1}" for n in range(51)),
        "bytes=" + ",".join(["0-"] * 6),
        "bytes=0-" + "," * 5000,
    ],
    ids=lambda asked: ascii(asked)[:24],
)
def test_an_invalid_range_is_ignored(shelf: RunningServer, asked: str) -> None:
    """Another unit, malformed, too many or overlapping: the whole object, 200."""
    response = requests.get(
        f"{shelf.url}/files/small.bin", headers={"Range": asked.encode()}, timeout=10
    )

    assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize(
    "asked", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"]
)
def test_an_empty_range_is_416_with_the_size(shelf: RunningServer, asked: str) -> None:
    """The client learns the object's length, as a resumed download needs that was complete."""
    response = get(shelf, Range=asked)

    assert (response.status_code, response.json()["code"]) == (416, "range-unsatisfiable")
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked", [((0, 10), (20, 30)), ((900, 1000), (0, 1)), ((5, 6), (7, 8), (9, 10), (500, 999))]
)
def test_several_ranges_come_as_parts(
    shelf: RunningServer, asked: tuple[tuple[int, int], ...]
) -> None:
    """multipart/byteranges: each part with its Content-Range, in the order asked; exact length."""
    response = get(
        shelf, Range="bytes=" + ", ".join(f"{start}-{stop - 1}" for start, stop in asked)
    )
    kind, _, boundary = response.headers["Content-Type"].partition("; boundary=")

    assert (response.status_code, kind) == (206, "multipart/byteranges")
    assert "Content-Range" not in response.headers
    assert response.headers["Content-Length"] == str(len(response.content))
    parts = response.content.split(f"\r\n--{boundary}".encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    for (start, stop), part in zip(asked, parts[1:-1], strict=True):
        fields, _, data = part.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{stop - 1}/{SIZE}".encode() in fields
        assert b"Content-Type: application/octet-stream" in fields
        assert data == DATA[start:stop]


def test_range_is_for_get_only(shelf: RunningServer) -> None:
    """HEAD with a Range describes the whole object (RFC 9110 14.2)."""
    response = get(shelf, method="HEAD", Range="bytes=0-5")

    assert (response.status_code, response.headers["Content-Length"]) == (200, str(SIZE))


def test_a_range_of_a_large_object_crosses_blocks_right(shelf: RunningServer) -> None:
    """Offsets around the blocks that are read ahead."""
    data = pattern(8 * MIB) * 4
    for start, stop in (
        (65_535, 65_537),
        (MIB - 1, 3 * MIB + 1),
        (31 * MIB, 32 * MIB),
        (7 * MIB + 13, 20 * MIB),
    ):
        assert (
            get(shelf, "large.bin", Range=f"bytes={start}-{stop - 1}").content == data[start:stop]
        )


# Readers


def test_a_reader_that_leaves_stops_the_reading(shelf: RunningServer) -> None:
    """Twenty leave in the middle: no descriptor of the object stays open."""
    process = psutil.Process(shelf.pid)

    def held() -> list[str]:
        return [file.path for file in process.open_files() if file.path.endswith("large.bin")]

    for _ in range(20):
        with socket.create_connection(("127.0.0.1", shelf.port), 10) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(head("GET", "/files/large.bin"))
            sock.recv(1000)

    eventually(lambda: not held(), "the object is closed")


def test_slow_readers_hold_little(shelf: RunningServer) -> None:
    """Many stalled readers: backpressure reaches the disk; half the budget gives large blocks."""
    process = psutil.Process(shelf.pid)
    before = process.memory_info().rss
    socks = []
    try:
        for _ in range(160):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", shelf.port))
            sock.sendall(head("GET", "/files/large.bin"))
            socks.append(sock)
        eventually(
            lambda: sum(f.path.endswith("large.bin") for f in process.open_files()) == 160,
            "all are served",
        )
        time.sleep(1)
        grown = process.memory_info().rss - before
    finally:
        for sock in socks:
            sock.close()

    assert grown < 160 * MIB, f"{grown >> 10} KiB for 160 readers of a 32 MiB object"


def test_an_object_replaced_or_deleted_while_it_is_read_stays_itself(shelf: RunningServer) -> None:
    """The download that began before ends with the old bytes; the next one gets the new."""
    old = pattern(8 * MIB) * 2
    for act in ("replace", "delete"):
        put(shelf, "held.bin", old)
        with requests.get(f"{shelf.url}/files/held.bin", stream=True, timeout=30) as response:
            chunks = response.iter_content(65536)
            got = next(chunks)
            if act == "replace":
                put(shelf, "held.bin", b"new")
                assert get(shelf, "held.bin").content == b"new"
            else:
                assert get(shelf, "held.bin", method="DELETE").status_code == 204
                assert get(shelf, "held.bin").status_code == 404
            got += b"".join(chunks)

        assert hashlib.sha256(got).digest() == hashlib.sha256(old).digest()


def test_a_file_that_shrinks_while_it_is_read_breaks_the_connection(shelf: RunningServer) -> None:
    """The file is truncated on disk: the reader sees a broken transfer, never a short file."""
    put(shelf, "shrinks.bin", pattern(8 * MIB) * 4)
    with socket.create_connection(("127.0.0.1", shelf.port), 30) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(head("GET", "/files/shrinks.bin", "Connection: keep-alive"))
        got = sock.recv(1000)
        os.truncate(Path(shelf.root, "shrinks.bin"), MIB)
        while data := sock.recv(1 << 20):
            got += data

    assert f"content-length: {32 * MIB}".encode() in got[:1000].lower()
    assert len(got) < 30 * MIB
    eventually(lambda: "became shorter" in shelf.log(), "the log says why")


def test_many_readers_at_once_get_the_same_bytes(shelf: RunningServer) -> None:
    """Eight at once, different ranges of one object, each to its end."""
    data = pattern(8 * MIB) * 4
    wrong: list[int] = []

    def one(number: int) -> None:
        start = number * 4 * MIB - (number > 0)
        if get(shelf, "large.bin", Range=f"bytes={start}-").content != data[start:]:
            wrong.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_file_put_there_by_other_means_is_served_and_listed(shelf: RunningServer) -> None:
    """Also under a decomposed name, as on macOS, and one with a final dot; without a digest."""
    for name in ("by hand.txt", "e\u0301.txt", "dot."):
        (shelf.root / name).write_bytes(b"by hand")
        response = get(shelf, name)
        assert (response.status_code, response.content) == (200, b"by hand")
        assert "Repr-Digest" not in response.headers
        listed = requests.get(f"{shelf.url}/files", params={"prefix": name}, timeout=10).json()[
            "files"
        ]
        assert [entry["key"] for entry in listed] == [name]
        assert requests.get(shelf.url + listed[0]["url"], timeout=10).content == b"by hand"
        assert get(shelf, name, method="DELETE").status_code == 204
        assert not (shelf.root / name).exists()
