"""A tus server on a real socket that refuses, forgets and falls silent: what copy makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway import SluiceError, copy
from sluiceway.client.resumable import offers, resumable_upload
from sluiceway.pipe.receipt import Progress
from sluiceway.wire.tus import parse_metadata

pytestmark = pytest.mark.usefixtures("state")

DATA = noise((2 << 20) + 5)
# A method, and what its next request gets instead of an honest answer.
Fault = tuple[str, Callable[["TusPeer", Exchange], None]]


class TusPeer:
    """An honest server of tus; the first requests that `faults` want get theirs instead."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)
        self.kept: dict[str, bytearray] = {}
        self.names: list[str] = []
        self.methods: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        self.methods.append(exchange.method)
        if self.faults and self.faults[0][0] == exchange.method:
            _, act = self.faults.pop(0)  # before the answer: the next request may come at once
            act(self, exchange)
            return
        headers = {"Tus-Resumable": "1.0.0"}
        if exchange.method == "OPTIONS":
            extra = {"Tus-Version": "1.0.0,0.2", "Tus-Extension": "creation, termination"}
            exchange.reply(200, headers | extra)
        elif exchange.method == "POST":
            self.names.append(parse_metadata(exchange.headers["upload-metadata"])["filename"])
            place = f"/up/{len(self.names)}"
            self.kept[place] = bytearray()
            exchange.reply(201, headers | {"Location": place})
        elif (kept := self.kept.get(exchange.target)) is None:
            exchange.reply(404, headers)
        elif exchange.method == "HEAD":
            exchange.reply(200, headers | {"Upload-Offset": str(len(kept))})
        elif exchange.method == "DELETE":
            del self.kept[exchange.target]
            exchange.reply(204, headers)
        elif int(exchange.headers["upload-offset"]) != len(kept):
            exchange.reply(409, headers)
        else:
            kept += exchange.read_body()
            exchange.reply(204, headers | {"Upload-Offset": str(len(kept))})

    @property
    def last(self) -> bytes:
        return bytes(self.kept[f"/up/{len(self.names)}"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    return path


def answering(method: str, status: int, **headers: str) -> Fault:
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return method, lambda _, exchange: exchange.reply(status, fields)


def cutting(after: int) -> Fault:
    """A PATCH of which so many bytes are kept before its connection breaks."""

    def act(server: TusPeer, exchange: Exchange) -> None:
        exchange.ask_for_body()
        kept = server.kept[exchange.target]
        while len(kept) < after:
            kept += exchange.recv(min(65536, after - len(kept)))
        exchange.reset()

    return "PATCH", act


def lose_the_response(server: TusPeer, exchange: Exchange) -> None:
    server.kept[exchange.target] += exchange.read_body()
    exchange.reset()


def forget(server: TusPeer, exchange: Exchange) -> None:
    server.kept.clear()
    exchange.reply(410)


def sent(server: TusPeer, file: Path, **options: object) -> list[Progress]:
    """Copy the file; return what was reported."""
    seen: list[Progress] = []
    with Peer(server) as peer:
        receipt = copy(file, f"{peer.url}/files/", on_progress=seen.append, **options)  # type: ignore[arg-type]
    assert receipt.size == len(DATA)
    assert receipt.sha256 == hashlib.sha256(DATA).hexdigest()
    assert server.last == DATA
    return seen


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [cutting(1 << 20)],
        [cutting(5), cutting(1 << 20), cutting(2 << 20)],
        [cutting(1 << 20), answering("HEAD", 423), answering("HEAD", 503, Retry_After="0")],
        [answering("POST", 503, Retry_After=formatdate(usegmt=True))],
        [answering("PATCH", 409)],
        [answering("PATCH", 500)],
        [answering("PATCH", 423)],
        [answering("PATCH", 429, Retry_After="1")],
        [answering("PATCH", 417)],
        [("PATCH", lose_the_response)],
    ],
)
def test_all_bytes_arrive_once(file: Path, faults: list[Fault]) -> None:
    server = TusPeer(*faults)
    sent(server, file)
    assert server.faults == []
    assert server.names == ["big.bin"]


def test_an_upload_that_was_lost_begins_anew_and_says_so(file: Path) -> None:
    server = TusPeer(cutting(1 << 20), ("HEAD", forget))
    seen = sent(server, file)
    assert server.names == ["big.bin"] * 2
    assert any("lost the upload" in one.note for one in seen)


