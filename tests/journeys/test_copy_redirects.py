"""Where an answer's Location leads a copy: as it was meant, stored once, never sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_gateway import Gateway
from fix_server import start_server
from journeys.test_copy_odd_servers import DATA
from rude_peer import Exchange, Peer, ranged
from sluiceway.client.file_request import FileRequest
from sluiceway.client.http.transport import Transport
from sluiceway.client.upload import UploadJob, upload
from sluiceway.errors import NotFound, PeerFailed, SluiceError
from sluiceway.pipe.source import Buffer, PassingSource


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(DATA)
    return tmp_path / "a.bin"


PLACES = [
    ("/ö".encode(), "/%C3%B6"),
    (b"/my file", "/my%20file"),
    (b"/my%20file%C3%B6", "/my%20file%C3%B6"),
    (b"/100%", "/100%"),
    (b"/%zz%2", "/%zz%2"),
    (b"/\xf6", "/%F6"),  # no UTF-8: the byte as it is
    ("/ö?q=ü x&r=%20".encode(), "/%C3%B6?q=%C3%BC%20x&r=%20"),
    (b"/place#ein Teil", "/place"),
    (b"place", "/a/place"),
    (b"../b/./c", "/b/c"),
    (b"?only=query", "/a/from?only=query"),
    (b"//{host}/there", "/there"),
    (b"http://{host}/whole file", "/whole%20file"),
    (b"  /spaces around  ", "/spaces%20around"),
    (b'/<">{}|^`', "/%3C%22%3E%7B%7D%7C%5E%60"),
]


@contextmanager
def pointing(place: bytes, status: int) -> Iterator[Peer]:
    """A server that redirects /a/from to `place`, in raw bytes, and has or takes DATA elsewhere."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        if exchange.target == "/a/from":
            host = peer.url.removeprefix("http://").encode()
            head = (
                b"HTTP/1.1 %d Moved\r\nLocation: %s\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            exchange.send(head % (status, place.replace(b"{host}", host)))
        elif exchange.method in ("PUT", "POST"):
            exchange.reply(201)
        else:
            ranged(DATA)(exchange)

    with Peer(act) as peer:
        yield peer


@pytest.mark.parametrize(("place", "target"), PLACES)
def test_a_location_is_followed_as_it_was_meant(
    source: Path, tmp_path: Path, place: bytes, target: str
) -> None:
    """Unencoded characters are encoded once; encoded ones stay. For downloads and for uploads."""
    with pointing(place, 302) as peer:
        sluiceway.copy(f"{peer.url}/a/from", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == DATA
        assert peer.seen[-1].target == target
    with pointing(place, 307) as peer:
        sluiceway.copy(source, f"{peer.url}/a/from")
        assert (peer.seen[-1].target, peer.seen[-1].body) == (target, DATA)


def test_a_fetch_follows_the_same_locations(tmp_path: Path) -> None:
    server = start_server(tmp_path / "root", "--fetch-from", "*", "--fetch-internal", "127.0.0.1")
    try:
        for place, target in PLACES[:4]:
            with pointing(place, 302) as peer:
                response = requests.get(
                    f"{server.url}/fetch", params={"url": f"{peer.url}/a/from"}, timeout=20
                )
                assert (response.status_code, response.content) == (200, DATA)
                assert peer.seen[-1].target == target
    finally:
        server.stop()


@pytest.mark.parametrize(
    "place",
    [
        b"",
        b"   ",
        b"http://[::1",
        b"http://a b/",
        b"http://x:99999/",
        b"http://x:y/",
        b"ftp://x/",
        b"http://\xff/",
    ],
)
def test_an_invalid_location_is_an_error(source: Path, tmp_path: Path, place: bytes) -> None:
    """An error in words, after one request, for both directions."""
    for status, src, dst in (
        (302, "{}/a/from", str(tmp_path / "back")),
        (307, str(source), "{}/a/from"),
    ):
        with pointing(place, status) as peer:
            with pytest.raises(PeerFailed, match=r"redirects to something|answered 30"):
                sluiceway.copy(src.format(peer.url), dst.format(peer.url))
            assert len(peer.seen) == 1


@contextmanager
def telling_elsewhere(outcome: Callable[[Exchange], None]) -> Iterator[Peer]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        if exchange.method in ("PUT", "POST"):
            exchange.reply(303, {"Location": "/outcome?a=1", "Set-Cookie": "seen=1"})
        else:
            outcome(exchange)

    with Peer(act) as peer:
        yield peer


def test_a_303_names_the_outcome_of_a_stored_form(source: Path) -> None:
    """One POST, one GET without the POST's own headers; the receipt has the second response."""
    with telling_elsewhere(
        lambda exchange: exchange.reply(200, {"Content-Type": "application/json"}, b'{"id": 7}')
    ) as peer:
        for url, options in (
            (f"{peer.url}/files", {"form": {"a": "b"}}),
            (f"{peer.url}/raw/a.bin", {}),
        ):
            receipt = sluiceway.copy(source, url, token="secret", **options)  # type: ignore[arg-type]  # one way or the other
            assert (receipt.status, receipt.answer, receipt.location) == (
                200,
                {"id": 7},
                f"{peer.url}/outcome",
            )
        sent, asked = peer.seen[:2]
        assert DATA in sent.body
        assert (asked.method, asked.target, asked.body) == ("GET", "/outcome?a=1", b"")
        assert asked.headers["authorization"] == "Bearer secret"
        assert asked.headers["cookie"] == "seen=1"
        assert "content-type" not in asked.headers
        assert len(peer.seen) == 4


async def test_a_303_before_all_was_sent_is_asked_for_nothing() -> None:
    """Not even while the last piece is on its way: the file cannot be there."""

    async def one_piece() -> AsyncIterator[Buffer]:
        yield bytes(32 << 20)

    def act(exchange: Exchange) -> None:
        exchange.take(8 << 20)
        exchange.reply(303, {"Location": "/outcome"})
        exchange.go.wait(20)

    with Peer(act) as peer:
        job = UploadJob(
            PassingSource(one_piece(), 32 << 20),
            FileRequest("PUT", f"{peer.url}/a", "a/b"),
            "-",
            {},
        )
        try:
            async with Transport() as transport:
                with pytest.raises(PeerFailed, match="drops what is sent") as caught:
                    await upload(transport, job)
        finally:
            for exchange in peer.seen:
                exchange.go.set()
        assert "has the file" not in caught.value.detail
        assert [exchange.method for exchange in peer.seen] == ["PUT"]


@pytest.mark.parametrize("status", [404, 503])
def test_a_bad_outcome_behind_a_303_is_never_a_reason_to_send_again(
    source: Path, status: int
) -> None:
    with telling_elsewhere(lambda exchange: exchange.reply(status)) as peer:
        with pytest.raises(SluiceError, match=str(status)) as caught:
            sluiceway.copy(source, f"{peer.url}/files")
        assert isinstance(caught.value, NotFound) == (status == 404)
        assert [exchange.method for exchange in peer.seen] == ["POST", "GET"]
    with telling_elsewhere(lambda exchange: exchange.reset()) as peer:
        with pytest.raises(PeerFailed, match="the server has the file"):
            sluiceway.copy(source, f"{peer.url}/files")
        assert [exchange.method for exchange in peer.seen].count("POST") == 1


def test_many_forms_that_are_answered_303_are_stored_once(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for n in range(5):
        (tmp_path / "from" / str(n)).write_bytes(DATA)
    with telling_elsewhere(lambda exchange: exchange.reply(200)) as peer:
        report = sluiceway.copy_all(tmp_path / "from", f"{peer.url}/files")
        assert (report.copied, report.failed) == (5, 0)
        assert sum(exchange.method == "POST" for exchange in peer.seen) == 5


def test_a_gateways_destination_may_answer_303(gateway: Gateway) -> None:
    """The client gets the response of the second URL."""
    with telling_elsewhere(
        lambda exchange: exchange.reply(200, {"Content-Type": "application/json"}, b'{"id": 7}')
    ) as peer:
        server = gateway(f"{peer.url}/books", "--relay-header", "X-Key: 1")
        response = requests.put(f"{server.url}/files/a", data=DATA, timeout=20)
        assert response.status_code == 200, response.text
        assert response.json() == {"id": 7}
        assert [exchange.method for exchange in peer.seen] == ["PUT", "GET"]
        assert peer.seen[1].headers["x-key"] == "1"
    with telling_elsewhere(
        lambda exchange: exchange.reply(422, {"Content-Type": "text/plain"}, b"no book")
    ) as peer:
        server = gateway(f"{peer.url}/books")
        assert requests.put(f"{server.url}/files/a", data=DATA, timeout=20).status_code == 422
