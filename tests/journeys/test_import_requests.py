"""Requests to import: what is a request, what is a file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fix_fetch import REMOTE
from fix_server import RunningServer, Serve, start_server
from journeys.test_import import nothing_new, order
from rude_peer import Peer, ranged, sha256_field


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


def test_a_taken_id_is_refused_before_anything_is_fetched(server: RunningServer) -> None:
    """409, without any request to the remote server."""
    upload = "import-taken-1234567890"
    with Peer(ranged(b"x"), REMOTE) as peer:
        assert order(server, peer.url, upload).status_code == 201
        again = order(server, peer.url, upload)

    assert (again.status_code, again.json()["code"], len(peer.seen)) == (409, "exists", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"http://127.0.0.2/"',
        b"{}",
        b'{"url": 7}',
        b'{"url": null}',
        b'{"url": "http://127.0.0.2/", "extra": "x"}',
        b'{"url": "http://127.0.0.2/", "name": 7}',
        b'{"url": "http://127.0.0.2/", "type": "no type"}',
        b'{"url": "/files"}',
        b'{"url": "file:///etc/passwd"}',
        b"[" * 60_000,
        b"\xff\xfe\x00",
    ],
)
def test_an_invalid_import_request_is_a_400(body: bytes, server: RunningServer) -> None:
    """With the form it should have, and how JSON is stored as a file instead."""
    before = server.stored()
    response = requests.post(
        f"{server.url}/files", data=body, headers={"Content-Type": "application/json"}, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")
    nothing_new(server, before)


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunks"])
def test_an_import_request_is_short(known: bool, server: RunningServer) -> None:
    """64 KiB of JSON and not a byte more."""
    with Peer(ranged(b"x"), REMOTE) as peer:
        frame = json.dumps({"url": peer.url, "name": ""}).encode()
        for size, status in ((65_536, 201), (65_537, 413)):
            body = frame[:-2] + b"n" * (size - len(frame)) + frame[-2:]
            data = body if known else iter([body])
            response = requests.post(
                f"{server.url}/files",
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=10,
            )

            assert response.status_code == status, response.text


def test_an_import_request_with_a_wrong_digest_is_refused(server: RunningServer) -> None:
    """A digest of the request itself is checked, too."""
    with Peer(ranged(b"x"), REMOTE) as peer:
        body = json.dumps({"url": peer.url}).encode()
        headers = {"Content-Type": "application/json", "Content-Digest": sha256_field(body)}
        right = requests.post(f"{server.url}/files", data=body, headers=headers, timeout=10)
        wrong = requests.post(f"{server.url}/files", data=body + b" ", headers=headers, timeout=10)

    assert (right.status_code, wrong.status_code, wrong.json()["code"]) == (
        201,
        400,
        "digest-mismatch",
    )
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    ("query", "more"),
    [("?name=order.json", {}), ("", {"Content-Disposition": 'attachment; filename="order.json"'})],
)
def test_json_with_a_name_is_a_file(
    query: str, more: dict[str, str], server: RunningServer
) -> None:
    """JSON with a name is a file to store."""
    body = b'{"url": "http://127.0.0.2:1/"}'
    headers = {"Content-Type": "application/json", **more}
    response = requests.post(f"{server.url}/files{query}", data=body, headers=headers, timeout=10)

    (entry,) = response.json()["files"]
    assert (entry["filename"], entry["type"], entry["size"]) == (
        "order.json",
        "application/json",
        len(body),
    )


def test_an_import_request_is_never_stored_as_a_file(serve: Serve) -> None:
    """A server that does not fetch refuses; it does not store the JSON as the file."""
    plain = serve()
    with Peer(ranged(b"x"), REMOTE) as peer:
        response = order(plain, peer.url)

    assert (response.status_code, response.json()["code"], peer.seen) == (403, "forbidden", [])
    assert plain.stored() == {}


@pytest.mark.parametrize("more", [{"name": None}, {"type": None}, {"name": 1}])
def test_an_invalid_import_request_is_never_stored_as_a_file(
    serve: Serve, more: dict[str, Any]
) -> None:
    """A request with an empty member is still a request for an import."""
    plain = serve()
    response = order(plain, "http://127.0.0.2:1/", **more)

    assert (response.status_code, response.json()["code"], plain.stored()) == (403, "forbidden", {})
