"""Ambiguous framing is refused and the connection is closed (RFC 9112, section 6).

Two servers could read it differently. Nothing of such a request is stored or run.
"""

from __future__ import annotations

import os
import socket
import time

import pytest

from fix_server import RunningServer
from raw_http import LAST_CHUNK, Wire, chunk, head

HELLO = chunk(b"hello") + LAST_CHUNK
HEALTH = head("GET", "/healthz")


def put(*lines: bytes, body: bytes = b"hello") -> bytes:
    """A PUT whose field lines are written by hand."""
    return (
        b"PUT /files/bad HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(line + b"\r\n" for line in lines)
        + b"\r\n"
        + body
    )


LENGTHS = [
    b"+5",
    b"-5",
    b"-1",
    b"1_0",
    b"0x5",
    b"5, 5",
    b"5,5",
    b"5 5",
    b"5;a",
    b"5.0",
    b"5e0",
    b"",
    b" ",
    b"five",
    b"5\x0b",
    b"\xef\xbc\x95",
]
LENGTHS += [b"9" * 25, b"9223372036854775808", b"18446744073709551621", b"\xd9\xa5", b"5\x00"]
CODINGS = [
    b"xchunked",
    b"chunked, identity",
    b"identity, chunked",
    b"gzip, chunked",
    b"chunked, chunked",
    b",chunked",
    b"chunked,",
]
CODINGS += [
    b"\xa0chunked",
    b"\x0bchunked",
    b"chunked;q=1",
    b"identity",
    b"gzip",
    b"",
    b'"chunked"',
    b"chunked\x00",
    b"c hunked",
]
CHUNKS = [
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\n\n",
]
CHUNKS += [
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5_\r\nhello\r\n0\r\n\r\n",
]
CHUNKS += [
    b"1_0\r\nhellohellohelloh\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
]
CHUNKS += [
    b"5\rXhello\r\n0\r\n\r\n",
    b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"g\r\nhello\r\n0\r\n\r\n",
]
CHUNKS += [
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
]
CHUNKS += [
    b"4\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
    b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
    b"5\x00\r\nhello\r\n0\r\n\r\n",
]
FIELDS = [
    b"X : y",
    b" X: y",
    b"X: a\n b",
    b"X: a\r\n b",
    b"X: a\x00b",
    b"X: a\rb",
    b": y",
    b"X",
    b"X: a\x01b",
    b"X: y\nZ: w",
    b"X\x00: y",
]
FIELDS += [b"Host: y", b"host: x", b"X\xa0: y", b"Content-Length : 5", b"X: y\r\n\rZ"]
LINES = [
    b"PUT /files/bad HTTP/2.0",
    b"PUT /files/bad HTTP/0.9",
    b"PUT /files/bad HTTP/1.2",
    b"PUT /files/bad HTTP/9.9",
    b"PUT /files/bad",
]
LINES += [b"PUT /files/bad http/1.1", b"PUT\t/files/bad HTTP/1.1", b"P\xdcT /files/bad HTTP/1.1"]
LINES += [
    b"PUT /files/b ad HTTP/1.1",
    b"PUT /files/bad\x00 HTTP/1.1",
    b"put /files/bad HTTP/1.1",
    b"BREW /files/bad HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01",
]

