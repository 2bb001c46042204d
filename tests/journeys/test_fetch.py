"""GET /fetch?url=…: a remote file passes through whole, in part or not at all."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from fix_fetch import REMOTE, Fetcher, fetch
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from raw_http import LAST_CHUNK, Wire, chunk, head
from rude_peer import Exchange, Peer, ranged, sha256_field

DATA = noise(300_000)
KEPT = [
    "content-type",
    "content-length",
    "etag",
    "last-modified",
    "accept-ranges",
    "repr-digest",
    "content-disposition",
]


@pytest.fixture(scope="module")
def stored(origin: RunningServer) -> str:
    """The URL of DATA at one of our own servers."""
    url = f"{origin.url}/files/b%C3%BCcher/list%20of%20all.csv"
    requests.put(url, data=DATA, timeout=10).raise_for_status()
    return url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


def get(url: str) -> bytes:
    """The request for `url` through a server, as bytes."""
    return head("GET", f"/fetch?url={quote(url, safe='')}")


def test_a_remote_file_comes_through_as_it_is(server: RunningServer, stored: str) -> None:
    """Bytes, type, length, validators, digest and name are those of the remote server."""
    direct, through = requests.get(stored, timeout=10), fetch(server, stored)

    assert through.status_code == 200
    assert through.content == DATA
    assert {name: through.headers.get(name) for name in KEPT} == {
        name: direct.headers.get(name) for name in KEPT
    }


def test_head_has_the_same_headers_without_the_body(server: RunningServer, stored: str) -> None:
    """The remote server gets a HEAD."""
    through, body = fetch(server, stored, "HEAD"), fetch(server, stored)

    assert (through.status_code, through.content) == (200, b"")
    assert {name: through.headers.get(name) for name in KEPT} == {
        name: body.headers.get(name) for name in KEPT
    }


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"Range": "bytes=10-19"}, 206),
        ({"Range": "bytes=-7"}, 206),
        ({"Range": "bytes=299999-"}, 206),
        ({"Range": "bytes=0-1,100-101"}, 206),
        ({"Range": "bytes=300000-"}, 416),
        ({"Range": "lines=1-2"}, 200),
        ({"Range": "bytes=10-19", "If-Range": "ETAG"}, 206),
        ({"Range": "bytes=10-19", "If-Range": '"other"'}, 200),
        ({"If-None-Match": "ETAG"}, 304),
        ({"If-None-Match": '"other", ETAG'}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "ETAG"}, 200),
        ({"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 412),
    ],
    ids=str,
)
def test_ranges_and_conditions_go_out_and_come_back(
    asked: dict[str, str], status: int, server: RunningServer, stored: str
) -> None:
    """Each response equals that of the remote server to a direct request."""
    etag = requests.head(stored, timeout=10).headers["etag"]
    asked = {name: value.replace("ETAG", etag) for name, value in asked.items()}
    direct, through = (
        requests.get(stored, headers=asked, timeout=10),
        fetch(server, stored, headers=asked),
    )

    assert (through.status_code, direct.status_code) == (status, status)
    assert through.headers.get("content-range") == direct.headers.get("content-range")
    if (
        status < 300 and "multipart" not in direct.headers["content-type"]
    ):  # its boundary is new each time
        assert through.content == direct.content
    if status < 400:
        assert through.headers["etag"] == etag
    if status == 304:
        assert through.content == b""


def test_several_ranges_come_as_parts(server: RunningServer, stored: str) -> None:
    """The boundary of the parts is the one the header names."""
    through = fetch(server, stored, headers={"Range": "bytes=0-1,100-101"})
    boundary = through.headers["content-type"].partition('boundary="')[2].rstrip('"').encode()

    assert through.headers["content-type"].startswith("multipart/byteranges; ")
    assert through.content.count(b"--" + boundary) == 3
    assert DATA[100:102] in through.content


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "forbidden"), (404, "not-found"), (410, "bad-request"), (503, "unavailable")],
)
def test_a_remote_refusal_keeps_its_status(status: int, code: str, server: RunningServer) -> None:
    """As a problem that names the remote server, in its own words."""
    text = b"this\x1b[31m is\nwhy"
    with Peer(
        lambda exchange: exchange.reply(status, {"Content-Type": "text/plain"}, text), REMOTE
    ) as peer:
        response = fetch(server, peer.url + "/secret?key=abc")

    problem = response.json()
    assert (response.status_code, problem["code"], problem["answered"]) == (status, code, status)
    assert problem["detail"] == f"{peer.url}/secret answered {status}: this [31m is why"


@pytest.mark.parametrize("status", [401, 405, 407, 204, 300])
def test_answers_that_would_be_taken_for_ours_become_502(
    status: int, server: RunningServer
) -> None:
    """A browser must not ask for a password of another server; no file is an error."""
    more = {"WWW-Authenticate": "Basic realm=x", "Proxy-Authenticate": "Basic", "Allow": "PUT"}
    with Peer(lambda exchange: exchange.reply(status, more), REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, response.json()["code"], response.json()["answered"]) == (
        502,
        "peer-failed",
        status,
    )
    assert not {"www-authenticate", "proxy-authenticate", "allow"} & {
        name.lower() for name in response.headers
    }


def test_only_headers_for_the_remote_server_are_sent_to_it(fetcher: Fetcher) -> None:
    """Conditions and ranges; not the token of this server, no cookies, nothing of the browser's."""
    server = fetcher("--token", "our-secret-token")
    ours = {
        "Authorization": "Bearer our-secret-token",
        "Cookie": "a=b",
        "Referer": "http://x/",
        "Accept-Language": "de",
    }
    with Peer(ranged(DATA), REMOTE) as peer:
        response = fetch(
            server,
            peer.url + "/f?signature=1",
            headers={**ours, "X-Api-Key": "k", "Range": "bytes=0-9"},
        )

    sent = peer.seen[0]
    assert response.status_code == 200
    assert sent.target == "/f?signature=1"
    assert set(sent.headers) <= {
        "host",
        "range",
        "accept",
        "accept-encoding",
        "user-agent",
        "via",
        "connection",
    }
    assert sent.headers["accept-encoding"] == "identity"
    assert "secret" not in str(sent.headers)


