"""The backend's response: status, body and safe headers are passed on, redirects bounded, secrets
kept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import requests

from fix_gateway import Gateway, takes
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire, form_body, form_head, head, talk
from rude_peer import Exchange, Peer

DANGEROUS = {
    "Set-Cookie": "session=stolen",
    "Set-Cookie2": "a=b",
    "WWW-Authenticate": 'Basic realm="give me your password"',
    "Proxy-Authenticate": "Basic",
    "X-Accel-Redirect": "/secret",
    "X-Accel-Buffering": "yes",
    "X-Sendfile": "/etc/passwd",
    "X-Reproxy-URL": "http://inside.example/",
    "X-LiteSpeed-Location": "/x",
    "Strict-Transport-Security": "max-age=99999999",
    "Clear-Site-Data": '"*"',
    "Access-Control-Allow-Origin": "*",
    "Service-Worker-Allowed": "/",
    "Refresh": "0; url=http://evil.example/",
    "Report-To": "{}",
    "NEL": "{}",
    "SourceMap": "/x",
    "Alt-Svc": 'h2="evil.example:443"',
    "Set-Login": "logged-in",
    "Accept-CH": "Sec-CH-UA-Full",
    "Origin-Agent-Cluster": "?1",
    "Connection": "close, X-Hop",
    "X-Hop": "1",
    "Keep-Alive": "timeout=9",
    "Trailer": "X",
    "Server": "backend/1.0",
    "Server-Timing": "theirs;dur=1",
    "Upload-Id": "not-ours",
    "Via": "1.0 evil",
    "Content-Security-Policy": "default-src *",
    "X-Content-Type-Options": "theirs",
    "Cache-Control": "public, max-age=9999",
    "Link": "</theirs.css>; rel=stylesheet",
    "Origin-Trial": "token",
    "Age": "9",
    "X-Unknown": "1",
}
SAFE = {
    "ETag": '"v7"',
    "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT",
    "Retry-After": "30",
    "X-Request-Id": "abc",
    "Content-Language": "de",
    "Content-Type": "application/vnd.own+json",
    "Allow": "PUT",
    "X-Latin": "gr\xfcn",
}
HTML = b"<!doctype html><script>alert(document.domain)</script>"


def take(exchange: Exchange) -> None:
    """Reads the body, after a 100 Continue if asked for one."""
    if "expect" in exchange.headers:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    takes(exchange)


def answers(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> object:
    """A backend that reads everything and answers this."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(status, headers, body)

    return act


def bare(status: int) -> object:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.send(b"HTTP/1.1 %d Rude\r\n\r\n" % status)

    return act


def moved(status: int, where: str) -> object:
    """Redirects to there, before it reads the body if the client expects a 100."""

    def act(exchange: Exchange) -> None:
        if "expect" not in exchange.headers:
            exchange.read_body()
        exchange.reply(status, {"Location": where} if where else {})

    return act


PLACES: dict[str, object] = {
    "/dangerous": answers(200, DANGEROUS, b"{}"),
    "/safe": answers(201, SAFE, b'{"id": 7}'),
    "/html": answers(422, {"Content-Type": "text/html"}, HTML),
    "/nothing": bare(204),
    "/big": answers(200, {"Content-Type": "text/plain"}, noise(900_000)),
    "/huge": answers(200, {"Content-Type": "text/plain"}, noise(3 << 20)),
    "/hugely-refused": answers(409, {"Content-Type": "text/plain"}, noise(3 << 20)),
    "/relative": answers(
        201, {"Location": "../books/7?x=1#f", "Content-Location": "//other.example/b"}
    ),
    "/elsewhere": answers(201, {"Location": "javascript:alert(1)"}),
    "/101": answers(101),
    "/199": answers(199),
    "/304": bare(304),
    "/600": answers(600),
    "/999": answers(999),
    "/206": answers(206, None, b"part"),
    "/303": moved(303, "/done"),
    "/302": moved(302, "/done"),
    "/307": moved(307, "/taken"),
    "/308": moved(308, "/307"),
    "/loop": moved(307, "/loop"),
    "/to-ftp": moved(307, "ftp://evil.example/"),
    "/nowhere": moved(307, ""),
    "/taken": take,
    "/secret": lambda exchange: exchange.reply(401, body=b""),
}


