"""A gateway's clients learn no internal address, and its balancer learns whether it is ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_gateway import Gateway
from fix_server import RunningServer, Serve, start_server
from rude_peer import Exchange, Peer

HEALTH = {"status": 200}


def answers(exchange: Exchange) -> None:
    """A backend that names its own address wherever it can."""
    exchange.read_body()
    address = f"http://{exchange.headers['host']}"
    if exchange.target == "/health":
        exchange.reply(HEALTH["status"])
        return
    if exchange.method == "HEAD":
        exchange.reply(405)
        return
    status = 422 if "refused" in exchange.target else 201
    headers = {
        "Location": f"{address}/books/7",
        "Content-Location": "/books/7",
        "Content-Type": "application/json",
        "X-Request-Id": f"7@{exchange.headers['host']}",
    }
    exchange.reply(status, headers, f'{{"id": 7, "url": "{address}/books/7"}}'.encode())


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer(answers) as peer:
        yield peer


@pytest.fixture(scope="module")
def server(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("addresses")
    running = start_server(folder / "none", "--relay-health", "/health", to=f"{peer.url}/books")
    yield running
    running.stop()


def everything(response: requests.Response) -> str:
    return f"{response.headers}{response.text}"


@pytest.mark.parametrize(("key", "status"), [("a", 201), ("refused", 422)])
def test_an_answer_has_no_address_of_the_backend(
    server: RunningServer, peer: Peer, key: str, status: int
) -> None:
    """Success and refusal: Location is left out, text keeps its path."""
    response = requests.put(f"{server.url}/files/{key}", data=b"x", timeout=20)
    assert response.status_code == status
    assert peer.url.rpartition("/")[2] not in everything(response)
    assert "Location" not in response.headers
    assert response.json() == {"id": 7, "url": "/books/7"}
    assert response.headers["X-Request-Id"] == "7@destination"


def test_several_files_and_errors_have_none_either(
    server: RunningServer, peer: Peer, gateway: Gateway
) -> None:
    """Entries have no url then; a backend that is gone is not named."""
    files = [("f", ("1.txt", b"1")), ("f", ("2.txt", b"2"))]
    response = requests.post(f"{server.url}/files", files=files, timeout=20)
    assert response.status_code == 201
    assert [entry["url"] for entry in response.json()["files"]] == [None, None]
    assert peer.url.rpartition("/")[2] not in everything(response)
    gone = gateway("http://127.0.0.1:9/books")
    refused = requests.put(f"{gone.url}/files/a", data=b"x", timeout=20)
    assert refused.status_code == 502
    assert "127.0.0.1:9" not in everything(refused)
    ready = requests.get(f"{gone.url}/readyz", timeout=20)
    assert ready.status_code == 503
    assert "127.0.0.1" not in ready.text
    assert "127.0.0.1:9" in gone.log()


def test_several_destinations_are_named_by_kind(serve: Serve, peer: Peer) -> None:
    """No folder of this machine, no address; the log of the operator has them."""
    first = serve("--to", f"{peer.url}/books", "--to", "best-effort:http://127.0.0.1:9/x")
    response = requests.put(f"{first.url}/files/a", data=b"x", timeout=20)
    assert response.status_code == 201
    names = [one["to"] for one in response.json()["files"][0]["destinations"]]
    assert names == ["folder 1", "server 2", "server 3"]
    for secret in (peer.url.rpartition("/")[2], str(first.root), "127.0.0.1:9"):
        assert secret not in everything(response)
    assert "best-effort destination http://127.0.0.1:9/x was given up" in first.log()


def test_an_operator_may_show_the_backend(gateway: Gateway, peer: Peer) -> None:
    server = gateway(f"{peer.url}/books", "--relay-show-backend")
    response = requests.put(f"{server.url}/files/a", data=b"x", timeout=20)
    assert response.headers["Location"] == f"{peer.url}/books/7"
    assert response.json()["url"] == f"{peer.url}/books/7"


def test_readiness_asks_the_health_url(server: RunningServer) -> None:
    """2xx is ready. All else is not, and the result holds for a second only."""
    assert requests.get(f"{server.url}/readyz", timeout=20).status_code == 200
    HEALTH["status"] = 503
    try:
        deadline = [requests.get(f"{server.url}/readyz", timeout=20) for _ in range(1)]
        while deadline[-1].status_code == 200 and len(deadline) < 10_000:
            deadline.append(requests.get(f"{server.url}/readyz", timeout=20))
        assert deadline[-1].status_code == 503
        assert requests.get(f"{server.url}/healthz", timeout=20).status_code == 200
    finally:
        HEALTH["status"] = 200


def test_without_a_health_url_any_answer_below_500_is_ready(gateway: Gateway, peer: Peer) -> None:
    """HEAD of --to; of a template only the part that is the same for all files."""
    before = len(peer.seen)
    server = gateway(peer.url, "--relay-url", "/books/{id}/file?key={key}")
    assert requests.get(f"{server.url}/readyz", timeout=20).status_code == 200
    asked = peer.seen[before:]
    assert [(one.method, one.target) for one in asked] == [("HEAD", "/books/")]


def test_a_placeholder_that_nobody_filled_is_refused(
    gateway: Gateway, peer: Peer, tmp_path: Path
) -> None:
    """`{id}` too: it is the client's. `{upload}` is this server's own id."""
    server = gateway(peer.url, "--relay-url", "/books/{id}/file")
    before = len(peer.seen)
    for refused in (
        requests.post(f"{server.url}/files?name=a", data=b"x", timeout=20),
        requests.post(f"{server.url}/files", files={"file": b"x"}, timeout=20),
        requests.put(f"{server.url}/files/a", data=b"x", timeout=20),
    ):
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-form")
        assert "'id'" in refused.json()["detail"]
    assert len(peer.seen) == before
    named = requests.post(f"{server.url}/files?name=a&id=42", data=b"x", timeout=20)
    assert named.status_code == 201
    assert peer.seen[-1].target == "/books/42/file"
    own = gateway(peer.url, "--relay-url", "/in/{upload}")
    stored = requests.post(f"{own.url}/files?name=a", data=b"x", timeout=20)
    assert peer.seen[-1].target == f"/in/{stored.headers['Upload-Id']}"
