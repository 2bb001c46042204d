"""Keys and preconditions at a gateway: what becomes a part of the URL, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from fix_gateway import Gateway, takes
from fix_server import RunningServer, start_server
from journeys.test_gateway import BIG, Relay
from raw_http import Wire, form_body, form_head, head, talk
from rude_peer import Peer


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One gateway without options, to …/files."""
    with Peer(takes) as peer:
        server = start_server(
            tmp_path_factory.mktemp("relay") / "none",
            "--relay-show-backend",
            to=f"{peer.url}/files",
        )
        yield Relay(server, peer)
        server.stop()


@pytest.fixture(scope="module")
def shelf(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A gateway with a URL template."""
    folder = tmp_path_factory.mktemp("shelf") / "none"
    server = start_server(
        folder,
        "--relay-url",
        "/books/{id}/{key}?as={filename}",
        "--key-template",
        "k-{filename}",
        to=f"{relay.peer.url}/x",
    )
    yield server
    server.stop()


HOSTILE = {
    "a%2Fb": "a%252Fb",
    "a?b#c": "a%3Fb%23c",
    "a..b": "a..b",
    "..a": "..a",
    "100%": "100%25",
    "@evil": "%40evil",
    ";x=1": "%3Bx%3D1",
    "{key}": "%7Bkey%7D",
    "grün €": "gr%C3%BCn%20%E2%82%AC",
    "…": "%E2%80%A6",
    "a b+c&d": "a%20b%2Bc%26d",
}


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_stays_one_segment_of_the_url(
    relay: Relay, shelf: RunningServer, value: str
) -> None:
    """A value from the query or a field changes neither host nor path."""
    for way in ("query", "field"):
        if way == "query":
            response = requests.post(
                f"{shelf.url}/files", params={"id": value, "name": "a.txt"}, data=b"d", timeout=10
            )
        else:
            response = requests.post(
                f"{shelf.url}/files", data={"id": value}, files={"f": ("a.txt", b"d")}, timeout=10
            )

        assert response.status_code == 201
        assert relay.last.target == f"/books/{HOSTILE[value]}/k-a.txt?as=a.txt"


CLIMBING = [
    *(
        "a/b",
        "../../etc",
        "..\\..",
        "%2e%2e",
        "..%2f",
        "..%2Fadmin%2Fusers",
        "%2e%2e%5cadmin",
        "..;x=1",
        "a%2F..%2Fb",
    ),
    *("//evil.example/", "http://evil.example", ".. ", "...", "a%00b", "\u0085x"),
]


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a\r\nX: y", "a\0b", "tab\tbed", "\x7f", "x" * 1025, *CLIMBING]
)
def test_a_value_that_cannot_be_a_segment_is_refused(
    relay: Relay, shelf: RunningServer, value: str
) -> None:
    """400 that names the placeholder, even if only a second decoding would climb; no request is
    sent.
    """
    before = len(relay.peer.seen)
    response = requests.post(f"{shelf.url}/files", params={"id": value}, data=b"d", timeout=10)

    assert (response.status_code, response.json()["code"]) == (400, "bad-form")
    assert "'id'" in response.json()["detail"]
    assert len(relay.peer.seen) == before


def test_a_missing_value_is_refused_before_the_body(relay: Relay, gateway: Gateway) -> None:
    """400 that says how to send it. A field behind the file is in time only for a small file."""
    server = gateway(f"{relay.peer.url}/x", "--relay-url", "/books/{book}")
    before = len(relay.peer.seen)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/a", "Content-Length: 5", "Expect: 100-continue"))
        response = wire.answer()
    assert (response.status, response.code, response.interim) == (400, "bad-form", [])
    assert "?book=" in response.json()["detail"]
    assert len(relay.peer.seen) == before

    late = form_body(("f", "a.bin", b"small"), ("book", None, b"7"))
    assert talk(server.port, form_head(len(late)) + late).status == 201
    assert relay.last.target == "/books/7"
    late = form_body(("f", "a.bin", BIG), ("book", None, b"7"))
    assert talk(server.port, form_head(len(late)) + late).code == "bad-form"


def test_a_keys_slashes_are_kept_and_its_names_have_precedence(
    relay: Relay, shelf: RunningServer
) -> None:
    """{key} keeps its segments; a client's ?key= or ?filename= is ignored."""
    response = requests.put(
        f"{shelf.url}/files/a/b%3Fc/d.txt?id=1&key=evil&filename=evil", data=b"d", timeout=10
    )

    assert response.status_code == 201
    assert relay.last.target == "/books/1/a/b%3Fc/d.txt?as=d.txt"


def test_without_a_value_the_id_is_refused(relay: Relay, shelf: RunningServer) -> None:
    """{id} is the client's; nothing stands in for it, and the backend learns of nothing."""
    before = len(relay.peer.seen)
    response = requests.put(f"{shelf.url}/files/a", data=b"d", timeout=10)

    assert (response.status_code, response.json()["code"]) == (400, "bad-form")
    assert len(relay.peer.seen) == before


@pytest.mark.parametrize(
    ("sent", "passed"), [("If-None-Match: *", "if-none-match"), ('If-Match: "v1"', "if-match")]
)
def test_a_precondition_is_passed_on(relay: Relay, sent: str, passed: str) -> None:
    """Only the backend knows its objects."""
    name, _, value = sent.partition(": ")
    assert (
        talk(relay.server.port, head("PUT", "/files/a", "Content-Length: 1", sent) + b"x").status
        == 201
    )

    assert name.lower() == passed
    assert {"if-match", "if-none-match"} & set(relay.last.headers) == {passed}
    assert relay.last.headers[passed] == value


@pytest.mark.parametrize("sent", ["If-Match: *", 'If-Match: "a", "b"'])
def test_a_precondition_that_cannot_be_passed_on_is_refused(relay: Relay, sent: str) -> None:
    """Without it the request would overwrite what the client wanted to protect."""
    before = len(relay.peer.seen)
    assert (
        talk(relay.server.port, head("PUT", "/files/a", "Content-Length: 1", sent) + b"x").status
        == 400
    )
    assert len(relay.peer.seen) == before


@pytest.mark.parametrize(
    "option", [["--relay-form", "f"], ["--relay-method", "POST"]], ids=["as a form", "as a POST"]
)
def test_a_precondition_is_refused_where_a_put_becomes_a_post(
    relay: Relay, gateway: Gateway, option: list[str]
) -> None:
    """A POST to a collection asks another question."""
    server, before = gateway(f"{relay.peer.url}/files", *option), len(relay.peer.seen)
    response = talk(
        server.port, head("PUT", "/files/a", "Content-Length: 1", "If-None-Match: *") + b"x"
    )

    assert response.status == 400
    assert len(relay.peer.seen) == before
