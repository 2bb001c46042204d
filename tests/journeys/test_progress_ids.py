"""The id of an upload: given by the server or chosen by the client, hard to guess, used once."""

from __future__ import annotations

import secrets
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer
from fix_taking import eventually
from journeys.test_progress import fresh
from raw_http import Wire, head


def test_the_server_gives_an_id_when_the_client_has_none(taker: RunningServer) -> None:
    """Upload-Id has it; it can be looked up, and no two are equal."""
    ids = {
        requests.put(f"{taker.url}/files/own-{n}", data=b"x", timeout=10).headers["Upload-Id"]
        for n in range(5)
    }

    assert len(ids) == 5
    for upload in ids:
        assert len(upload) >= 22
        assert (
            requests.get(f"{taker.url}/uploads/{upload}", timeout=10).json()["state"] == "complete"
        )


@pytest.mark.parametrize(
    "upload",
    [
        "",
        "short",
        "x" * 21,
        "x" * 65,
        "a" * 21 + ".",
        "a" * 21 + "/",
        "é" * 22,
        "a b" * 8,
        "a" * 21 + "\n",
    ],
)
def test_an_id_that_could_be_guessed_is_refused(taker: RunningServer, upload: str) -> None:
    """22 to 64 letters, digits, - and _; another id is refused before the body."""
    response = requests.put(
        f"{taker.url}/files/bad-id", params={"upload": upload}, data=b"x", timeout=10
    )
    assert (response.status_code, response.json()["code"]) == (400, "bad-request")
    assert "22 to 64" in response.json()["detail"]
    if upload and "/" not in upload:
        url = f"{taker.url}/uploads/{quote(upload)}"
        assert requests.get(url, timeout=10).status_code == 400
    assert "bad-id" not in taker.stored()


@pytest.mark.parametrize("length", [22, 64])
def test_the_shortest_and_the_longest_id_work(taker: RunningServer, length: int) -> None:
    """Exactly at both limits."""
    upload = (secrets.token_urlsafe(64))[:length]

    assert (
        requests.put(
            f"{taker.url}/files/id-{length}", params={"upload": upload}, data=b"x", timeout=10
        ).status_code
        == 201
    )


def test_an_id_is_used_once(taker: RunningServer) -> None:
    """During and after an upload, a second one of its id gets 409 and stores nothing."""
    upload = fresh()
    with Wire(taker.port) as wire:
        wire.send(head("PUT", f"/files/first?upload={upload}", "Content-Length: 10") + b"12345")
        eventually(
            lambda: requests.get(f"{taker.url}/uploads/{upload}", timeout=10).status_code == 200,
            "it began",
        )
        for _ in range(2):
            again = requests.put(
                f"{taker.url}/files/second", params={"upload": upload}, data=b"x", timeout=10
            )
            assert (again.status_code, again.json()["code"]) == (409, "exists")
            if "first" not in taker.stored():
                wire.send(b"67890")
                assert wire.answer().status == 201

    assert "second" not in taker.stored()
