"""The gateway: what a client sends here is, byte for byte, what the backend gets; each option changes what it says."""

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
    """A gateway and the backend behind it, which takes everything."""

    server: RunningServer
    peer: Peer

    @property
    def last(self) -> Exchange:
        return self.peer.seen[-1]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One gateway without options, to …/files."""
    with Peer(takes) as peer:
        server = start_server(tmp_path_factory.mktemp("relay") / "none", to=f"{peer.url}/files")
        yield Relay(server, peer)
        server.stop()


# How bodies go in and out


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "small", "big"])
def test_a_raw_put_goes_on_as_it_came(relay: Relay, data: bytes) -> None:
    """Method, key, type, length and every byte; the backend's own status, body and Location are the answer."""
    answer = requests.put(f"{relay.server.url}/files/a/b%20c.pdf", data=data, timeout=20)

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
    assert (answer.status_code, answer.content) == (201, b'{"ok": true}')
    assert (
        answer.headers["Location"] == f"{relay.peer.url}/files/7"
    )  # absolute: it is relative to that server, not to this one
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Via"] == "1.1 sluiceway"
    assert answer.headers["Upload-Id"]


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
    """Chunked in: Content-Length out when it ended soon enough, chunks when it did not."""
    fields = ["Transfer-Encoding: chunked", "Content-Type: text/csv"]
    answer = talk(
        relay.server.port,
        head("POST", "/files?name=%C3%BCber.csv", *fields) + chunked(data, 100_000),
    )

    assert (answer.status, relay.last.method, relay.last.target, relay.last.body) == (
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
def test_a_form_goes_on_as_a_form_of_known_length(relay: Relay, data: bytes) -> None:
    """Field, file name (not ASCII), type, fields before it: as they came, and with Content-Length."""
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="tïtle"\r\n\r\na b\r\nc\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="up[]"; filename="grün %22.txt"\r\n'
        "Content-Type: text/x-own\r\n\r\n"
    ).encode()
    body += data + f"\r\n--{BOUNDARY}--\r\n".encode()
    answer = talk(relay.server.port, form_head(len(body)) + body)

    assert (answer.status, relay.last.method, relay.last.target) == (201, "POST", "/files")
    assert parts(relay.last) == [
        'Content-Disposition: form-data; name="tïtle"\r\n\r\na b\r\nc'.encode(),
        'Content-Disposition: form-data; name="up[]"; filename="grün _.txt"\r\nContent-Type: text/x-own\r\n\r\n'.encode()
        + data,
    ]
    assert sorted(sent_fields(relay.last)) == ["content-length", "content-type"]
    assert relay.last.headers["content-length"] == str(len(relay.last.body))


def test_a_form_without_length_goes_on_in_chunks(relay: Relay) -> None:
    """Nobody knows how long the file is: chunked, and whole."""
    body = form_body(("t", None, b"v"), ("f", "a.bin", BIG))
    assert talk(relay.server.port, form_head(None) + chunked(body, 90_001)).status == 201

    assert relay.last.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in relay.last.headers
    assert parts(relay.last)[1].endswith(f"{OCTETS}\r\n\r\n".encode() + BIG)


def test_fields_behind_a_small_file_go_on_behind_it_or_before(relay: Relay) -> None:
    """A small file waits for the form's end: no field is lost."""
    body = form_body(("before", None, b"1"), ("f", "a.bin", b"data"), ("after", None, b"2"))
    assert talk(relay.server.port, form_head(len(body)) + body).status == 201

    names = [re.search(rb'name="(\w+)"', part)[1] for part in parts(relay.last)]  # type: ignore[index]
    assert sorted(names) == [b"after", b"before", b"f"]
    assert relay.last.headers["content-length"] == str(len(relay.last.body))


def test_a_field_behind_a_large_file_is_refused_in_words(relay: Relay) -> None:
    """Its length was taken for that of the last part: 400 that says what to do, and the backend saw nothing complete."""
    before, body = len(relay.peer.seen), form_body(("f", "a.bin", BIG), ("after", None, b"2"))
    answer = talk(relay.server.port, form_head(len(body)) + body)

    assert (answer.status, answer.code) == (400, "bad-form")
    assert "before the file" in answer.json()["detail"]
    eventually(
        lambda: "--relay-chunked" in relay.server.log(), "the operator is told what else helps"
    )
    assert all(cut_off(exchange) for exchange in relay.peer.seen[before:])


