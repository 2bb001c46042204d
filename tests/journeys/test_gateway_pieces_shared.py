"""Uploads in pieces through a gateway with several workers; those whose end nobody saw; those whose
time is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_taking import eventually, noise
from raw_http import Wire
from relayed_pieces import PARTIAL, Pair, start_gateway, start_pair
from rude_peer import Exchange, Peer
from tus_by_hand import OFFSET_STREAM, Tus, creation

DATA = noise(700_000)
HALF = 300_000
LIVES = "0.001"  # hours without a byte


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = start_pair(tmp_path_factory.mktemp("shared"), "ietf", "--workers", "2")
    yield pair
    pair.stop()


def on_its_own(pair: Pair) -> Tus:
    """A client on a connection of its own: chance decides which worker has it."""
    return Tus(pair.gateway.url)


@pytest.mark.torture
def test_any_worker_goes_on(workers: Pair) -> None:
    """A new request takes an upload over from one that still sends, in whichever process."""
    data = noise(3_000_000)
    upload = workers.tus.create(len(data), filename="w.bin")
    for _ in range(4):
        client = on_its_own(workers)
        offset = workers.tus.offset(upload)
        with Wire(workers.gateway.port) as wire:
            wire.send(
                f"PATCH {upload.removeprefix(workers.gateway.url)} HTTP/1.1\r\n"
                "Host: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n"
                f"Content-Type: {OFFSET_STREAM}\r\nUpload-Offset: {offset}\r\n"
                f"Content-Length: {len(data) - offset}\r\n\r\n".encode()
                + data[offset : offset + 400_000]
            )
            assert client.head(upload).status_code == 200
        client.session.close()
    offset = workers.tus.offset(upload)
    done = workers.tus.patch(upload, offset, data[offset:])
    assert done.status_code == 204, done.text
    assert workers.stored() == {"w.bin": data}


def test_a_backend_that_takes_no_pieces_gets_whole_files(
    tmp_path: Path,
) -> None:
    """Where no request may be held open: a creation is refused in words, nothing is offered."""

    def act(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            exchange.reply(405)
        else:
            takes(exchange)

    with Peer(act) as peer:
        server = start_gateway(tmp_path, peer.url, "auto", "--relay-pause", "0")
        tus = Tus(server.url)
        try:
            options = tus.send("OPTIONS", "/files")
            assert "Tus-Extension" not in options.headers
            assert "min-size=999999999999999" in options.headers["Upload-Limit"]
            refused = tus.post(creation(5, filename="a"))
            assert refused.status_code == 400
            assert "send the whole file in one request" in refused.json()["detail"]
            pieces = {"Upload-Complete": "?0"}
            refused = requests.post(f"{server.url}/files", b"abc", headers=pieces, timeout=30)
            assert refused.status_code == 400
            whole = {"Upload-Complete": "?1"}
            passed = requests.put(f"{server.url}/files/a", DATA, headers=whole, timeout=30)
            assert passed.status_code == 201, passed.text
            assert peer.seen[-1].body == DATA
        finally:
            tus.session.close()
            server.stop()


@pytest.fixture(scope="module", params=["ietf", pytest.param("tus", marks=pytest.mark.torture)])
def brief(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("brief")
    pair = start_pair(folder, request.param, "--expire-after", LIVES)
    yield pair
    pair.stop()


def test_an_answer_that_nobody_saw_is_found_again(brief: Pair) -> None:
    """The gateway died after the backend had the last byte, and before it wrote the answer down."""
    begun = requests.put(
        f"{brief.gateway.url}/files/f.bin",
        DATA,
        headers={"Upload-Complete": "?0", "Upload-Length": str(len(DATA))},
        timeout=20,
    )
    assert begun.status_code == 201, begun.text
    brief.kill_gateway()
    brief.append_at_backend(DATA, len(DATA))
    brief.change_record(state="finishing", key="f.bin")
    brief.restart_gateway()
    place = brief.gateway.url + begun.headers["Location"]
    headers = {
        "Upload-Complete": "?1",
        "Upload-Offset": str(len(DATA)),
        "Content-Type": PARTIAL,
    }
    for _ in range(2):
        ended = requests.patch(place, b"", headers=headers, timeout=20)
        assert ended.status_code in (200, 201, 204), ended.text
        assert ended.headers["Upload-Complete"] == "?1"
    assert brief.stored() == {"f.bin": DATA}


def test_an_expired_upload_ends_at_the_backend(brief: Pair) -> None:
    upload = brief.tus.create(len(DATA))
    assert brief.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    assert len(brief.drafts()) == 1
    eventually(lambda: brief.drafts() == [])
    assert brief.tus.head(upload).status_code == 410