def test_the_token_is_asked_for_here_too(fetcher: Fetcher) -> None:
    """Without the token, no client reads other servers through this one."""
    server = fetcher("--token", "our-secret-token")
    with Peer(ranged(DATA), REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, peer.seen) == (401, [])


HOSTILE = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Disposition": 'inline; filename="../../evil.html"',
    "Set-Cookie": "session=stolen",
    "Refresh": "0; url=http://evil.example/",
    "Location": "http://evil.example/",
    "Clear-Site-Data": '"*"',
    "Content-Security-Policy": "default-src *",
    "Access-Control-Allow-Origin": "*",
    "Service-Worker-Allowed": "/",
    "Link": "</x>; rel=preload",
    "X-Accel-Redirect": "/etc/passwd",
    "Cache-Control": "public, max-age=31536000",
}


def test_a_hostile_answer_is_inert(server: RunningServer) -> None:
    """HTML is saved, not shown; the remote headers have no power over this server's pages."""
    page = b"<script>alert(document.domain)</script>"
    with Peer(lambda exchange: exchange.reply(200, HOSTILE, page), REMOTE) as peer:
        response = fetch(server, peer.url)

    assert response.content == page
    names = {name.lower() for name in response.headers} - {"date", "content-length", "via"}
    assert names == {
        "content-type",
        "content-disposition",
        "x-content-type-options",
        "content-security-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "referrer-policy",
        "cache-control",
    }
    assert response.headers["content-disposition"] == 'attachment; filename="evil.html"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("announced", "kind", "shown"),
    [
        ("image/png", "image/png", "inline"),
        ("IMAGE/PNG", "image/png", "inline"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("text/plain; charset=ISO-8859-1; x=y", "text/plain; charset=ISO-8859-1", "inline"),
        ("image/png, text/html", "application/octet-stream", "attachment"),
        ("image/png; charset=a, text/html", "image/png", "inline"),
        ("text/html/x", "application/octet-stream", "attachment"),
        ("image/png;", "image/png", "inline"),
        ("", "application/octet-stream", "attachment"),
        ("nonsense", "application/octet-stream", "attachment"),
        ("text/plain; charset", "application/octet-stream", "attachment"),
    ],
)
def test_a_type_is_kept_when_it_is_one(
    announced: str, kind: str, shown: str, server: RunningServer
) -> None:
    """A type that a browser could read in two ways becomes application/octet-stream."""
    with Peer(
        lambda exchange: exchange.reply(200, {"Content-Type": announced}, b"x"), REMOTE
    ) as peer:
        response = fetch(server, peer.url + "/a/pic.png?x=/y")

    assert response.headers["content-type"] == kind
    assert response.headers["content-disposition"] == f'{shown}; filename="pic.png"'