def test_several_small_files_become_several_requests(relay: Relay) -> None:
    """One form each, in order, every one with the fields; our JSON names where each went."""
    before = len(relay.peer.seen)
    body = form_body(
        ("t", None, b"v"), ("f", "a.bin", b"first"), ("g", "b.bin", b""), ("f", "c.bin", BIG)
    )
    answer = talk(relay.server.port, form_head(len(body)) + body)

    assert answer.status == 201
    assert [file["url"] for file in answer.json()["files"]] == [f"{relay.peer.url}/files/7"] * 3
    assert [
        (file["filename"], file["size"], file["status"]) for file in answer.json()["files"]
    ] == [
        ("a.bin", 5, 201),
        ("b.bin", 0, 201),
        ("c.bin", len(BIG), 201),
    ]
    assert answer.json()["fields"] == {"t": ["v"]}
    passed = {
        exchange.body.partition(b'filename="')[2].partition(b'"')[0]: exchange
        for exchange in relay.peer.seen[before:]
    }
    assert sorted(passed) == [b"a.bin", b"b.bin", b"c.bin"]
    for name, data in ((b"a.bin", b"first"), (b"b.bin", b""), (b"c.bin", BIG)):
        assert parts(passed[name])[0] == b'Content-Disposition: form-data; name="t"\r\n\r\nv'
        assert parts(passed[name])[1].endswith(b"\r\n\r\n" + data)


def test_several_large_files_need_chunks(relay: Relay, gateway: Gateway) -> None:
    """Without --relay-chunked 400, and the backend sees nothing complete; with it both arrive."""
    body = form_body(("f", "a.bin", BIG), ("f", "b.bin", BIG[::-1]), ("after", None, b"2"))
    before = len(relay.peer.seen)
    answer = talk(relay.server.port, form_head(len(body)) + body)
    assert (answer.status, answer.code) == (400, "bad-form")
    assert all(cut_off(exchange) for exchange in relay.peer.seen[before:])

    server, before = gateway(f"{relay.peer.url}/files", "--relay-chunked"), len(relay.peer.seen)
    assert talk(server.port, form_head(len(body)) + body).status == 201
    first, second = sorted(relay.peer.seen[before:], key=lambda exchange: b"b.bin" in exchange.body)
    for exchange, data in ((first, BIG), (second, BIG[::-1])):
        assert exchange.headers["transfer-encoding"] == "chunked"
        assert parts(exchange)[0].endswith(b"\r\n\r\n" + data)
        assert parts(exchange)[1] == b'Content-Disposition: form-data; name="after"\r\n\r\n2'


def cut_off(exchange: Exchange) -> bool:
    """Wait until a backend has noticed that its request never ended."""
    return exchange.done.wait(10) and exchange.cut


# What the operator sets


def test_a_form_can_go_on_raw(relay: Relay, gateway: Gateway) -> None:
    """--relay-body raw --relay-method PUT: only the file's bytes, their length kept, the name in Content-Disposition."""
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
def test_a_raw_body_can_go_on_as_a_form(relay: Relay, gateway: Gateway, sized: bool) -> None:
    """--relay-form and --relay-field: the file in that field, the operator's fields first, the length kept if there is one."""
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
    answer = talk(
        server.port,
        head("PUT", "/files/x/%E2%82%AC.txt", framing) + (BIG if sized else chunked(BIG, 50_000)),
    )

    assert (answer.status, relay.last.method, relay.last.target) == (201, "POST", "/api")
    assert parts(relay.last) == [
        'Content-Disposition: form-data; name="kind"\r\n\r\nböok=1'.encode(),
        b'Content-Disposition: form-data; name="n"\r\n\r\n2',
        'Content-Disposition: form-data; name="upload"; filename="€.txt"\r\nContent-Type: text/plain\r\n\r\n'.encode()
        + BIG,
    ]
    assert relay.last.headers.get("content-length") == (
        str(len(relay.last.body)) if sized else None
    )


