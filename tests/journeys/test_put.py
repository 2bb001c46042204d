"""PUT /files/{key}: raw bodies of every size and framing are stored as they were sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import noise
from raw_http import Wire, chunk, chunked, head, talk

MIB = 1 << 20
# the sizes where a piece, a sector, or a block begins or ends
EDGES = [
    0,
    1,
    4095,
    4096,
    4097,
    65535,
    65536,
    65537,
    2 * MIB - 1,
    2 * MIB,
    2 * MIB + 1,
    8 * MIB + 3,
]


@pytest.mark.parametrize("size", EDGES)
def test_a_body_of_known_length_is_kept_byte_for_byte(taker: RunningServer, size: int) -> None:
    """Content-Length: the stored file, the size and the sha-256 are those of the bytes sent."""
    data = noise(size)
    response = requests.put(f"{taker.url}/files/known/{size}", data=data, timeout=30)

    entry = response.json()["files"][0]
    assert (201, size, hashlib.sha256(data).hexdigest()) == (
        response.status_code,
        entry["size"],
        entry["sha-256"],
    )
    assert (taker.root / "known" / str(size)).read_bytes() == data


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("piece", [1 << 16, 65537, 300_000])
def test_a_chunked_body_is_kept_byte_for_byte(taker: RunningServer, size: int, piece: int) -> None:
    """The same holds for chunks of any size."""
    data = noise(size)
    pieces: Iterator[bytes] = (data[at : at + piece] for at in range(0, size, piece))
    response = requests.put(f"{taker.url}/files/chunked/{size}-{piece}", data=pieces, timeout=30)

    entry = response.json()["files"][0]
    assert (201, size, hashlib.sha256(data).hexdigest()) == (
        response.status_code,
        entry["size"],
        entry["sha-256"],
    )
    assert (taker.root / "chunked" / f"{size}-{piece}").read_bytes() == data


def test_a_body_that_comes_byte_by_byte_is_kept(taker: RunningServer) -> None:
    """A client may send one-byte chunks, each in a packet of its own."""
    data = noise(300)
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/bytewise", "Transfer-Encoding: chunked"))
        for at in range(len(data)):
            wire.send(chunk(data[at : at + 1]))
        wire.send(b"0\r\n\r\n")

        assert wire.answer().status == 201
    assert (taker.root / "bytewise").read_bytes() == data


def test_sizes_change_on_the_way_from_slow_to_fast_and_back(taker: RunningServer) -> None:
    """Small pieces, then large ones, then small ones again.

    The writer changes its method, and the bytes stay right.
    """
    pieces = [
        noise(n, seed)
        for seed, n in enumerate([1, 10, 3000, 3 * MIB + 5, 7, 70_000, 13, 2 * MIB, 1])
    ]
    response = requests.put(f"{taker.url}/files/mixed", data=iter(pieces), timeout=30)

    assert response.status_code == 201
    assert (taker.root / "mixed").read_bytes() == b"".join(pieces)


def test_the_answer_names_the_entry(taker: RunningServer) -> None:
    """201, Location, and a list of one entry with all its members."""
    response = requests.put(
        f"{taker.url}/files/in%20a/folder/n%C3%A4me.txt", data=b"hello", timeout=10
    )
    (entry,) = response.json()["files"]

    assert response.status_code == 201
    assert response.headers["Location"] == entry["url"] == "/files/in%20a/folder/n%C3%A4me.txt"
    assert (entry["key"], entry["filename"], entry["size"]) == (
        "in a/folder/näme.txt",
        "näme.txt",
        5,
    )
    assert entry["type"] == "text/plain"
    assert response.headers["ETag"] == f'"{entry["etag"]}"'
    assert response.json()["fields"] == {}
    assert requests.get(taker.url + entry["url"], timeout=10).content == b"hello"


def test_a_second_put_replaces_and_says_so(taker: RunningServer) -> None:
    """200 instead of 201, new bytes, and no rest of the old ones."""
    first = requests.put(f"{taker.url}/files/again", data=b"a longer first version", timeout=10)
    second = requests.put(f"{taker.url}/files/again", data=b"second", timeout=10)

    assert (first.status_code, second.status_code) == (201, 200)
    assert (taker.root / "again").read_bytes() == b"second"
    assert first.headers["ETag"] != second.headers["ETag"]


def test_a_composed_and_a_decomposed_name_are_one_object(taker: RunningServer) -> None:
    """macOS writes é as two characters, other systems as one: both find the same object."""
    put = requests.put(f"{taker.url}/files/cafe%CC%81", data=b"x", timeout=10)
    again = requests.put(f"{taker.url}/files/caf%C3%A9", data=b"y", timeout=10)

    assert (put.status_code, again.status_code) == (201, 200)
    assert requests.get(f"{taker.url}/files/cafe%CC%81", timeout=10).content == b"y"
    assert requests.delete(f"{taker.url}/files/cafe%CC%81", timeout=10).status_code == 204
    assert requests.get(f"{taker.url}/files/caf%C3%A9", timeout=10).status_code == 404


def test_a_key_stored_decomposed_by_others_is_served(taker: RunningServer) -> None:
    """Another program stored a file under a decomposed name: the server finds it by that name."""
    (taker.root / "other\u0301.txt").write_text("theirs")
    listed = requests.get(f"{taker.url}/files?prefix=othe", timeout=10).json()["files"]

    assert [entry["key"] for entry in listed] == ["other\u0301.txt"]
    assert requests.get(taker.url + listed[0]["url"], timeout=10).text == "theirs"


def test_a_part_of_a_file_is_refused(taker: RunningServer) -> None:
    """curl -C sends only the tail, with Content-Range, and nothing is there before it.

    Stored as the whole file, it would be corruption.
    """
    response = talk(
        taker.port,
        head("PUT", "/files/partial", "Content-Range: bytes 5-9/10", "Content-Length: 5")
        + b"tail!",
    )

    assert (response.status, response.code) == (409, "offset-mismatch")
    assert not (taker.root / "partial").exists()


def test_a_coded_body_is_refused(taker: RunningServer) -> None:
    """Content-Encoding: gzip gets 415, because the stored bytes would not be the file."""
    response = talk(
        taker.port,
        head("PUT", "/files/coded", "Content-Encoding: gzip", "Content-Length: 5") + b"12345",
    )

    assert (response.status, response.code) == (415, "unsupported")
    assert not (taker.root / "coded").exists()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("method", "target"), [("PUT", "/files/nothing"), ("POST", "/files"), ("POST", "/files?name=n")]
)
def test_a_body_without_its_length_is_refused(
    taker: RunningServer, method: str, target: str, version: str
) -> None:
    """RFC 9112 6.3: such a request has no body; an empty file in its place would be a lie."""
    before = taker.stored()
    for fields in ((), ("Content-Type: multipart/form-data; boundary=b",)):
        asked = head(method, target, *fields).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
        response = talk(taker.port, asked)

        assert (response.status, response.code) == (411, "length-required")
        assert "Content-Length: 0" in response.json()["detail"]
    assert taker.stored() == before


def test_an_empty_file_has_a_length_of_zero(taker: RunningServer) -> None:
    assert talk(taker.port, head("PUT", "/files/nothing", "Content-Length: 0")).status == 201
    assert (taker.root / "nothing").read_bytes() == b""


def test_a_connection_is_used_again_after_an_upload(taker: RunningServer) -> None:
    """Keep-alive: uploads of both framings and several responses on one connection."""
    with Wire(taker.port) as wire:
        for number in range(3):
            wire.send(
                head("PUT", f"/files/alive/{number}", "Content-Length: 70000")
                + noise(70_000, number)
            )
            assert wire.answer().status == 201
            wire.send(
                head("PUT", f"/files/alive/{number}", "Transfer-Encoding: chunked")
                + chunked(noise(500, number))
            )
            assert wire.answer().status == 200
            wire.send(
                head("PUT", f"/files/alive/{number}", "If-None-Match: *", "Content-Length: 3")
                + b"abc"
            )
            assert wire.answer().status == 412
            wire.send(head("GET", f"/files/alive/{number}"))
            assert wire.answer().body == noise(500, number)


def test_uploads_beside_each_other_do_not_mix(taker: RunningServer) -> None:
    """Ten bodies whose pieces arrive interleaved become ten files."""
    wires = [Wire(taker.port) for _ in range(10)]
    try:
        for number, wire in enumerate(wires):
            wire.send(head("PUT", f"/files/beside/{number}", "Content-Length: 200000"))
        for at in range(0, 200_000, 20_000):
            for number, wire in enumerate(wires):
                wire.send(noise(200_000, number)[at : at + 20_000])
        assert [wire.answer().status for wire in wires] == [201] * 10
    finally:
        for wire in wires:
            wire.close()
    for number in range(10):
        assert (taker.root / "beside" / str(number)).read_bytes() == noise(200_000, number)


def test_no_draft_is_left(serve: Serve, tmp_path: Path) -> None:
    """After uploads of all kinds the private folder is empty, and nothing is outside the root."""
    server = serve()
    for size in (0, 10, 100_000, 3 * MIB):
        assert (
            requests.put(f"{server.url}/files/{size}", data=noise(size), timeout=30).status_code
            == 201
        )

    assert server.drafts() == []
    assert [path.name for path in tmp_path.iterdir()] == [server.root.name]