def test_a_coding_that_was_not_asked_for_is_kept_and_named(server: RunningServer) -> None:
    """The bytes are the remote server's; the client may decompress them."""
    packed = gzip.compress(bytes(100_000))
    with Peer(
        lambda exchange: exchange.reply(200, {"Content-Encoding": "gzip"}, packed), REMOTE
    ) as peer:
        url = f"{server.url}/fetch?url={peer.url}"
        with requests.get(url, stream=True, timeout=10) as response:
            raw = response.raw.read(decode_content=False)

    assert peer.seen[0].headers["accept-encoding"] == "identity"
    assert response.headers["content-encoding"] == "gzip"
    assert raw == packed


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_truncated_remote_answer_is_truncated_here(
    known: bool, how: str, server: RunningServer
) -> None:
    """No reader mistakes a part for the whole: bytes, or the last chunk, are missing."""

    def act(exchange: Exchange) -> None:
        exchange.head(
            200, {"Content-Length": "100000"} if known else {"Transfer-Encoding": "chunked"}
        )
        exchange.send(b"a" * 5000 if known else chunk(b"a" * 5000))
        if how == "reset":
            time.sleep(0.2)
            exchange.reset()

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        response = wire.rest()

    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (b"content-length: 100000" in head) == known
    assert body.count(b"a" * 5000) == 1
    assert LAST_CHUNK not in body
    eventually(
        lambda: f"peer-failed GET: reading from {peer.url}" in server.log(), "a line in the log"
    )


def test_a_complete_chunked_answer_is_complete_here(server: RunningServer) -> None:
    """An unknown length is not an error."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(chunk(DATA) + LAST_CHUNK)

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url)

    assert response.content == DATA
    assert "content-length" not in response.headers


@pytest.mark.parametrize(
    ("status", "announced", "asked"),
    [
        (200, {}, {}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-9/100"}, {}),
        (206, {"Content-Length": "10"}, {"Range": "bytes=0-9"}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-9/5"}, {"Range": "bytes=0-9"}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-19/100"}, {"Range": "bytes=0-9"}),
        (
            206,
            {"Content-Length": "10", "Content-Range": "bytes 0-9/100", "Content-Encoding": "\x01"},
            {"Range": "bytes=0-9"},
        ),
        (200, {"Content-Length": "10", "content-length": "11"}, {}),
        (200, {"Content-Length": "+10"}, {}),
        (200, {"Content-Length": "1_0"}, {}),
    ],
    ids=[
        "no end",
        "part unasked",
        "which part",
        "impossible part",
        "longer part",
        "coding",
        "two lengths",
        "sign",
        "underscore",
    ],
)
def test_an_answer_that_contradicts_itself_is_a_502(
    status: int, announced: dict[str, str], asked: dict[str, str], server: RunningServer
) -> None:
    """It is refused before our response begins."""

    def act(exchange: Exchange) -> None:
        exchange.head(status, announced)
        exchange.send(b"0123456789")

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url, headers=asked)

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")


def test_bytes_beyond_the_length_do_not_pass(server: RunningServer) -> None:
    """Bytes behind the length belong to no file and no response, also when they come later."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "10"})
        exchange.send(b"0123456789" + b"HTTP/1.1 200 OK\r\n\r\nevil" * 100)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url) + head("GET", "/healthz"))
        first, second = wire.answer(), wire.answer()

    assert (first.status, first.body) == (200, b"0123456789") or (first.status, first.code) == (
        502,
        "peer-failed",
    )
    assert (second.status, second.body) == (200, b"ok\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_above_the_limit_is_refused_in_advance(method: str, fetcher: Fetcher) -> None:
    """A length above --max-size: not one byte of it is read."""
    server = fetcher("--max-size", "1000")
    left: list[bytes] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "1001"})
        left.append(exchange.recv())

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url, method)
        eventually(
            lambda: left == [b""] or method == "HEAD", "the connection to the remote server ends"
        )
        assert fetch(server, peer.url, headers={"Range": "bytes=0-9"}).status_code == 413

    assert response.status_code == (
        413 if method == "GET" else 200
    )  # nothing is held by asking how long it is
    if method == "GET":
        assert (response.json()["code"], response.json()["limit"]) == ("too-large", 1000)


def test_an_endless_file_ends_at_the_limit(fetcher: Fetcher) -> None:
    """Chunks have no known end: ours breaks off beyond --max-size, and the remote request ends."""
    server = fetcher("--max-size", "1MiB")
    sent: list[int] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        try:
            while True:
                exchange.send(chunk(b"z" * 65536))
                sent.append(65536)
        finally:
            sent.append(0)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        body = wire.rest().partition(b"\r\n\r\n")[2]
        eventually(lambda: sent[-1:] == [0], "the remote server is left")

    assert 0 < body.count(b"z") <= 1 << 20  # a letter that no chunk's length has
    assert LAST_CHUNK not in body


