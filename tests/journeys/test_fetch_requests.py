"""Requests to fetch that are refused: invalid URLs, other sites, loops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from fix_fetch import REMOTE, Fetcher, fetch
from fix_server import RunningServer, Serve, start_server
from journeys.test_fetch import DATA
from rude_peer import Peer, ranged


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


def test_the_token_is_asked_for_here_too(fetcher: Fetcher) -> None:
    """Without the token, no client reads other servers through this one."""
    server = fetcher("--token", "our-secret-token")
    with Peer(ranged(DATA), REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, peer.seen) == (401, [])


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