def test_a_proxy_that_refuses_large_bodies_gets_pieces(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nginx with its default of 1 MiB. Each piece is at least so large that it is worth it."""
    server = TusPeer()

    def proxy(exchange: Exchange) -> None:
        if int(exchange.headers.get("content-length", "0")) > 1 << 20:
            server.methods.append("413")
            exchange.reply(413)
        else:
            server(exchange)

    with Peer(proxy) as peer:
        copy(file, f"{peer.url}/files/")
        assert server.last == DATA
        assert server.methods.count("413") == 2
        monkeypatch.setattr(resumable_upload, "SMALLEST_PIECE", 2 << 20)
        with pytest.raises(SluiceError) as caught:
            copy(file, f"{peer.url}/files/")
    assert caught.value.members["answered"] == 413


@pytest.mark.parametrize("wait", ["61", formatdate(4e9, usegmt=True)])
def test_a_server_that_asks_for_a_long_wait_is_reported(file: Path, wait: str) -> None:
    server = TusPeer(answering("PATCH", 503, Retry_After=wait))
    with Peer(server) as peer, pytest.raises(SluiceError, match="the same command goes on"):
        copy(file, f"{peer.url}/files/")
    assert server.methods.count("PATCH") == 1


def test_a_server_without_a_new_byte_is_given_up(file: Path) -> None:
    server = TusPeer(*[answering("PATCH", 500)] * 9)
    with Peer(server) as peer, pytest.raises(SluiceError, match="tried 3 times"):
        copy(file, f"{peer.url}/files/", retries=2)
    assert server.methods.count("PATCH") == 3


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_creates_nothing_here_gets_one_request(file: Path, status: int) -> None:
    server = TusPeer(answering("POST", status))

    def act(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            assert exchange.read_body() == DATA
            exchange.reply(201)
        else:
            server(exchange)

    with Peer(act) as peer:
        copy(file, f"{peer.url}/files/")
        assert [one.method for one in peer.seen] == ["OPTIONS", "POST", "PUT"]


def test_a_server_that_is_silent_gets_one_request(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "ASK_TIMEOUT", 0.2)

    def act(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            peer.ended.wait(20)
            return
        exchange.read_body()
        exchange.reply(201)

    with Peer(act) as peer:
        copy(file, f"{peer.url}/x")
        assert exchanged(peer) == ["OPTIONS", "PUT"]


def test_a_server_that_is_busy_meets_the_file_itself(file: Path) -> None:
    """The one request is then retried as ever."""
    busy = [503, 503]

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(busy.pop() if busy else 201, {"Retry-After": "0"})

    with Peer(act) as peer:
        copy(file, f"{peer.url}/x")
        assert exchanged(peer) == ["OPTIONS", "PUT", "PUT"]


def exchanged(peer: Peer) -> list[str]:
    return [one.method for one in peer.seen]


@pytest.mark.parametrize("status", [403, 422])
def test_a_refused_creation_is_an_error_before_a_byte(file: Path, status: int) -> None:
    server = TusPeer(answering("POST", status))
    with Peer(server) as peer, pytest.raises(SluiceError) as caught:
        copy(file, f"{peer.url}/files/")
    assert caught.value.members["answered"] == status
    assert server.methods == ["OPTIONS", "POST"]


def test_a_token_stays_with_its_server(file: Path) -> None:
    """The upload's place may be at another host; it gets the bytes, and no credentials."""
    server = TusPeer()
    with Peer(server, host="localhost") as other:

        def act(exchange: Exchange) -> None:
            if exchange.method == "POST":
                server.names.append("big.bin")
                server.kept["/up/1"] = bytearray()
                exchange.reply(201, {"Location": f"{other.url}/up/1"})
            else:
                server(exchange)

        with Peer(act) as peer:
            copy(file, f"{peer.url}/files/", token="secret")
            assert all("authorization" in one.headers for one in peer.seen)
        assert exchanged(other) == ["PATCH"]
        assert "authorization" not in other.seen[0].headers
    assert server.last == DATA


class JoiningPeer(TusPeer):
    """Also joins parts. `keys` are those of all joins."""

    once = ""  # what it says of Idempotency-Key

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.keys: list[str] = []
        self.joined: list[bytes] = []

    def __call__(self, exchange: Exchange) -> None:
        concat = exchange.headers.get("upload-concat", "")
        if exchange.method == "OPTIONS":
            extra = {"Tus-Extension": "creation,concatenation", "Tus-Concatenation": self.once}
            exchange.reply(204, {"Tus-Resumable": "1.0.0", "Tus-Version": "1.0.0"} | extra)
        elif concat.startswith("final;"):
            self.keys.append(exchange.headers["idempotency-key"])
            if self.faults and self.faults[0][0] == "final":
                self.faults.pop(0)[1](self, exchange)
                return
            paths = [urlsplit(url).path for url in concat.removeprefix("final;").split()]
            self.joined.append(b"".join(self.kept[path] for path in paths))
            exchange.reply(201, {"Tus-Resumable": "1.0.0", "Location": "/up/final"})
        else:
            super().__call__(exchange)


def test_a_join_that_may_have_been_made_is_not_asked_for_again(file: Path) -> None:
    """By a server that would make a second object. The error says where to look."""
    for act in (
        lambda _, exchange: exchange.reset(),
        lambda _, exchange: exchange.reply(502),
    ):
        server = JoiningPeer(("final", act))
        with Peer(server) as peer, pytest.raises(SluiceError, match="look there before you copy"):
            copy(file, f"{peer.url}/files/", parallel=2)
        assert len(server.keys) == 1


def test_a_join_that_ended_without_an_object_is_made_with_another_key(file: Path) -> None:
    """And one whose response got lost with the same key."""
    server = JoiningPeer(
        ("final", lambda _, exchange: exchange.reset()),
        ("final", lambda _, exchange: exchange.reply(410)),
    )
    server.once = "idempotency-key"
    with Peer(server) as peer:
        copy(file, f"{peer.url}/files/", parallel=2)
    assert server.joined == [DATA]
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 2


def test_joins_that_never_become_an_object_end(file: Path) -> None:
    ended = ("final", lambda _, exchange: exchange.reply(410))
    server = JoiningPeer(*[ended] * 99)
    server.once = "idempotency-key"
    with Peer(server) as peer, pytest.raises(SluiceError) as caught:
        copy(file, f"{peer.url}/files/", parallel=2)
    assert caught.value.members["answered"] == 410
    assert len(set(server.keys)) == len(server.keys) == 17


def test_parts_that_a_server_takes_nowhere_become_one_request(file: Path) -> None:
    server = JoiningPeer(answering("POST", 404), answering("POST", 404))

    def act(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            assert exchange.read_body() == DATA
            exchange.reply(201)
        else:
            server(exchange)

    with Peer(act) as peer:
        assert copy(file, f"{peer.url}/files/", parallel=2).size == len(DATA)