def test_a_reader_that_leaves_ends_the_request_at_once(server: RunningServer) -> None:
    """Also while the remote server is silent: it sees the close at once, not at some deadline."""
    seen: list[float] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "100000"})
        exchange.send(b"a" * 1000)
        exchange.recv()  # nothing comes any more, until they hang up
        seen.append(time.monotonic())

    with Peer(act, REMOTE) as peer:
        wire = Wire(server.port)
        wire.send(get(peer.url))
        eventually(lambda: not wire.silent(0.1), "the first bytes")
        left = time.monotonic()
        wire.close()
        eventually(lambda: seen, "the remote server is left")

    assert seen[0] - left < 5


def test_a_reader_that_leaves_before_the_answer_ends_the_request(server: RunningServer) -> None:
    """The same while the remote server has not even begun to answer."""
    seen: list[float] = []

    def act(exchange: Exchange) -> None:
        exchange.recv()
        seen.append(time.monotonic())

    with Peer(act, REMOTE) as peer:
        wire = Wire(server.port)
        wire.send(get(peer.url))
        peer.met.wait(10)
        left = time.monotonic()
        wire.close()
        eventually(lambda: seen, "the remote server is left")

    assert seen[0] - left < 5


def test_a_slow_reader_slows_the_remote_server(server: RunningServer) -> None:
    """For a stalled reader, bytes wait in the sockets and in one small buffer, not in memory."""
    sent = [0]

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(1 << 30)})
        while True:
            exchange.send(bytes(65536))
            sent[0] += 65536

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        before = -1
        while sent[0] != before:  # until nothing has moved for a while
            before = sent[0]
            time.sleep(0.5)

    assert 0 < sent[0] < 32 << 20


@pytest.mark.parametrize("announced", [True, False], ids=["in the body", "before the head"])
def test_a_stalled_remote_server_is_given_up(announced: bool, fetcher: Fetcher) -> None:
    """504 before the head was sent, a broken response after it."""
    server = fetcher(
        setup=[
            (
                "deadlines = transport.Deadlines(connect=5, idle=0.5)\n"
                "transport.Transport.__init__.__defaults__ = (deadlines,)"
            )
        ]
    )

    def act(exchange: Exchange) -> None:
        if announced:
            exchange.head(200, {"Transfer-Encoding": "chunked"})
            exchange.send(chunk(b"abc"))
        exchange.recv()

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        if announced:
            raw = wire.rest()
            assert b"abc" in raw
            assert LAST_CHUNK not in raw
        else:
            response = wire.answer()
            assert (response.status, response.code) == (504, "peer-timeout")


def test_all_hops_together_have_a_deadline(fetcher: Fetcher) -> None:
    """Five redirects, each within its time, are still too slow together."""
    server = fetcher(setup=["fetch.HEAD_TIMEOUT = 1.0"])

    def act(exchange: Exchange) -> None:
        time.sleep(0.4)
        exchange.reply(302, {"Location": "/again"})

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, response.json()["code"]) == (504, "peer-timeout")


def test_a_too_slow_remote_server_is_given_up(fetcher: Fetcher) -> None:
    """A byte now and then keeps every idle timer quiet; the pace does not."""
    server = fetcher(setup=["fetch.PACE_WINDOW = 0.5"])
    ended: list[bool] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        try:
            while True:
                exchange.send(chunk(b"d"))
                time.sleep(0.05)
        finally:
            ended.append(True)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        response = wire.rest()
        eventually(lambda: ended, "the remote server is left")

    assert b"d" in response
    assert LAST_CHUNK not in response
    eventually(lambda: "peer-timeout" in server.log(), "a line in the log")


def test_fetches_hold_no_more_than_the_budget(fetcher: Fetcher) -> None:
    """Beyond the memory budget the next one gets 503; it succeeds once another has ended."""
    server = fetcher("--memory-budget", "4MiB")

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "100000"})
        exchange.recv()

    with Peer(act, REMOTE) as peer:
        wires = [Wire(server.port) for _ in range(10)]
        for wire in wires:
            wire.send(get(peer.url))
        eventually(lambda: len(peer.seen) == 10)
        refused = fetch(server, peer.url)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        for wire in wires:
            wire.close()
        peer.act = lambda exchange: exchange.reply(200, body=b"x")
        eventually(lambda: fetch(server, peer.url).status_code == 200)