VECTORS: list[bytes] = [
    *(put(b"Content-Length: " + value) for value in LENGTHS),
    *(put(b"Transfer-Encoding: " + value, body=HELLO) for value in CODINGS),
    *(put(b"Transfer-Encoding: chunked", body=value) for value in CHUNKS),
    *(put(line, b"Content-Length: 5") for line in FIELDS),
    *(line + b"\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" for line in LINES),
    put(b"Content-Length: 5", b"Content-Length: 5"),
    put(b"Content-Length: 5", b"Content-Length: 6"),
    put(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=HELLO),
    put(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=HELLO),
    put(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=HELLO),
    put(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=HELLO),
    b"PUT /files/bad HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",  # no Host
    b"PUT /files/bad HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO,
    b"PUT /files/bad HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello",
]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
def test_ambiguous_framing_is_refused_and_closed(taker: RunningServer, at_once: bool) -> None:
    """Each gets one response, a 4xx in problem+json, and the connection ends.

    The request that is smuggled behind it is never run.
    """
    for vector in VECTORS:
        logged = len(taker.lines)
        with Wire(taker.port) as wire:
            data = vector + HEALTH
            try:
                for piece in [data] if at_once else [data[at : at + 1] for at in range(len(data))]:
                    wire.send(piece)
            except ConnectionError:
                pass  # refused before the end
            response = wire.answer()

            assert 400 <= response.status < 500, vector
            assert response.headers["content-type"] == "application/problem+json", vector
            assert wire.closed(), vector
        assert not any("healthz" in line for line in taker.lines[logged:]), vector

    assert os.listdir(taker.root) == [".sluiceway"]
    assert taker.drafts() == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        put(b"Content-Length: 005"),
        put(b"content-LENGTH:5"),
        put(b"Content-Length: \t5 "),
        put(b"Transfer-Encoding: CHUNKED", body=HELLO),
        put(b"Transfer-Encoding: chunked", body=b"05;name=value\r\nhello\r\n000\r\n\r\n"),
        put(b"Transfer-Encoding: chunked", body=b'5;a="b;c"\r\nhello\r\n0\r\nX: trailer\r\n\r\n'),
        put(b"X: \xc3\xbc", b"Content-Length: 5"),
        b"\r\n" + put(b"Content-Length: 5"),
    ],
)
def test_unusual_but_clear_framing_is_accepted(taker: RunningServer, request_bytes: bytes) -> None:
    """RFC 9112 allows these, and all servers read them alike."""
    with Wire(taker.port) as wire:
        wire.send(request_bytes + HEALTH)

        assert wire.answer().status in (200, 201)
        assert wire.answer().body == b"ok\n"
    assert (taker.root / "bad").read_bytes() == b"hello"
    (taker.root / "bad").unlink()


def test_a_trailer_is_never_a_header(taker: RunningServer) -> None:
    """A proxy in front does not check fields behind the body, so they change nothing.

    This holds whenever they arrive.
    """
    for trailer in (
        b"If-Match: *\r\n",
        b"Authorization: Bearer x\r\n",
        b"Host: y\r\nUpload: z\r\n",
    ):
        data = (
            head("PUT", "/files/trailer", "Transfer-Encoding: chunked")
            + chunk(b"hello")
            + b"0\r\n"
            + trailer
            + b"\r\n"
        )
        with Wire(taker.port) as wire:
            wire.send(data)  # in one piece: the parser ends before the app begins
            assert wire.answer().status == 201
        (taker.root / "trailer").unlink()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", ["Content-MD5", "content-digest", "X-Amz-Checksum-CRC32"])
def test_a_digest_in_a_trailer_is_refused_even_if_unannounced(
    taker: RunningServer, name: str, at_once: bool
) -> None:
    """The server does not read it there; the sender would believe that the bytes were checked."""
    begin = head("PUT", "/files/trailer", "Transfer-Encoding: chunked") + chunk(b"hello")
    with Wire(taker.port) as wire:
        wire.send(begin)
        if not at_once:
            time.sleep(0.1)  # the app waits for more
        wire.send(b"0\r\n" + name.encode() + b": AAAA\r\n\r\n")
        response = wire.answer()

        assert (response.status, response.code) == (400, "bad-digest")
        assert name.lower() in response.json()["detail"]
        assert wire.closed()
    assert not (taker.root / "trailer").exists()


@pytest.mark.parametrize(
    "body",
    [b"5 \r\nhello\r\n0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello\n0\n\n"],
)
def test_malformed_chunks_are_a_bad_request(taker: RunningServer, body: bytes) -> None:
    """Not a truncated body: sending them again would not help."""
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/chunks", "Transfer-Encoding: chunked") + body)
        response = wire.answer()

        assert (response.status, response.code) == (400, "bad-request")
        assert wire.closed()
    assert not (taker.root / "chunks").exists()


def test_bytes_behind_a_body_are_not_part_of_it(taker: RunningServer) -> None:
    """The upload has the bytes that Content-Length announced.

    The rest is refused by a response of its own.
    """
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/longer", "Content-Length: 5") + b"helloMORE\r\n\r\n")

        assert wire.answer().status == 201
        assert wire.answer().status == 400
        assert wire.closed()
    assert (taker.root / "longer").read_bytes() == b"hello"
    (taker.root / "longer").unlink()


def test_garbage_during_a_download_does_not_reach_its_reader(taker: RunningServer) -> None:
    """The reader would take a refusal in the middle of a body for its bytes."""
    data = bytes(8 << 20)
    (taker.root / "big").write_bytes(data)
    with Wire(taker.port) as wire:
        wire.send(head("GET", "/files/big"))
        wire.sock.recv(1000, socket.MSG_PEEK)
        wire.send(b"\x00garbage\r\n\r\n")

        assert wire.answer().body == data
        assert wire.answer().status == 400  # a response of its own, behind the whole body
        assert wire.closed()
    (taker.root / "big").unlink()
