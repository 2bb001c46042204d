"""The question what a server takes must not harm an upload to a server that does not know it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway import copy, copy_all
from sluiceway.client.resumable import offers

pytestmark = pytest.mark.usefixtures("state")

DATA = noise((2 << 20) + 5)
Act = Callable[[Exchange], object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    return path


def asked_by(act: Act, then: Act | None = None) -> Act:
    """A server that answers OPTIONS by `act`, and takes files by `then`, or as it should."""

    def answered(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            act(exchange)
        elif then is not None:
            then(exchange)
        else:
            exchange.read_body()
            exchange.reply(201)

    return answered


def status(code: int, **headers: str) -> Act:
    return lambda exchange: exchange.reply(code, headers, b"<html>no</html>")


def leaves_unannounced(exchange: Exchange) -> None:
    """The connection seems to be kept, and breaks under the next request."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    exchange.sock.recv(1)
    exchange.reset()


def stays_out(exchange: Exchange) -> None:
    """The response breaks off in its body."""
    exchange.head(200, {"Content-Length": "100"})


def endless(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(1 << 40)})
    while True:
        exchange.send(bytes(1 << 20))


ODD: dict[str, Act] = {
    "unauthorized": status(401, **{"WWW-Authenticate": 'Basic realm="x"'}),
    "forbidden": status(403),
    "unknown method": status(405, Allow="PUT"),
    "defect": status(500),
    "bad request": status(400),
    "to a login page": status(302, Location="/login"),
    "in a circle": status(307, Location="/files/x"),
    "to a broken place": status(302, Location="http://[/"),
    "reset": Exchange.reset,
    "closed": lambda exchange: None,
    "no HTTP": lambda exchange: exchange.send(b"hello\r\n\r\n"),
    "left unannounced": leaves_unannounced,
    "cut": stays_out,
    "endless": endless,
    "nonsense": status(200, **{"Upload-Limit": "]", "Tus-Version": "9", "Tus-Extension": ","}),
}


@pytest.mark.parametrize("path", ["/files/x", "/files"])
@pytest.mark.parametrize("how", ODD)
def test_an_odd_response_costs_no_attempt(file: Path, how: str, path: str) -> None:
    """A PUT or a form, once and whole, though it may not be repeated."""
    with Peer(asked_by(ODD[how])) as peer:
        assert copy(file, f"{peer.url}{path}", retries=0).status == 201
        uploads = [one for one in peer.seen if one.method in ("PUT", "POST")]
        assert [DATA in one.body for one in uploads] == [True]
        others = [one.method for one in peer.seen if one not in uploads]
        assert set(others) == {"OPTIONS"}
        assert len(others) <= 12


def test_a_redirected_question_takes_no_secret_along(file: Path) -> None:
    with Peer(status(200), host="localhost") as other:
        away = status(302, Location=f"{other.url}/login")
        with Peer(asked_by(away)) as peer:
            copy(file, f"{peer.url}/x", token="hush", headers={"X-Key": "hush"})
        assert other.seen
        assert all("hush" not in str(one.headers) for one in other.seen)


@pytest.mark.parametrize("how", ["silent", "reset"])
def test_a_server_that_says_nothing_is_asked_once_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Otherwise each large file would wait."""
    monkeypatch.setattr(offers, "ASK_TIMEOUT", 0.2)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(DATA)

    def silent(exchange: Exchange) -> None:
        peer.ended.wait(20)

    with Peer(asked_by(Exchange.reset if how == "reset" else silent)) as peer:
        assert copy_all(folder, f"{peer.url}/").ok
        asked = [one.method for one in peer.seen].count("OPTIONS")
        assert asked <= (2 if how == "reset" else 1)  # the HTTP library repeats one that was reset


def test_a_silent_server_is_asked_again_once_an_upload_broke_off(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence may have been the line's. From then on a cut costs only what was not kept."""
    monkeypatch.setattr(offers, "ASK_TIMEOUT", 0.2)

    def act(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            exchange.ask_for_body()
            exchange.recv()
            exchange.reset()
        elif len(peer.seen) == 1:
            peer.ended.wait(20)
        elif exchange.method == "OPTIONS":
            exchange.reply(200, {"Tus-Version": "1.0.0", "Tus-Extension": "creation"})
        elif exchange.method == "POST":
            exchange.reply(201, {"Location": "/up/1"})
        else:
            exchange.read_body()
            exchange.reply(204, {"Upload-Offset": str(len(exchange.body))})

    with Peer(act) as peer:
        copy(file, f"{peer.url}/x")
        methods = [one.method for one in peer.seen]
        assert methods == ["OPTIONS", "PUT", "OPTIONS", "POST", "PATCH"]
        assert peer.seen[-1].body == DATA


def test_a_form_at_a_url_that_names_files_is_one_request(file: Path) -> None:
    """`?name=` is for raw bodies: the stored name must not depend on the size of a file."""
    with Peer(asked_by(status(200, **{"Upload-Limit": "min-size=0"}))) as peer:
        copy(file, f"{peer.url}/files?name=q.bin")
        assert [one.method for one in peer.seen] == ["POST"]
        assert b'filename="big.bin"' in peer.seen[0].body
