"""Servers with unusual responses: large heads, unencoded Locations, 303, cookie walls."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Self

import pytest
import requests

import sluiceway
from fix_gateway import Gateway
from fix_taking import noise
from rest_target import RestTarget
from rude_peer import Exchange, Peer, ranged
from sluiceway.errors import BadRequest, PeerFailed, SluiceError

DATA = noise(200_000)
MOST = 64 << 10


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(DATA)
    return tmp_path / "a.bin"


# Heads


@pytest.mark.parametrize("size", [10_000, 60_000])
def test_an_answer_with_a_large_header_is_read(source: Path, tmp_path: Path, size: int) -> None:
    """Policies and cookies of tens of KiB are met; both ways."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(
            201 if exchange.method == "PUT" else 200,
            {"X-Policy": "p" * size},
            b"" if exchange.method == "PUT" else DATA,
        )

    with Peer(act) as peer:
        assert sluiceway.copy(source, f"{peer.url}/a.bin").status == 201
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == DATA
        assert len(peer.seen) == 2


@pytest.mark.parametrize("lines", [1, 9])
def test_a_header_that_is_too_long_is_an_error_and_nothing_is_sent_twice(
    source: Path, tmp_path: Path, lines: int
) -> None:
    """One header over 64 KiB, or many together: the file may be stored, so it is not sent again."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(200, {f"X-{n}": "p" * (90_000 // lines) for n in range(lines)}, DATA)

    with Peer(act) as peer:
        for src, dst in ((source, f"{peer.url}/a.bin"), (f"{peer.url}/a.bin", tmp_path / "back")):
            with pytest.raises(PeerFailed, match="a header of its answer is too long"):
                sluiceway.copy(src, dst)
        assert len(peer.seen) == 2


# Locations


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/x",
        "http://[v1.a]/x",
        "http://[zz]/x",
        "http://a:99999/x",
        "http://a:b/x",
        "http://a:-1/x",
        "http://\u2100.example/x",
        "http://a%00b/x",
        "http://a%20b/x",
        "http://a..b/x",
        "http://.../x",
        "http://" + "a" * 64 + ".example/x",
        "http://a\\b/x",
        "http:///x",
        "http://:80/x",
        "http://@/x",
        "https://[::1%25eth0/x",
        "http://\udcff/x",
        "http://127.0.0.1:1/\ud800",
    ],
)
def test_an_invalid_url_gets_an_error_in_words(source: Path, tmp_path: Path, url: str) -> None:
    """Never a traceback of the libraries below, on either side, also where many are copied."""
    for src, dst in ((url, tmp_path / "x"), (source, url)):
        with pytest.raises(SluiceError):
            sluiceway.copy(src, dst, retries=0)
    with pytest.raises(SluiceError):
        sluiceway.Form().file("f", url)
    try:
        report = sluiceway.copy_all(source.parent, f"{url}/", retries=0, include=["a.bin"])
    except SluiceError:
        pass
    else:
        assert (report.copied, report.failed) == (0, 1)


# 303: the file is there, and the response is elsewhere


# HEAD


@pytest.mark.parametrize("status", [200, 204, 206, 400, 401, 405, 406, 409, 415, 422, 500, 501])
def test_an_odd_answer_to_head_is_unknown(tmp_path: Path, status: int) -> None:
    """Some APIs answer HEAD with anything: the PUT decides. Only a 401 to HEAD counts."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(DATA)
    stored: list[bytes] = []

    def act(exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            exchange.head(status, {"Content-Length": str(len(DATA) + 1)} if status == 200 else {})
        else:
            stored.append(exchange.read_body())
            exchange.reply(201)

    with Peer(act) as peer:
        report = sluiceway.copy_all(tmp_path / "from", f"{peer.url}/api/", retries=1)
    if status in (200, 401):  # another object is there; and no client is authorised
        assert (report.copied, report.failed, stored) == (0, 1, [])
    else:
        assert (report.copied, report.failed, stored) == (1, 0, [DATA])


# Connections


class Closing:
    """A server that promises keep-alive and closes `wait` seconds after each response."""

    def __init__(self, wait: float) -> None:
        self.wait, self.stored = wait, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(20)
            data = b""
            while b"\r\n\r\n" not in data:
                if not (piece := sock.recv(65536)):
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(
                (
                    line.split(b":")[1].strip()
                    for line in lines
                    if line.startswith(b"content-length:")
                ),
                b"0",
            )
            left = int(length) - len(body)
            while left > 0 and (piece := sock.recv(65536)):
                left -= len(piece)
            self.stored += head.startswith((b"POST", b"PUT"))
            sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            time.sleep(self.wait)


@pytest.mark.parametrize("wait", [0.001, 0.02])
def test_no_form_is_lost_on_a_closing_connection(tmp_path: Path, wait: float) -> None:
    """A form cannot be retried, so it uses no connection that may be closing: 0 of 300 fail."""
    (tmp_path / "from").mkdir()
    for n in range(300):
        (tmp_path / "from" / f"{n:03}").write_bytes(b"x" * n)
    with Closing(wait) as server:
        report = sluiceway.copy_all(tmp_path / "from", f"{server.url}/files", retries=0, jobs=8)
        assert (report.copied, report.failed) == (300, 0)
        assert server.stored == 300


def test_no_form_is_lost_on_a_closing_connection_of_a_gateway(gateway: Gateway) -> None:
    with Closing(0.005) as backend:
        server = gateway(f"{backend.url}/files")
        with requests.Session() as session:
            responses = [
                session.post(f"{server.url}/files", files={"f": (str(n), b"x")}, timeout=20)
                for n in range(60)
            ]
        assert [response.status_code for response in responses] == [201] * 60
        assert backend.stored == 60


# Cookies


def test_a_cookie_wall_is_passed_and_its_cookies_stay_at_home(source: Path, tmp_path: Path) -> None:
    """The server sets one and redirects to itself; no other host and no later copy gets it."""

    def wall(exchange: Exchange) -> None:
        if exchange.headers.get("cookie") == "mine=1; pass=a=b":
            exchange.read_body()
            exchange.reply(307, {"Location": f"{other.url}/a.bin", "Set-Cookie": "second=2"})
        else:
            exchange.read_body()
            exchange.send(
                b"HTTP/1.1 307 No\r\nLocation: /a.bin\r\n"
                b"Set-Cookie: pass=a=b; Path=/; Domain=127.0.0.2; HttpOnly\r\n"
            )
            exchange.send(
                b"Set-Cookie: gone=x; Max-Age=0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )

    def beyond(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            exchange.read_body()
            exchange.reply(201)
        else:
            ranged(DATA)(exchange)

    with Peer(wall) as peer, Peer(beyond, "127.0.0.2") as other:
        headers = {"Cookie": "mine=1"}
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back", headers=headers)
        assert (tmp_path / "back").read_bytes() == DATA
        assert sluiceway.copy(source, f"{peer.url}/a.bin", headers=headers).status == 201
        assert ["cookie" in exchange.headers for exchange in other.seen] == [False, False]
        assert [exchange.headers.get("cookie") for exchange in peer.seen] == [
            "mine=1",
            "mine=1; pass=a=b",
        ] * 2


def test_a_target_that_knows_only_put_takes_many(tmp_path: Path) -> None:
    """As before: HEAD answered 405 throughout."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(DATA)
    with RestTarget(knows=frozenset()).listening() as target:
        assert sluiceway.copy_all(tmp_path / "from", target.url).copied == 1


def test_an_invalid_header_is_an_error(source: Path) -> None:
    with pytest.raises(BadRequest):
        sluiceway.copy(source, "http://127.0.0.1:1/x", headers={"X": "a\r\nb"})


def test_a_replaced_file_of_the_parts_length_is_not_complete(
    tmp_path: Path,
) -> None:
    """The new file is as long as the part: a 416 with that size does not complete the old one."""
    other = bytes(1000)

    def act(exchange: Exchange) -> None:
        if len(peer.seen) == 1:
            exchange.head(200, {"ETag": '"v1"', "Content-Length": str(len(DATA))})
            exchange.send(DATA[: len(other)])
        elif "range" in exchange.headers:
            exchange.reply(416, {"Content-Range": f"bytes */{len(other)}"})
        else:
            exchange.reply(200, {"ETag": '"v2"'}, other)

    with Peer(act) as peer:
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == other


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, gzip", "x-own"])
def test_an_unknown_transfer_coding_is_an_error(tmp_path: Path, coding: str) -> None:
    """The coded bytes would pass for the file."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": coding})
        exchange.send(b"5\r\ncoded\r\n0\r\n\r\n")

    with Peer(act) as peer, pytest.raises(SluiceError):
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back", retries=0)
    assert not (tmp_path / "back").exists()


def test_a_listing_of_empty_pages_without_end_is_given_up(tmp_path: Path) -> None:
    """Each page names a later one, and lists nothing."""

    def act(exchange: Exchange) -> None:
        after = exchange.target.partition("after=")[2].partition("&")[0]
        exchange.reply(
            200,
            {"Content-Type": "application/json"},
            b'{"files": [], "next": "%sx"}' % after.encode(),
        )

    with Peer(act) as peer, pytest.raises(PeerFailed, match="lists nothing"):
        sluiceway.copy_all(f"{peer.url}/files/a/", tmp_path / "back", retries=0)
    assert len(peer.seen) <= 150
