"""The gateway: the backend gets byte for byte what a client sends; each option changes the
request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import Gateway, parts, sent_fields, takes
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import BOUNDARY, Wire, chunk, chunked, form_body, form_head, head, talk
from rude_peer import Exchange, Peer

BIG = noise(700_000)
OCTETS = "application/octet-stream"


@dataclass
class Relay:
    """A gateway and a backend behind it that accepts everything."""

    server: RunningServer
    peer: Peer

    @property
    def last(self) -> Exchange:
        return self.peer.seen[-1]


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


# Bodies


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "small", "big"])
def test_a_raw_put_is_passed_on_unchanged(relay: Relay, data: bytes) -> None:
    """Method, key, type, length and bytes; the response has the backend's status, body and
    Location.
    """
    response = requests.put(f"{relay.server.url}/files/a/b%20c.pdf", data=data, timeout=20)

    assert (relay.last.method, relay.last.target, relay.last.body) == (
        "PUT",
        "/files/a/b%20c.pdf",
        data,
    )
    assert sent_fields(relay.last) == {
        "content-type": "application/pdf",
        "content-disposition": 'attachment; filename="b c.pdf"',
        "content-length": str(len(data)),
    }
    assert (response.status_code, response.content) == (201, b'{"ok": true}')
    assert (
        response.headers["Location"] == f"{relay.peer.url}/files/7"
    )  # absolute: relative to that server
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Via"] == "1.1 sluiceway"
    assert response.headers["Upload-Id"]


@pytest.mark.parametrize(
    ("data", "framing"),
    [
        (b"", ("content-length", "0")),
        (b"small", ("content-length", "5")),
        (BIG, ("transfer-encoding", "chunked")),
    ],
    ids=["empty", "small", "big"],
)
def test_a_raw_body_without_length_gets_one_when_it_is_small(
    relay: Relay, data: bytes, framing: tuple[str, str]
) -> None:
    """A chunked body goes on with a Content-Length if it ends early, else in chunks."""
    fields = ["Transfer-Encoding: chunked", "Content-Type: text/csv"]
    response = talk(
        relay.server.port,
        head("POST", "/files?name=%C3%BCber.csv", *fields) + chunked(data, 100_000),
    )

    assert (response.status, relay.last.method, relay.last.target, relay.last.body) == (
        201,
        "POST",
        "/files",
        data,
    )
    assert sent_fields(relay.last) == {
        "content-type": "text/csv",
        "content-disposition": "attachment; filename=\"_ber.csv\"; filename*=UTF-8''%C3%BCber.csv",
        framing[0]: framing[1],
    }


@pytest.mark.parametrize("data", [b"", b"\r\n--x", BIG], ids=["empty", "small", "big"])
def test_a_form_is_passed_on_as_a_form_of_known_length(relay: Relay, data: bytes) -> None:
    """Field, non-ASCII file name, type and earlier fields are unchanged; it has a
    Content-Length.
    """
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="tïtle"\r\n\r\na b\r\nc\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="up[]"; filename="grün %22.txt"\r\n'
        "Content-Type: text/x-own\r\n\r\n"
    ).encode()
    body += data + f"\r\n--{BOUNDARY}--\r\n".encode()
    response = talk(relay.server.port, form_head(len(body)) + body)

    assert (response.status, relay.last.method, relay.last.target) == (201, "POST", "/files")
    assert parts(relay.last) == [
        'Content-Disposition: form-data; name="tïtle"\r\n\r\na b\r\nc'.encode(),
        'Content-Disposition: form-data; name="up[]"; filename="grün _.txt"\r\n'.encode()
        + b"Content-Type: text/x-own\r\n\r\n"
        + data,
    ]
    assert sorted(sent_fields(relay.last)) == ["content-length", "content-type"]
    assert relay.last.headers["content-length"] == str(len(relay.last.body))


def test_a_form_without_length_is_passed_on_in_chunks(relay: Relay) -> None:
    """The length of the file is unknown: the request is chunked and complete."""
    body = form_body(("t", None, b"v"), ("f", "a.bin", BIG))
    assert talk(relay.server.port, form_head(None) + chunked(body, 90_001)).status == 201

    assert relay.last.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in relay.last.headers
    assert parts(relay.last)[1].endswith(f"{OCTETS}\r\n\r\n".encode() + BIG)


def test_fields_behind_a_small_file_are_passed_on(relay: Relay) -> None:
    """A small file waits for the end of the form: no field is lost."""
    body = form_body(("before", None, b"1"), ("f", "a.bin", b"data"), ("after", None, b"2"))
    assert talk(relay.server.port, form_head(len(body)) + body).status == 201

    names = [re.search(rb'name="(\w+)"', part)[1] for part in parts(relay.last)]  # type: ignore[index]
    assert sorted(names) == [b"after", b"before", b"f"]
    assert relay.last.headers["content-length"] == str(len(relay.last.body))


def test_a_field_behind_a_large_file_is_refused(relay: Relay) -> None:
    """400 that says what to do, and the backend gets no complete request."""
    before, body = len(relay.peer.seen), form_body(("f", "a.bin", BIG), ("after", None, b"2"))
    response = talk(relay.server.port, form_head(len(body)) + body)

    assert (response.status, response.code) == (400, "bad-form")
    assert "before the file" in response.json()["detail"]
    eventually(lambda: "--relay-chunked" in relay.server.log(), "the log names the option")
    assert all(exchange.was_cut() for exchange in relay.peer.seen[before:])


def test_several_small_files_become_several_requests(relay: Relay) -> None:
    """One form each, in order, each with the fields; our JSON names the location of each."""
    before = len(relay.peer.seen)
    body = form_body(
        ("t", None, b"v"), ("f", "a.bin", b"first"), ("g", "b.bin", b""), ("f", "c.bin", BIG)
    )
    response = talk(relay.server.port, form_head(len(body)) + body)

    assert response.status == 201
    assert [file["url"] for file in response.json()["files"]] == [f"{relay.peer.url}/files/7"] * 3
    assert [
        (file["filename"], file["size"], file["status"]) for file in response.json()["files"]
    ] == [
        ("a.bin", 5, 201),
        ("b.bin", 0, 201),
        ("c.bin", len(BIG), 201),
    ]
    assert response.json()["fields"] == {"t": ["v"]}
    passed = {
        exchange.body.partition(b'filename="')[2].partition(b'"')[0]: exchange
        for exchange in relay.peer.seen[before:]
    }
    assert sorted(passed) == [b"a.bin", b"b.bin", b"c.bin"]
    for name, data in ((b"a.bin", b"first"), (b"b.bin", b""), (b"c.bin", BIG)):
        assert parts(passed[name])[0] == b'Content-Disposition: form-data; name="t"\r\n\r\nv'
        assert parts(passed[name])[1].endswith(b"\r\n\r\n" + data)


def test_several_large_files_need_chunks(relay: Relay, gateway: Gateway) -> None:
    """Without --relay-chunked 400 and no complete request; with it both arrive."""
    body = form_body(("f", "a.bin", BIG), ("f", "b.bin", BIG[::-1]), ("after", None, b"2"))
    before = len(relay.peer.seen)
    response = talk(relay.server.port, form_head(len(body)) + body)
    assert (response.status, response.code) == (400, "bad-form")
    assert all(exchange.was_cut() for exchange in relay.peer.seen[before:])

    server, before = gateway(f"{relay.peer.url}/files", "--relay-chunked"), len(relay.peer.seen)
    assert talk(server.port, form_head(len(body)) + body).status == 201
    first, second = sorted(relay.peer.seen[before:], key=lambda exchange: b"b.bin" in exchange.body)
    for exchange, data in ((first, BIG), (second, BIG[::-1])):
        assert exchange.headers["transfer-encoding"] == "chunked"
        assert parts(exchange)[0].endswith(b"\r\n\r\n" + data)
        assert parts(exchange)[1] == b'Content-Disposition: form-data; name="after"\r\n\r\n2'


# Options


def test_a_form_can_be_passed_on_raw(relay: Relay, gateway: Gateway) -> None:
    """--relay-body raw --relay-method PUT: only the file's bytes, with length and name."""
    server = gateway(
        f"{relay.peer.url}/in",
        "--relay-body",
        "raw",
        "--relay-method",
        "PUT",
        "--relay-url",
        "/in/{title}/{filename}",
    )
    body = form_body(("title", None, "ä b".encode()), ("f", "a.bin", BIG))
    assert talk(server.port, form_head(len(body)) + body).status == 201

    assert (relay.last.method, relay.last.target, relay.last.body) == (
        "PUT",
        "/in/%C3%A4%20b/a.bin",
        BIG,
    )
    assert sent_fields(relay.last) == {
        "content-type": OCTETS,
        "content-disposition": 'attachment; filename="a.bin"',
        "content-length": str(len(BIG)),
    }