def test_nothing_is_fetched_without_fetch_from(serve: Serve) -> None:
    """Without the option, each fetch is refused."""
    server = serve()
    with Peer(ranged(DATA), REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, response.json()["code"], peer.seen) == (403, "forbidden", [])
    assert "--fetch-from" in response.json()["detail"]


HALF = f"url=http://{REMOTE}/?a=1&b=2"  # its & was not encoded: silently, it would be another URL
LONG = f"url=http://{REMOTE}/" + "a" * 8000


@pytest.mark.parametrize(
    "query",
    [
        "",
        "url=",
        "url=x&url=y",
        f"uri=http://{REMOTE}/",
        HALF,
        f"url=http://{REMOTE}/a%20b",
        "url=/files",
        LONG,
    ],
    ids=["none", "empty", "two", "other", "half", "space", "path", "long"],
)
def test_an_invalid_url_parameter_is_a_400(query: str, server: RunningServer) -> None:
    """No URL is guessed."""
    response = requests.get(f"{server.url}/fetch?{query}", timeout=10)

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize(
    "url", ["http://u[::1]@]/x", "http://[::1", "http://℀/", "http://h:99999/", "http://[x]/"]
)
def test_an_invalid_url_is_a_400(url: str, server: RunningServer) -> None:
    """Fetched or imported: no reader of URLs may stumble over it."""
    fetched = fetch(server, url)
    ordered = requests.post(f"{server.url}/files", json={"url": url}, timeout=10)

    for response in (fetched, ordered):
        assert (response.status_code, response.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize("place", ["http://u[::1]@]/x", "http://[::1", "http://%E2%84%80:x/"])
def test_a_redirect_to_an_invalid_url_is_a_502(place: str, server: RunningServer) -> None:
    """It is the remote server's mistake."""
    with Peer(lambda exchange: exchange.reply(302, {"Location": place}), REMOTE) as peer:
        response = fetch(server, f"{peer.url}/x")

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_no_other_site_makes_a_browser_fetch(site: str, server: RunningServer) -> None:
    """A server that can reach this one must not be used to reach further."""
    with Peer(ranged(DATA), REMOTE) as peer:
        assert fetch(server, peer.url, headers={"Sec-Fetch-Site": site}).status_code == 403
        assert peer.seen == []
        assert fetch(server, peer.url, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_fetches_do_not_loop(fetcher: Fetcher) -> None:
    """A server is asked to fetch from one that fetches: the second one refuses."""
    second = fetcher("--host", REMOTE)
    first = fetcher()
    with Peer(ranged(DATA), REMOTE) as peer:
        response = fetch(first, f"{second.url}/fetch?url={peer.url}")

    assert (response.status_code, response.json()["answered"], peer.seen) == (403, 403, [])


def test_the_log_names_the_file_and_no_secret(server: RunningServer) -> None:
    """The log has the URL; a signed URL's query and a password are secrets and are left out."""
    with Peer(ranged(DATA), REMOTE) as peer:
        place = peer.url.removeprefix("http://")
        assert (
            fetch(server, f"http://someone:pa55word@{place}/file.bin?signature=s3cret").status_code
            == 200
        )
        assert peer.seen[0].headers["authorization"].startswith("Basic ")
        eventually(lambda: f"GET {peer.url}/file.bin 200" in server.log(), "a line in the log")

    assert "pa55word" not in server.log()
    assert "s3cret" not in server.log()


@pytest.fixture
def proxies() -> Iterator[dict[str, str]]:
    with Peer(lambda exchange: exchange.reply(200, body=b"the proxy")) as proxy:
        yield dict.fromkeys(
            ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"), proxy.url
        )


def test_proxies_of_the_environment_are_not_used(fetcher: Fetcher, proxies: dict[str, str]) -> None:
    """Behind a proxy no address could be checked; the variable is meant for other programs."""
    server = fetcher(**proxies)
    with Peer(ranged(DATA), REMOTE) as peer:
        assert fetch(server, peer.url).content == DATA


def test_a_digest_is_kept_when_it_is_one(server: RunningServer) -> None:
    """A Repr-Digest is of the file, however it travels; what cannot be read is left out."""
    with Peer(
        lambda exchange: exchange.reply(200, {"Repr-Digest": exchange.target[1:]}, b"x"), REMOTE
    ) as peer:
        good, bad = sha256_field(b"x"), "sha-256=nonsense"

        assert fetch(server, f"{peer.url}/{good}").headers["repr-digest"] == good
        assert "repr-digest" not in fetch(server, f"{peer.url}/{bad}").headers
