"""Bodies that are cut, in every way: no object, no draft, 400 for a client that still reads."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import requests

from fix_server import RunningServer
from fix_taking import eventually, noise
from raw_http import BOUNDARY, LAST_CHUNK, Wire, chunk, form_body, form_head, head

BIG = noise(3 << 20)

FORM = form_body(
    ("a", "first.bin", noise(150_000)), ("b", "second.bin", noise(2_500_000)), ("t", None, b"field")
)
BETWEEN = FORM.index(b'name="b"') - len(f"\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; ")
LAST_BOUNDARY = len(FORM) - len(f"--{BOUNDARY}--\r\n")

CUTS: dict[str, bytes] = {
    "no byte of the body": head("PUT", "/files/cut", "Content-Length: 10"),
    "a short Content-Length": head("PUT", "/files/cut", "Content-Length: 10") + b"123456789",
    "a short big Content-Length": head("PUT", "/files/cut", f"Content-Length: {len(BIG) + 1}")
    + BIG,
    "chunked without a chunk": head("PUT", "/files/cut", "Transfer-Encoding: chunked"),
    "chunked without the last chunk": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello"),
    "big chunked without the last chunk": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(BIG),
    "cut within a chunk": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(BIG)[:-100],
    "cut within a chunk's size": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello")
    + b"1",
    "cut before the LF of a size": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello")
    + b"5\r",
    "cut behind a chunk's data": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + b"5\r\nhello",
    "cut within the last chunk": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello")
    + LAST_CHUNK[:-1],
    "cut behind the last chunk's size": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello")
    + b"0\r\n",
    "cut within a trailer": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunk(b"hello")
    + b"0\r\nX: y\r\n",
    "a raw POST": head("POST", "/files?name=cut", "Content-Length: 100") + b"x" * 99,
    "a form before its first part": form_head(len(FORM)) + FORM[:10],
    "a form within its first file": form_head(len(FORM)) + FORM[:50_000],
    "a form between its files": form_head(len(FORM)) + FORM[:BETWEEN],
    "a form within a part's head": form_head(len(FORM)) + FORM[: BETWEEN + 60],
    "a form within its second file": form_head(len(FORM)) + FORM[:2_000_000],
    "a form before its last boundary": form_head(len(FORM)) + FORM[:LAST_BOUNDARY],
    "a form within its last boundary": form_head(len(FORM)) + FORM[:-3],
    "a chunked form between its files": form_head(None) + chunk(FORM[:BETWEEN]),
    "a chunked form without the last chunk": form_head(None) + chunk(FORM),
}

# Whole for HTTP, cut for the form: the client can always read the response.
WHOLE_BUT_CUT: dict[str, bytes] = {
    "no body": b"",
    "no last boundary": FORM[:LAST_BOUNDARY],
    "no dashes behind the last boundary": FORM[:-4],
    "between the files": FORM[:BETWEEN],
    "within a part's head": FORM[: BETWEEN + 60],
    "within a file": FORM[:2_000_000],
}


def nothing_stays(server: RunningServer) -> bool:
    """No object under any name, no draft, no new folder."""
    return os.listdir(server.root) == [".sluiceway"] and server.drafts() == []


@pytest.mark.parametrize("cut", CUTS)
def test_a_client_that_stops_and_listens_gets_a_400(taker: RunningServer, cut: str) -> None:
    """The client closes only its half: 400 body-cut, and nothing remains."""
    with Wire(taker.port) as wire:
        wire.send(CUTS[cut])
        wire.half_close()
        response = wire.answer()

        assert (response.status, response.code, response.headers["connection"]) == (
            400,
            "body-cut",
            "close",
        )
        says_other_ways = "a PUT to /files/NAME" in response.json()["detail"]
        assert says_other_ways == (b"multipart" in CUTS[cut])
        assert nothing_stays(taker)
        assert wire.closed()


@pytest.mark.parametrize("hang_up", [Wire.close, Wire.reset], ids=["close", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_client_that_hangs_up_leaves_nothing(
    taker: RunningServer, cut: str, hang_up: Callable[[Wire], None]
) -> None:
    """Closed or reset: nothing remains, and the server goes on."""
    logged = len(taker.lines)
    wire = Wire(taker.port)
    wire.send(CUTS[cut])
    hang_up(wire)
    eventually(lambda: any(' "P' in line for line in taker.lines[logged:]), "the upload has ended")

    assert nothing_stays(taker)
    assert requests.get(f"{taker.url}/healthz", timeout=10).status_code == 200


@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("cut", WHOLE_BUT_CUT)
def test_a_form_without_its_end_stores_nothing(
    taker: RunningServer, cut: str, chunks: bool
) -> None:
    """The request is whole, the form is not: no cut, and not even its complete files are stored."""
    body = WHOLE_BUT_CUT[cut]
    framed = (chunk(body) if body else b"") + LAST_CHUNK if chunks else body
    with Wire(taker.port) as wire:
        wire.send(form_head(None if chunks else len(body)) + framed)
        response = wire.answer()

        assert (response.status, response.code) == (400, "bad-form")
        assert "closing delimiter" in response.json()["detail"]
        assert nothing_stays(taker)
        wire.send(head("GET", "/healthz"))  # the framing was correct: the connection stays open
        assert wire.answer().status == 200


def test_a_whole_body_is_answered_although_the_client_closed_its_half(taker: RunningServer) -> None:
    """Half-close behind the last byte (nc -N, some embedded clients): stored, and the client reads
    201."""
    for framing, body in (
        (["Content-Length: 5"], b"hello"),
        (["Transfer-Encoding: chunked"], chunk(b"hello") + LAST_CHUNK),
    ):
        with Wire(taker.port) as wire:
            wire.send(head("PUT", "/files/half", *framing) + body)
            wire.half_close()
            response = wire.answer()

            assert response.status in (200, 201)
            assert wire.closed()
        assert (taker.root / "half").read_bytes() == b"hello"
        (taker.root / "half").unlink()


@pytest.mark.parametrize("hang_up", [Wire.close, Wire.half_close], ids=["close", "half-close"])
def test_a_whole_upload_before_a_hang_up_is_stored(
    taker: RunningServer, hang_up: Callable[[Wire], None]
) -> None:
    """The client hangs up right after the last byte: every byte has arrived."""
    for number in range(10):
        wire = Wire(taker.port)
        wire.send(
            head("PUT", f"/files/gone-{number}", "Transfer-Encoding: chunked")
            + chunk(BIG)
            + LAST_CHUNK
        )
        hang_up(wire)
        path = taker.root / f"gone-{number}"
        eventually(path.exists, "the object of a client that is gone")
        wire.close()

        assert path.read_bytes() == BIG
        path.unlink()