@pytest.mark.parametrize("sized", [True, False], ids=["length", "chunks"])
def test_a_raw_body_can_be_passed_on_as_a_form(relay: Relay, gateway: Gateway, sized: bool) -> None:
    """--relay-form, --relay-field: the operator's fields, then the file; with a length if it has
    one.
    """
    server = gateway(
        f"{relay.peer.url}/api",
        "--relay-form",
        "upload",
        "--relay-field",
        "kind=böok=1",
        "--relay-field",
        "n=2",
    )
    framing = f"Content-Length: {len(BIG)}" if sized else "Transfer-Encoding: chunked"
    response = talk(
        server.port,
        head("PUT", "/files/x/%E2%82%AC.txt", framing) + (BIG if sized else chunked(BIG, 50_000)),
    )

    assert (response.status, relay.last.method, relay.last.target) == (201, "POST", "/api")
    assert parts(relay.last) == [
        'Content-Disposition: form-data; name="kind"\r\n\r\nböok=1'.encode(),
        b'Content-Disposition: form-data; name="n"\r\n\r\n2',
        'Content-Disposition: form-data; name="upload"; filename="€.txt"\r\n'.encode()
        + b"Content-Type: text/plain\r\n\r\n"
        + BIG,
    ]
    assert relay.last.headers.get("content-length") == (
        str(len(relay.last.body)) if sized else None
    )


