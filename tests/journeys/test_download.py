"""Downloads: ranges, conditions in the RFC's order, inert headers, readers that leave or stall."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
import time
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import requests

from fix_server import RunningServer
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.testing.store_suite import pattern
from sluiceway.wire.headers.disposition import parse_disposition

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
    differing = {"date"}
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


# Conditions


def conditions(server: RunningServer) -> dict[str, str]:
    """Names for header values that hold or do not."""
    whole = get(server, method="HEAD").headers
    modified = parsedate_to_datetime(whole["Last-Modified"]).timestamp()
    return {
        "same": whole["ETag"],
        "weak": "W/" + whole["ETag"],
        "other": '"other"',
        "list": f'"x", {whole["ETag"]}, "y"',
        "any": "*",
        "now": whole["Last-Modified"],
        "before": formatdate(modified - 10, usegmt=True),
        "later": formatdate(modified + 10, usegmt=True),
        "nonsense": "yesterday",
    }


CONDITIONS = [
    # RFC 9110 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else -Modified-; If-Range
    ({"If_Match": "same"}, 200),
    ({"If_Match": "list"}, 200),
    ({"If_Match": "any"}, 200),
    ({"If_Match": "other"}, 412),
    ({"If_Match": "weak"}, 412),
    ({"If_Unmodified_Since": "now"}, 200),
    ({"If_Unmodified_Since": "later"}, 200),
    ({"If_Unmodified_Since": "before"}, 412),
    ({"If_Unmodified_Since": "nonsense"}, 200),
    ({"If_Match": "same", "If_Unmodified_Since": "before"}, 200),
    ({"If_None_Match": "same"}, 304),
    ({"If_None_Match": "weak"}, 304),
    ({"If_None_Match": "list"}, 304),
    ({"If_None_Match": "any"}, 304),
    ({"If_None_Match": "other"}, 200),
    ({"If_Modified_Since": "now"}, 304),
    ({"If_Modified_Since": "later"}, 304),
    ({"If_Modified_Since": "before"}, 200),
    ({"If_Modified_Since": "nonsense"}, 200),
    ({"If_None_Match": "other", "If_Modified_Since": "now"}, 200),
    ({"If_Match": "other", "If_None_Match": "same"}, 412),
    ({"If_Match": "same", "If_None_Match": "same"}, 304),
    ({"If_Unmodified_Since": "before", "If_Modified_Since": "now"}, 412),
    ({"Range": "bytes=0-9"}, 206),
    ({"Range": "bytes=0-9", "If_None_Match": "same"}, 304),
    ({"Range": "bytes=0-9", "If_Match": "other"}, 412),
    ({"Range": "bytes=5000-", "If_Match": "other"}, 412),
    ({"Range": "bytes=0-9", "If_Range": "same"}, 206),
    ({"Range": "bytes=0-9", "If_Range": "other"}, 200),
    ({"Range": "bytes=0-9", "If_Range": "weak"}, 200),
    ({"Range": "bytes=0-9", "If_Range": "now"}, 200),
    ({"Range": "bytes=5000-", "If_Range": "other"}, 200),
    ({"Range": "bytes=5000-", "If_Range": "same"}, 416),
    ({"If_Range": "same"}, 200),
]


@pytest.mark.parametrize(
    ("headers", "status"), CONDITIONS, ids=[f"{given}-{status}" for given, status in CONDITIONS]
)
def test_conditions_are_evaluated_in_the_order_of_the_rfc(
    shelf: RunningServer, headers: dict[str, str], status: int
) -> None:
    """One table: what is sent, what comes; HEAD answers as GET does, without ranges."""
    values = conditions(shelf)
    sent = {name: values.get(value, value) for name, value in headers.items()}
    response = get(shelf, **sent)

    assert response.status_code == status, response.text
    if status == 304:
        assert response.content == b""
        assert response.headers["ETag"] == values["same"]
    if status == 412:
        assert response.json()["code"] == "precondition-failed"
    assert get(shelf, method="HEAD", **sent).status_code == {206: 200, 416: 200}.get(status, status)


@pytest.mark.parametrize("value", ["abc", '"a" "b"', '"unclosed', "W/x", "x" * 9000])
def test_malformed_tags_are_refused(shelf: RunningServer, value: str) -> None:
    """A malformed condition must not count as true."""
    assert get(shelf, If_Match=value).status_code == 400


# Inert in a browser

NAMES = [
    "plain.txt",
    "with space.txt",
    "semi;colon.txt",
    "quote's.txt",
    "comma,name.txt",
    "naïve café.txt",
    "日本語.txt",
    "emoji 🦆.png",
    "100%25.txt",
    "%41%42.txt",
    "a=b&c.txt",
    "~tilde^hat`.txt",
    "x" * 190 + ".bin",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_read_back_from_its_header(shelf: RunningServer, name: str) -> None:
    """For every name, the Content-Disposition parses back to it, in ASCII, on one line."""
    key = f"names/{NAMES.index(name)}"
    asked = requests.put(f"{shelf.url}/files/{key}", params={"name": name}, data=b"x", timeout=10)
    stored = asked.json()["files"][0]["filename"]
    value = get(shelf, key).headers["Content-Disposition"]

    assert value.isascii()
    assert value.isprintable()
    assert parse_disposition(value).filename == stored == name


@pytest.mark.parametrize(
    "name",
    [
        'a"b.txt',
        "a\r\nX-Evil: 1",
        "a\\b.txt",
        "../../etc/passwd",
        "\0\x1b[31m.txt",
        'a";filename="x.exe',
        "\u202egpj.exe",
    ],
)
def test_a_hostile_name_cannot_break_out_of_its_header(shelf: RunningServer, name: str) -> None:
    """Quotes, line ends, escapes, paths: one well-formed header, nothing beside it."""
    key = f"hostile/{hashlib.sha256(name.encode()).hexdigest()}"
    stored = requests.put(
        f"{shelf.url}/files/{key}", params={"name": name}, data=b"x", timeout=10
    ).json()["files"][0]["filename"]
    response = get(shelf, key)

    assert "X-Evil" not in response.headers
    assert parse_disposition(response.headers["Content-Disposition"]).filename == stored
    assert "/" not in stored
    assert stored.isprintable()


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", "inline"),
        ("image/jpeg", "inline"),
        ("text/plain", "inline"),
        ("video/mp4", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/xml", "attachment"),
        ("application/pdf", "attachment"),
        ("text/javascript", "attachment"),
        ("application/octet-stream", "attachment"),
        ("IMAGE/SVG+XML", "attachment"),
        ("text/html; charset=utf-7", "attachment"),
        ("x/y\x80", "attachment"),
        ("nonsense", "attachment"),
    ],
)
def test_uploaded_files_run_nothing_in_a_browser(
    shelf: RunningServer, kind: str, shown: str
) -> None:
    """nosniff, a sandbox, and attachment unless the type is on the short safe list."""
    key = f"types/{hashlib.sha256(kind.encode()).hexdigest()}.bin"
    requests.put(
        f"{shelf.url}/files/{key}",
        data=b"<script>1</script>",
        headers={"Content-Type": kind.encode("latin-1")},
        timeout=10,
    )
    for asked in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=0-1,5-6"}):
        response = get(shelf, key, **asked)
        assert parse_disposition(response.headers["Content-Disposition"]).kind == shown
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox;")
        assert "allow-" not in policy
        assert "default-src 'none'" in policy
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


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


def test_both_spellings_of_a_name_are_one_object(shelf: RunningServer) -> None:
    """Put decomposed, asked for composed and decomposed: one object, stored composed."""
    put(shelf, "spell/e\u0301", b"1")

    assert get(shelf, "spell/\u00e9").content == get(shelf, "spell/e\u0301").content == b"1"
    assert "spell/\u00e9" in shelf.stored()
    assert get(shelf, "spell/e\u0301", method="DELETE").status_code == 204
    assert get(shelf, "spell/\u00e9").status_code == 404