def act(exchange: Exchange) -> None:
    place = exchange.target.partition("?")[0]
    where = exchange.target.partition("?")[2]
    response = moved(307, where) if place == "/go" else PLACES.get(place, take)
    response(exchange)  # type: ignore[operator]


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer(act) as peer:
        yield peer


@pytest.fixture(scope="module")
def server(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A gateway whose keys are the backend's paths."""
    server = start_server(
        tmp_path_factory.mktemp("answers") / "none",
        "--relay-answer-header",
        "X-Latin",
        "--relay-show-backend",
        to=peer.url,
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def asking(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same, but it asks the backend before each body."""
    folder = tmp_path_factory.mktemp("asking") / "none"
    server = start_server(folder, "--relay-expect", "--relay-idle-timeout", "5", to=peer.url)
    yield server
    server.stop()


def put(server: RunningServer, place: str, data: bytes = b"data") -> requests.Response:
    return requests.put(f"{server.url}/files{place}", data=data, timeout=20)


def only_the_operator_reads(server: RunningServer, response: requests.Response, what: str) -> None:
    """The log has it; the client gets neither the backend's address nor its text."""
    eventually(lambda: what in server.log(), "the log has it")
    assert "127.0.0.1" not in response.text
    assert what not in response.json()["detail"]


# Headers and bodies


def test_safe_headers_are_passed_on(server: RunningServer) -> None:
    """Status, type, validators and the backend's own fields are unchanged."""
    response = put(server, "/safe")

    assert (response.status_code, response.content) == (201, b'{"id": 7}')
    assert {name: response.headers.get(name) for name in SAFE} == SAFE


def test_dangerous_headers_are_dropped(server: RunningServer) -> None:
    """Nothing about this origin for a browser, no order to a proxy, nothing of the backend's
    connection.
    """
    response = put(server, "/dangerous")

    assert response.status_code == 200
    through = {name for name, value in DANGEROUS.items() if response.headers.get(name) == value}
    assert through == set()
    names = {name.lower() for name in response.headers}
    assert names <= {
        *("content-length", "content-type", "date", "upload-id", "server-timing", "via"),
        *("cache-control", "x-content-type-options", "content-security-policy"),
        *("cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy"),
        *("x-request-id", "traceparent"),
    }


def test_an_html_response_is_inert(server: RunningServer) -> None:
    """A backend's error page may repeat what clients sent; no script of it runs under our
    origin.
    """
    response = put(server, "/html")

    assert (response.status_code, response.content) == (422, HTML)
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


def test_a_response_without_a_body(server: RunningServer) -> None:
    """204 stays 204, and the connection can be used again."""
    with Wire(server.port) as wire:
        for _ in range(2):
            wire.send(head("PUT", "/files/nothing", "Content-Length: 4") + b"data")
            response = wire.answer()
            assert (response.status, response.body) == (204, b"")
            assert "content-length" not in response.headers


def test_a_large_response_is_passed_on_and_a_huge_one_becomes_a_note(server: RunningServer) -> None:
    """Up to 1 MiB is passed on; for more the client gets our own JSON with a note."""
    assert put(server, "/big").content == noise(900_000)

    response = put(server, "/huge")
    assert (response.status_code, response.json()["files"][0]["size"]) == (201, 4)
    assert "too long" in response.json()["files"][0]["notes"][0]
    refused = put(server, "/hugely-refused")
    assert (refused.status_code, refused.content) == (409, b"")


def test_references_are_made_absolute(server: RunningServer, peer: Peer) -> None:
    """Relative ones are relative to the backend; other schemes than http(s) are dropped."""
    response = put(server, "/relative")
    assert response.headers["Location"] == f"{peer.url}/books/7?x=1"
    assert response.headers["Content-Location"] == "http://other.example/b"
    assert "Location" not in put(server, "/elsewhere").headers


def test_the_log_says_how_the_backend_gets_a_credential(server: RunningServer) -> None:
    """`--token` is the gateway's own, so it does not help against the backend's 401."""
    response = put(server, "/secret")

    assert response.status_code == 401
    eventually(lambda: "answered 401" in server.log(), "the log has it")
    text = next(line for line in server.log().splitlines() if "answered 401" in line)
    assert "--relay-header 'Authorization: …'" in text
    assert "--token" not in text


@pytest.mark.parametrize("status", ["101", "304", "600", "999"])
def test_an_impossible_status_is_a_bad_gateway(server: RunningServer, status: str) -> None:
    """502: no client could make sense of such a status from us."""
    response = put(server, f"/{status}")

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    only_the_operator_reads(server, response, f"answered {status}")


# Redirects


@pytest.mark.parametrize("place", ["/307", "/308"])
def test_a_redirect_before_the_body_is_followed(
    peer: Peer, asking: RunningServer, place: str
) -> None:
    """307 and 308 instead of 100 Continue: the same method, the whole body, once."""
    data = noise(300_000)

    assert put(asking, place, data).status_code == 201
    last = peer.seen[-1]
    assert (last.method, last.target, last.body) == ("PUT", "/taken", data)


@pytest.mark.parametrize("place", ["/loop", "/to-ftp", "/nowhere", "/303", "/302"])
def test_a_redirect_that_cannot_be_followed_is_a_bad_gateway(
    asking: RunningServer, place: str
) -> None:
    """A loop, another protocol, no Location, a page: 502, and the log names the target."""
    response = put(asking, place)

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    only_the_operator_reads(asking, response, place)


def test_a_redirect_after_the_body_is_not_followed(server: RunningServer, peer: Peer) -> None:
    """The bytes cannot be sent twice: 502, and the log names the URL to use."""
    before = len(peer.seen)
    response = put(server, "/307", noise(300_000))

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    only_the_operator_reads(server, response, f"{peer.url}/taken")
    assert [exchange.target for exchange in peer.seen[before:]] == ["/307"]
    response = put(server, "/302")
    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    only_the_operator_reads(server, response, "with a 302")


def test_a_see_other_after_the_body_is_followed_once(server: RunningServer, peer: Peer) -> None:
    """303 (RFC 9110 15.4.4): that URL is requested once, and its status counts."""
    before = len(peer.seen)
    response = put(server, "/303", b"data")

    assert (response.status_code, response.content) == (201, b'{"ok": true}')
    assert [(exchange.method, exchange.target) for exchange in peer.seen[before:]] == [
        ("PUT", "/303"),
        ("GET", "/done"),
    ]


def test_credentials_stay_with_their_host(peer: Peer, gateway: Gateway) -> None:
    """The operator's headers go to their host only; no later hop gets them either."""
    port = peer.url.rpartition(":")[2]
    other, secret = f"http://localhost:{port}", ["--relay-header", "X-Own-Key: s3cret-key"]
    for way, with_credentials in (
        ("/go?/taken", True),
        (f"/go?{other}/taken", False),
        (f"/go?{other}/go?/taken", False),
    ):
        to = f"http://me:s3cret-password@127.0.0.1:{port}"
        server, before = (
            gateway(to, "--relay-expect", "--relay-idle-timeout", "5", "--relay-url", way, *secret),
            len(peer.seen),
        )
        assert requests.post(f"{server.url}/files", data=b"data", timeout=20).status_code == 201

        first, *_, last = peer.seen[before:]
        assert (
            first.headers["authorization"]
            == "Basic " + base64.b64encode(b"me:s3cret-password").decode()
        )
        assert first.headers["x-own-key"] == "s3cret-key"
        assert last.target == "/taken"
        assert ("authorization" in last.headers, "x-own-key" in last.headers) == (
            with_credentials,
            with_credentials,
        ), way


# Secrets


def test_secrets_are_sent_to_the_backend_only(peer: Peer, gateway: Gateway) -> None:
    """Not to the log, the terminal or any response, whatever fails."""
    port = peer.url.rpartition(":")[2]
    header = ["--relay-header", "X-Own-Key: s3cret-key"]
    for place in (f"127.0.0.1:{port}/html?sig=s3cret-query", "127.0.0.1:1/x?sig=s3cret-query"):
        server = gateway(f"required:http://me:s3cret-password@{place}", *header)
        answers = [
            requests.put(f"{server.url}/files/a?token=s3cret-param", data=b"data", timeout=20),
            requests.post(f"{server.url}/files", data=iter([b"x"]), timeout=20),
            requests.get(f"{server.url}/files/a", timeout=20),
        ]
        form = form_body(("f", "a.bin", noise(100_000)), ("after", None, b"2"))
        other = talk(server.port, form_head(len(form)) + form)
        server.stop()

        for secret in ("s3cret", base64.b64encode(b"me:s3cret-password").decode()):
            assert secret not in server.log()
            assert all(secret not in f"{response.headers}{response.text}" for response in answers)
            assert secret not in f"{other.headers}{other.body!r}"