def test_options_replace_field_header_and_method(relay: Relay, gateway: Gateway) -> None:
    """--relay-form, --relay-header and --relay-method replace the client's values."""
    options = [
        "--relay-header",
        "X-Api-Key: s3cret: yes ",
        "--relay-header",
        "User-Agent: me/1",
        "--relay-method",
        "PATCH",
    ]
    server = gateway(f"{relay.peer.url}/api?v=1", "--relay-form", "upload", *options)
    assert (
        requests.post(
            f"{server.url}/files", files={"mine": ("a.txt", b"data", "text/plain")}, timeout=10
        ).status_code
        == 201
    )

    assert (relay.last.method, relay.last.target) == ("PATCH", "/api?v=1")
    assert relay.last.headers["x-api-key"] == "s3cret: yes"
    assert relay.last.headers["user-agent"] == "me/1"
    part_head = b'Content-Disposition: form-data; name="upload"; filename="a.txt"'
    assert parts(relay.last) == [part_head + b"\r\nContent-Type: text/plain\r\n\r\ndata"]


def test_digests_can_be_switched_off(relay: Relay, gateway: Gateway) -> None:
    """--digest none: the bytes are passed on without a digest."""
    server = gateway(f"{relay.peer.url}/files", "--digest", "none")
    body = form_body(("f", "a.bin", b"1"), ("f", "b.bin", b"2"))
    response = talk(server.port, form_head(len(body)) + body)

    assert [file["sha-256"] for file in response.json()["files"]] == [None, None]


# Bodies that must not look complete at the backend


def test_a_too_large_body_never_completes_at_the_backend(relay: Relay, gateway: Gateway) -> None:
    """--max-size: a known length is refused before any request, an unknown one breaks off."""
    server, before = (
        gateway(f"{relay.peer.url}/files", "--max-size", "300000"),
        len(relay.peer.seen),
    )
    assert talk(server.port, head("PUT", "/files/a", f"Content-Length: {len(BIG)}")).status == 413
    assert len(relay.peer.seen) == before

    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/a", "Transfer-Encoding: chunked") + chunk(BIG))
        response = wire.answer()
    assert (response.status, response.code) == (413, "too-large")
    assert all(exchange.was_cut() for exchange in relay.peer.seen[before:])


@pytest.mark.parametrize("size", [5, 700_000], ids=["small", "big"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_with_a_wrong_digest_never_completes_at_the_backend(
    relay: Relay, size: int, framing: str
) -> None:
    """The client promised other bytes: 400, and the backend gets no complete request."""
    before, data = len(relay.peer.seen), BIG[:size]
    chunked_field = "Transfer-Encoding: chunked"
    framing_field = f"Content-Length: {size}" if framing == "length" else chunked_field
    digest = "Repr-Digest: sha-256=:RK/5qy6MXBSVnWgjSz6iuSuFcGnTrM0t3RdM6TZq8lo=:"
    response = talk(
        relay.server.port,
        head("PUT", "/files/a", framing_field, digest)
        + (data if framing == "length" else chunked(data, 100_000)),
    )

    assert (response.status, response.code) == (400, "digest-mismatch")
    assert all(exchange.was_cut() for exchange in relay.peer.seen[before:])


def test_a_gateway_has_no_objects(relay: Relay, tmp_path: Path) -> None:
    """GET, HEAD, DELETE: 404 that says so. The list is empty; readiness asks by HEAD."""
    requests.put(f"{relay.server.url}/files/a", data=b"x", timeout=10)
    before = len(relay.peer.seen)

    assert requests.get(f"{relay.server.url}/files", timeout=10).json()["files"] == []
    for method in ("GET", "HEAD", "DELETE"):
        assert (
            requests.request(method, f"{relay.server.url}/files/a", timeout=10).status_code == 404
        )
    assert "keeps none" in requests.get(f"{relay.server.url}/files/a", timeout=10).json()["detail"]
    assert requests.get(f"{relay.server.url}/readyz", timeout=10).status_code == 200
    assert [exchange.method for exchange in relay.peer.seen[before:]] == ["HEAD"]


def test_the_ids_of_a_request_go_to_the_backend(relay: Relay) -> None:
    """What the client sent is passed on and answered; without, the answer has what was made."""
    url, trace = f"{relay.server.url}/files/traced.bin", "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = f"00-{trace}-00f067aa0ba902b7-01"
    sent = {"X-Request-ID": "client-7", "traceparent": parent, "tracestate": "vendor=1"}
    answer = requests.put(url, data=b"1", headers=sent, timeout=20)
    passed = relay.last.headers
    assert passed["x-request-id"] == answer.headers["X-Request-ID"] == "client-7"
    assert passed["traceparent"] == answer.headers["traceparent"] != parent
    assert passed["traceparent"].startswith(f"00-{trace}-")
    assert passed["tracestate"] == "vendor=1"

    answer = requests.post(f"{relay.server.url}/files", files={"f": b"1"}, timeout=20)
    assert relay.last.headers["x-request-id"] == answer.headers["X-Request-ID"]
    assert relay.last.headers["traceparent"] == answer.headers["traceparent"]