def test_a_form_field_can_be_renamed_and_a_header_set(relay: Relay, gateway: Gateway) -> None:
    """--relay-form over the client's field, --relay-header over what would be said, --relay-method for another verb."""
    told = [
        "--relay-header",
        "X-Api-Key: s3cret: yes ",
        "--relay-header",
        "User-Agent: me/1",
        "--relay-method",
        "PATCH",
    ]
    server = gateway(f"{relay.peer.url}/api?v=1", "--relay-form", "upload", *told)
    assert (
        requests.post(
            f"{server.url}/files", files={"mine": ("a.txt", b"data", "text/plain")}, timeout=10
        ).status_code
        == 201
    )

    assert (relay.last.method, relay.last.target) == ("PATCH", "/api?v=1")
    assert relay.last.headers["x-api-key"] == "s3cret: yes"
    assert relay.last.headers["user-agent"] == "me/1"
    assert parts(relay.last) == [
        b'Content-Disposition: form-data; name="upload"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\ndata'
    ]


def test_digests_can_be_left_out(relay: Relay, gateway: Gateway) -> None:
    """--digest none: the bytes go on, and nothing is claimed of them."""
    server = gateway(f"{relay.peer.url}/files", "--digest", "none")
    body = form_body(("f", "a.bin", b"1"), ("f", "b.bin", b"2"))
    answer = talk(server.port, form_head(len(body)) + body)

    assert [file["sha-256"] for file in answer.json()["files"]] == [None, None]


# Addresses made of what clients say


