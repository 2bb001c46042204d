"""Fetching through redirects and hostile names: followed only where the operator allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from canary import Canary
from fix_fetch import REMOTE, Fetcher, fetch
from fix_server import RunningServer, Serve, start_server
from fix_taking import noise
from rude_peer import Exchange, Peer, ranged

OTHER = "127.0.0.3"  # a second remote server
DATA = noise(50_000)
# Names for the tests and their addresses, one after the other; the last one is repeated. Others,
# numbers included, goes the usual way.
ANSWERS = """
ANSWERS = {answers!r}
usual = aiohttp.ThreadedResolver.resolve
async def resolve(self, host, port=0, family=0):
    if host not in ANSWERS:
        return await usual(self, host, port, family)
    answers = ANSWERS[host]
    found = answers.pop(0) if len(answers) > 1 else answers[0]
    kind = lambda address: socket.AF_INET6 if ":" in address else socket.AF_INET
    return [
        dict(hostname=host, host=address, port=port, family=kind(address), proto=0,
             flags=socket.AI_NUMERICHOST)
        for address in found
    ]
aiohttp.ThreadedResolver.resolve = resolve
"""


def to(*places: str, status: int = 302) -> Callable[[Exchange], None]:
    """A server that redirects /N to the N-th place, and answers everything else with DATA."""

    def act(exchange: Exchange) -> None:
        step = exchange.target.lstrip("/").partition("?")[0]
        if step.isdigit() and int(step) < len(places):
            exchange.reply(
                status,
                {"Location": places[int(step)]},
                b"" if exchange.method == "HEAD" else b"moved" * 1000,
            )
        elif exchange.method == "HEAD":
            exchange.head(200, {"Content-Length": str(len(DATA))})
        else:
            ranged(DATA)(exchange)

    return act


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A shared server that may fetch from any host, and of this machine only from REMOTE."""
    allowed = ("--fetch-from", "*", "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_redirects_are_followed(status: int, method: str, server: RunningServer) -> None:
    """The client sees the file, not the way to it; the name is that of the last URL."""
    with Peer(to("/1", "files/list.csv", status=status), REMOTE) as peer:
        response = fetch(server, peer.url + "/0", method)

    assert response.status_code == 200
    assert response.content == (DATA if method == "GET" else b"")
    assert 'filename="list.csv"' in response.headers["content-disposition"]
    assert [(exchange.method, exchange.target) for exchange in peer.seen] == [
        (method, "/0"),
        (method, "/1"),
        (method, "/files/list.csv"),
    ]


def test_five_hops_are_enough(server: RunningServer) -> None:
    """Five are followed, a sixth is a mistake or a loop."""
    with Peer(to("/1", "/2", "/3", "/4", "/file"), REMOTE) as peer:
        assert fetch(server, peer.url + "/0").content == DATA
    with Peer(to(*[f"/{n + 1}" for n in range(10_000)]), REMOTE) as peer:
        response = fetch(server, peer.url + "/0")

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    assert len(peer.seen) == 6


def test_ranges_go_to_every_hop(fetcher: Fetcher) -> None:
    """Also to another host, which has the file."""
    server = fetcher("--fetch-internal", OTHER, hosts=(REMOTE, OTHER))
    with Peer(ranged(DATA), OTHER) as other, Peer(to(other.url + "/file"), REMOTE) as peer:
        assert (
            fetch(
                server, peer.url + "/0", headers={"Range": "bytes=5-", "If-Range": '"v1"'}
            ).status_code
            == 206
        )

    assert other.seen[0].headers["range"] == "bytes=5-"


def test_credentials_stay_with_the_host_they_were_given_for(fetcher: Fetcher) -> None:
    """A password in the URL is for its origin; a redirect cannot move it, nor bring its own."""
    server = fetcher("--fetch-internal", OTHER, hosts=(REMOTE, OTHER))
    with Peer(ranged(DATA), OTHER) as other:
        with_own = other.url.replace("http://", "http://them:theirs@")
        with Peer(to("/1", with_own), REMOTE) as peer:
            assert (
                fetch(server, peer.url.replace("http://", "http://me:mine@") + "/0").content == DATA
            )

    assert [bool(exchange.headers.get("authorization")) for exchange in peer.seen] == [True, True]
    assert "authorization" not in other.seen[0].headers


def test_another_port_is_another_origin(server: RunningServer) -> None:
    """Two services of one machine do not share passwords."""
    with Peer(ranged(DATA), REMOTE) as other, Peer(to(other.url), REMOTE) as peer:
        assert fetch(server, peer.url.replace("http://", "http://me:mine@") + "/0").content == DATA

    assert "authorization" not in other.seen[0].headers


def test_a_redirect_to_a_host_not_allowed_is_refused(fetcher: Fetcher) -> None:
    """Each hop must fit a pattern: an allowed host cannot vouch for another."""
    server = fetcher("--fetch-internal", OTHER)
    with Canary(OTHER) as canary, Peer(to(f"http://{OTHER}:{canary.port}/"), REMOTE) as peer:
        response = fetch(server, peer.url + "/0")

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert f"{OTHER} port {canary.port}" in response.json()["detail"]
        assert canary.met == 0


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "http://localhost:PORT/",
        "http://[::1]:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://0x7f.1:PORT/",
        "http://2130706433:PORT/",
        f"http://{REMOTE}@127.0.0.1:PORT/",
        "http://0:PORT/",
    ],
)
def test_a_redirect_to_an_internal_address_is_refused(place: str, server: RunningServer) -> None:
    """Also where every host is allowed: the address decides, and nothing is connected to."""
    with Canary() as canary, Peer(to(place.replace("PORT", str(canary.port))), REMOTE) as peer:
        response = fetch(server, peer.url + "/0")

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert canary.met == 0


