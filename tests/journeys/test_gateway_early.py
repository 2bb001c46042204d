"""Early responses and Expect through a gateway: no unwanted byte is sent, and every client reads
the refusal.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import Gateway, takes
from fix_server import RunningServer, start_server
from fix_taking import need, noise
from raw_http import Wire, chunk, chunked, form_begun, form_body, form_head, head
from rude_peer import Exchange, Peer

LARGE = noise(24 << 20)  # more than the kernel buffers on the way hold
EXPECT = "Expect: 100-continue"
SOON = 10.0  # seconds: far below the minute that a silent client is granted


def too_large(exchange: Exchange) -> None:
    """Answers right after the head and reads no byte of the body."""
    exchange.reply(413, {"Content-Type": "text/plain"}, b"no: 413")


@dataclass
class Refusing:
    """A gateway and the backend behind it."""

    server: RunningServer
    peer: Peer


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with Peer(too_large) as peer:
        server = start_server(tmp_path_factory.mktemp("early") / "none", to=f"{peer.url}/files")
        yield Refusing(server, peer)
        server.stop()


# Every kind of client reads the response while it sends


@pytest.mark.parametrize(
    "more",
    [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]],
    ids=["", "no expect", "chunks"],
)
def test_curl_reads_the_early_answer(refusing: Refusing, tmp_path: Path, more: list[str]) -> None:
    """curl -T, with and without its Expect."""
    need("curl")
    (tmp_path / "large").write_bytes(LARGE)
    command = [
        "curl",
        "-sS",
        "-T",
        str(tmp_path / "large"),
        "-w",
        "\n%{http_code}",
        *more,
        f"{refusing.server.url}/files/a",
    ]
    assert (
        subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        == "no: 413\n413"
    )


def test_requests_reads_the_early_answer(refusing: Refusing) -> None:
    """This library reads the response only when it has sent everything or cannot send any more."""
    response = requests.put(f"{refusing.server.url}/files/a", data=LARGE, timeout=20)
    assert (response.status_code, response.text) == (413, "no: 413")


AIOHTTP = """
import asyncio, sys, aiohttp

async def main():
    with open(sys.argv[2], "rb") as body:
        async with (
            aiohttp.ClientSession() as session,
            session.put(sys.argv[1], data=body) as answer,
        ):
            print(answer.status, await answer.text())

asyncio.run(main())
"""


def test_aiohttp_reads_the_early_answer(refusing: Refusing, tmp_path: Path) -> None:
    """This library reads while it sends."""
    (tmp_path / "large").write_bytes(LARGE)
    command = [
        sys.executable,
        "-c",
        AIOHTTP,
        f"{refusing.server.url}/files/a",
        str(tmp_path / "large"),
    ]
    assert (
        subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        == "413 no: 413\n"
    )


BEGINNINGS = {
    "length": head("PUT", "/files/a", f"Content-Length: {len(LARGE)}") + LARGE[:10],
    "chunks": head("PUT", "/files/a", "Transfer-Encoding: chunked") + chunk(LARGE[: 1 << 20]),
    "form": form_head(len(LARGE)) + form_begun(("f", "a.bin", LARGE[: 1 << 20])),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_client_that_pauses_gets_the_refusal_at_once(refusing: Refusing, beginning: str) -> None:
    """It has sent a part: the refusal does not wait for the client's next byte."""
    with Wire(refusing.server.port) as wire:
        began = time.monotonic()
        wire.send(BEGINNINGS[beginning])
        response = wire.answer()
        assert time.monotonic() - began < SOON

    assert (response.status, response.body) == (413, b"no: 413")
    assert response.headers["connection"] == "close"
    assert response.headers["server-timing"].count("dur=") >= 3


def test_a_client_that_pauses_learns_at_once_that_the_backend_died(gateway: Gateway) -> None:
    """The same for a broken connection: 502."""
    with Peer(lambda exchange: exchange.reset()) as peer, Wire(gateway(peer.url).port) as wire:
        began = time.monotonic()
        wire.send(BEGINNINGS["length"])
        response = wire.answer()
        assert time.monotonic() - began < SOON

    assert (response.status, response.code) == (502, "peer-failed")


# Expect, end to end


def willing(exchange: Exchange) -> None:
    """Wants the body when the test says so."""
    exchange.go.wait(20)
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    takes(exchange)


FORM = form_body(("f", "a.bin", noise(200_000)))
WAYS = {
    "length": (head("PUT", "/files/a", "Content-Length: 5", EXPECT), b"hello"),
    "chunks": (head("PUT", "/files/a", "Transfer-Encoding: chunked", EXPECT), chunked(b"hello")),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_100_comes_after_the_backends(gateway: Gateway, way: str) -> None:
    """--relay-expect: the client gets its 100 after the backend's, not a moment before."""
    request_head, body = WAYS[way]
    with Peer(willing) as peer, Wire(gateway(peer.url, "--relay-expect").port) as wire:
        wire.send(request_head)
        assert peer.met.wait(10)
        assert peer.seen[0].headers["expect"] == "100-continue"
        assert wire.silent(0.5)
        peer.seen[0].go.set()
        assert wire.interim() == 100
        wire.send(body)
        response = wire.answer()

        assert (response.status, response.interim) == (201, [])
        assert peer.seen[0].body == b"hello"


@pytest.mark.parametrize("status", [401, 413, 417, 503])
def test_the_backends_refusal_comes_instead_of_a_100(gateway: Gateway, status: int) -> None:
    """--relay-expect: the client gets the refusal before it sends a byte of the body."""
    with Peer(lambda exchange: exchange.reply(status, {"Retry-After": "9"}, b"no")) as peer:
        server = gateway(peer.url, "--relay-expect")
        for request_head, _ in WAYS.values():
            with Wire(server.port) as wire:
                wire.send(request_head)
                response = wire.answer()

            assert (response.status, response.body, response.interim) == (status, b"no", [])
            assert (response.headers["connection"], response.headers["retry-after"]) == (
                "close",
                "9",
            )
        assert all(exchange.body == b"" for exchange in peer.seen)


def test_a_form_asks_the_backend_before_its_file(gateway: Gateway) -> None:
    """The form's own 100 comes first, because the file's name is in the body; the file waits."""
    with Peer(willing) as peer, Wire(gateway(peer.url, "--relay-expect").port) as wire:
        wire.send(form_head(len(FORM), EXPECT))
        assert wire.interim() == 100
        wire.send(FORM)
        assert peer.met.wait(10)
        assert wire.silent(0.3)
        assert peer.seen[0].body == b""
        peer.seen[0].go.set()
        response = wire.answer()

        assert response.status == 201
        assert peer.seen[0].headers["content-length"] == str(len(peer.seen[0].body))


def test_without_the_option_the_backend_is_not_asked(refusing: Refusing) -> None:
    """Our 100 comes when the backend is connected; its refusal is an early response."""
    before = len(refusing.peer.seen)
    with Wire(refusing.server.port) as wire:
        wire.send(head("PUT", "/files/a", "Content-Length: 5", EXPECT))
        response = wire.answer()

    assert (response.status, response.body) == (413, b"no: 413")
    assert len(refusing.peer.seen) == before + 1
    assert "expect" not in refusing.peer.seen[-1].headers
