"""GET /fetch?url=…: a remote file passes through whole, in part or not at all."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from fix_fetch import REMOTE, Fetcher, fetch
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import head
from rude_peer import Peer, ranged, sha256_field

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
    assert names - {"x-request-id", "traceparent"} == {
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