@pytest.mark.parametrize(
    "place",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:70/_x",
        "data:,x",
        "http://[::1",
    ],
)
def test_a_redirect_out_of_the_web_is_refused(place: str, server: RunningServer) -> None:
    """Only http and https, whatever a server says."""
    with Peer(to(place), REMOTE) as peer:
        response = fetch(server, peer.url + "/0")

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    assert len(peer.seen) == 1


def test_the_body_of_a_redirect_is_not_read(server: RunningServer) -> None:
    """It may be endless, or a bomb."""
    sent = [0]

    def act(exchange: Exchange) -> None:
        if exchange.target == "/0":
            exchange.head(302, {"Location": "/file", "Content-Length": str(1 << 40)})
            while True:
                exchange.send(bytes(65536))
                sent[0] += 65536
        ranged(DATA)(exchange)

    with Peer(act, REMOTE) as peer:
        assert fetch(server, peer.url + "/0").content == DATA

    assert sent[0] < 32 << 20


def test_a_name_that_changes_its_address_is_refused(fetcher: Fetcher) -> None:
    """DNS rebinding: a name that was good at first is checked again at each connect."""
    server = fetcher(
        setup=[ANSWERS.format(answers={"rebinds.example": [[REMOTE], ["127.0.0.1"]]})],
        hosts=("*.example",),
    )
    with Peer(ranged(DATA), REMOTE) as peer, Canary() as canary:
        first = fetch(server, peer.url.replace(REMOTE, "rebinds.example"))
        second = fetch(server, f"http://rebinds.example:{canary.port}/")

        assert first.content == DATA
        assert (second.status_code, second.json()["code"]) == (403, "forbidden")
        assert canary.met == 0


def test_a_name_that_changes_its_address_at_a_redirect_is_refused(fetcher: Fetcher) -> None:
    """The same within one fetch, when the second hop goes to the same name."""
    server = fetcher(
        setup=[ANSWERS.format(answers={"rebinds.example": [[REMOTE], ["127.0.0.1"]]})],
        hosts=("*.example",),
    )
    with Canary() as canary, Peer(to(f"http://rebinds.example:{canary.port}/"), REMOTE) as peer:
        response = fetch(server, peer.url.replace(REMOTE, "rebinds.example") + "/0")

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert canary.met == 0


@pytest.mark.parametrize(
    "responses",
    [[REMOTE, "127.0.0.1"], ["127.0.0.1", REMOTE], ["::1", REMOTE], [REMOTE, "::1"]],
    ids=" ".join,
)
def test_a_name_with_a_good_and_a_bad_address_is_refused(
    responses: list[str], fetcher: Fetcher
) -> None:
    """Nothing listens at the good one: a connect that tried the next would reach the bad one."""
    server = fetcher(
        setup=[ANSWERS.format(answers={"mixed.example": [responses]})], hosts=("mixed.example",)
    )
    with Canary("127.0.0.1") as canary:
        response = fetch(server, f"http://mixed.example:{canary.port}/")

        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert canary.met == 0


def _sends_on(place: str, exchange: Exchange) -> None:
    exchange.reply(302, {"Location": place})


INSIDE = [
    "http://localhost/",
    "http://127.0.0.1/",
    "http://10.0.0.1/",
    "http://169.254.169.254/",
    "http://[::1]/",
    "http://[fd12::1]/",
]


def test_a_name_that_is_unknown_and_one_of_the_inner_network_are_answered_alike(
    server: RunningServer,
) -> None:
    """A client cannot find out names and networks behind the server; the log has them."""
    unknown = fetch(server, "http://no-such-host.invalid/")
    assert (unknown.status_code, unknown.json()["code"]) == (403, "forbidden")
    for url in INSIDE:
        response = fetch(server, url)
        assert (response.status_code, response.json()) == (unknown.status_code, unknown.json()), url
    for reason in ("no address for no-such-host.invalid", "loopback", "private", "metadata"):
        assert reason in server.log()


def test_a_redirect_to_the_inner_network_is_answered_alike(server: RunningServer) -> None:
    """A remote server's Location is no way to ask for a reason, either."""
    responses = set()
    for place in (*INSIDE, "http://no-such-host.invalid/"):
        with Peer(partial(_sends_on, place), REMOTE) as peer:
            response = fetch(server, f"{peer.url}/x")
            responses.add((response.status_code, response.text))
    assert len(responses) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fetch-from", "https://a.example/files"], "--fetch-from"),
        (["--fetch-from", "a.example", "--fetch-internal", "10.0.0.1/8"], "--fetch-internal"),
        (["--fetch-internal", "10.0.0.0/8"], "--fetch-from"),
    ],
)
def test_an_invalid_setting_fails_at_the_start(
    options: list[str], message: str, serve: Serve
) -> None:
    """Not at the first fetch, and not by allowing something else."""
    with pytest.raises(AssertionError, match=message):
        serve(*options)