@pytest.fixture(scope="module")
def shelf(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A gateway with a template."""
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
def test_a_value_stays_one_segment_of_the_address(
    relay: Relay, shelf: RunningServer, value: str
) -> None:
    """From the query and from a field alike: nothing a client says changes host or path."""
    for way in ("query", "field"):
        if way == "query":
            answer = requests.post(
                f"{shelf.url}/files", params={"id": value, "name": "a.txt"}, data=b"d", timeout=10
            )
        else:
            answer = requests.post(
                f"{shelf.url}/files", data={"id": value}, files={"f": ("a.txt", b"d")}, timeout=10
            )

        assert answer.status_code == 201
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
def test_a_value_that_can_be_no_segment_is_refused(
    relay: Relay, shelf: RunningServer, value: str
) -> None:
    """400 that names the value's place; the backend hears nothing, also where it would decode a path more than once."""
    before = len(relay.peer.seen)
    answer = requests.post(f"{shelf.url}/files", params={"id": value}, data=b"d", timeout=10)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-form")
    assert "'id'" in answer.json()["detail"]
    assert len(relay.peer.seen) == before


def test_a_missing_value_is_asked_for(relay: Relay, gateway: Gateway) -> None:
    """400 that says how to send it, before the body is read; a field behind the file comes in time for a small one only."""
    server = gateway(f"{relay.peer.url}/x", "--relay-url", "/books/{book}")
    before = len(relay.peer.seen)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/a", "Content-Length: 5", "Expect: 100-continue"))
        answer = wire.answer()
    assert (answer.status, answer.code, answer.interim) == (400, "bad-form", [])
    assert "?book=" in answer.json()["detail"]
    assert len(relay.peer.seen) == before

    late = form_body(("f", "a.bin", b"small"), ("book", None, b"7"))
    assert talk(server.port, form_head(len(late)) + late).status == 201
    assert relay.last.target == "/books/7"
    late = form_body(("f", "a.bin", BIG), ("book", None, b"7"))
    assert talk(server.port, form_head(len(late)) + late).code == "bad-form"


def test_a_keys_slashes_stay_and_its_names_win(relay: Relay, shelf: RunningServer) -> None:
    """{key} keeps its segments; a client's ?key= or ?filename= names nothing."""
    answer = requests.put(
        f"{shelf.url}/files/a/b%3Fc/d.txt?id=1&key=evil&filename=evil", data=b"d", timeout=10
    )

    assert answer.status_code == 201
    assert relay.last.target == "/books/1/a/b%3Fc/d.txt?as=d.txt"


def test_without_a_value_the_id_is_the_uploads(relay: Relay, shelf: RunningServer) -> None:
    """{id} is the upload's own, the one it can be watched by."""
    answer = requests.put(f"{shelf.url}/files/a", data=b"d", timeout=10)

    assert relay.last.target == f"/books/{answer.headers['Upload-Id']}/a?as=a"


# Preconditions belong to whom the object belongs


@pytest.mark.parametrize(
    ("sent", "passed"), [("If-None-Match: *", "if-none-match"), ('If-Match: "v1"', "if-match")]
)
def test_a_precondition_is_passed_on(relay: Relay, sent: str, passed: str) -> None:
    """The backend alone knows what is there."""
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
    """Dropped in silence it would overwrite what it was to protect."""
    before = len(relay.peer.seen)
    assert (
        talk(relay.server.port, head("PUT", "/files/a", "Content-Length: 1", sent) + b"x").status
        == 400
    )
    assert len(relay.peer.seen) == before


@pytest.mark.parametrize(
    "option", [["--relay-form", "f"], ["--relay-method", "POST"]], ids=["as a form", "as a POST"]
)
def test_a_precondition_is_not_lost_where_a_put_becomes_something_else(
    relay: Relay, gateway: Gateway, option: list[str]
) -> None:
    """A POST to a collection asks another question: 400 instead of an answer to that one."""
    server, before = gateway(f"{relay.peer.url}/files", *option), len(relay.peer.seen)
    answer = talk(
        server.port, head("PUT", "/files/a", "Content-Length: 1", "If-None-Match: *") + b"x"
    )

    assert answer.status == 400
    assert len(relay.peer.seen) == before


# Bodies that must not look complete over there


def test_too_large_a_body_never_completes_over_there(relay: Relay, gateway: Gateway) -> None:
    """--max-size: a known length is refused before the backend hears of it, an unknown one breaks off."""
    server, before = (
        gateway(f"{relay.peer.url}/files", "--max-size", "300000"),
        len(relay.peer.seen),
    )
    assert talk(server.port, head("PUT", "/files/a", f"Content-Length: {len(BIG)}")).status == 413
    assert len(relay.peer.seen) == before

    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/a", "Transfer-Encoding: chunked") + chunk(BIG))
        answer = wire.answer()
    assert (answer.status, answer.code) == (413, "too-large")
    assert all(cut_off(exchange) for exchange in relay.peer.seen[before:])


@pytest.mark.parametrize("size", [5, 700_000], ids=["small", "big"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_wrong_digest_never_completes_over_there(relay: Relay, size: int, framing: str) -> None:
    """The client promised other bytes: 400, and the backend saw no end."""
    before, data = len(relay.peer.seen), BIG[:size]
    told = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
    digest = "Repr-Digest: sha-256=:RK/5qy6MXBSVnWgjSz6iuSuFcGnTrM0t3RdM6TZq8lo=:"
    answer = talk(
        relay.server.port,
        head("PUT", "/files/a", told, digest)
        + (data if framing == "length" else chunked(data, 100_000)),
    )

    assert (answer.status, answer.code) == (400, "digest-mismatch")
    assert all(cut_off(exchange) for exchange in relay.peer.seen[before:])


def test_a_gateway_keeps_nothing_to_give_back(relay: Relay, tmp_path: Path) -> None:
    """GET, HEAD, DELETE: 404 that says so; the list is empty; it is ready without asking anybody."""
    requests.put(f"{relay.server.url}/files/a", data=b"x", timeout=10)
    before = len(relay.peer.seen)

    assert requests.get(f"{relay.server.url}/files", timeout=10).json()["files"] == []
    for method in ("GET", "HEAD", "DELETE"):
        assert (
            requests.request(method, f"{relay.server.url}/files/a", timeout=10).status_code == 404
        )
    assert "keeps none" in requests.get(f"{relay.server.url}/files/a", timeout=10).json()["detail"]
    assert requests.get(f"{relay.server.url}/readyz", timeout=10).status_code == 200
    assert len(relay.peer.seen) == before
