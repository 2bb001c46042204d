"""A spool at its edges: full, killed while the last byte leaves, shared by processes.

Nothing is acknowledged that is not kept, and no file is delivered twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_server import start_server
from fix_spool import Backend, StartSpooling, files_of
from fix_taking import SMALL_DISK, eventually, noise
from free_ports import free_port
from rude_peer import Exchange, Peer
from tus_by_hand import Tus, creation

DATA = noise(1_500_000)
SECONDS = 60  # of any request


def test_what_may_have_arrived_is_not_sent_again(spooling: StartSpooling) -> None:
    """A POST without an answer behind its last byte: today's error. A PUT is sent again."""

    def vanishes(exchange: Exchange) -> None:
        exchange.read_body()
        peer.act = takes
        exchange.reset()

    with Peer(vanishes) as peer:
        gateway = spooling(f"{peer.url}/books")
        response = requests.post(f"{gateway.url}/files", data=DATA, timeout=SECONDS)
        assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
        assert len(peer.seen) == 1
        assert gateway.is_empty()

        peer.act = vanishes
        response = requests.put(f"{gateway.url}/files/a", data=DATA, timeout=SECONDS)
        assert response.status_code == 201
        assert [exchange.method for exchange in peer.seen] == ["POST", "PUT", "PUT"]

        peer.act = vanishes
        response = requests.put(
            f"{gateway.url}/files/a", data=DATA, headers={"If-None-Match": "*"}, timeout=SECONDS
        )
        assert response.status_code == 502, "the first one may have made it"
        assert len(peer.seen) == 4

        idempotent = spooling(f"{peer.url}/books", "--relay-idempotent")
        peer.act = vanishes
        response = requests.post(f"{idempotent.url}/files", data=DATA, timeout=SECONDS)
        assert response.status_code == 201
        assert len({exchange.headers["idempotency-key"] for exchange in peer.seen[4:]}) == 1
        assert len(peer.seen) == 6


def test_a_gateway_killed_while_the_last_byte_leaves(spooling: StartSpooling) -> None:
    """After the start nobody knows what came of it: a POST is given up in words, and not sent
    again; its file is kept for the operator."""
    got = threading.Event()

    def hangs(exchange: Exchange) -> None:
        exchange.read_body()
        got.set()
        exchange.go.wait(SECONDS)

    to = free_port()
    gateway = spooling(f"http://127.0.0.1:{to}/books", "--relay-spool-wait", "0")
    response = requests.post(
        f"{gateway.url}/files",
        data=DATA,
        headers={"Content-Disposition": 'attachment; filename="c.bin"'},
        timeout=SECONDS,
    )
    upload = response.headers["Upload-Id"]
    with Peer(hangs, port=to) as peer:
        assert got.wait(SECONDS)
        gateway.start_again()
        found = gateway.ends(upload)
        assert (found["state"], found["code"]) == ("failed", "undelivered")
        assert len(peer.seen) == 1
        for exchange in peer.seen:
            exchange.go.set()
    ((name, size),) = files_of(gateway.folder).items()
    assert name.endswith("/c.bin")
    assert size == len(DATA)


def test_a_full_spool_is_as_none(spooling: StartSpooling, backend: Backend) -> None:
    """What does not fit goes on without the spool; where the backend is down too, its failure is
    the answer. Nothing is acknowledged."""
    gateway = spooling(
        f"{backend.url}/books", "--relay-spool-size", "1MiB", "--relay-spool-wait", "0"
    )
    url = f"{gateway.url}/files"
    response = requests.post(url, data=DATA, timeout=SECONDS)
    assert (response.status_code, response.json()["code"]) == (502, "peer-unreachable")
    assert requests.post(url, data=DATA[:900_000], timeout=SECONDS).status_code == 202
    assert requests.post(url, data=DATA[:900_000], timeout=SECONDS).status_code == 502
    tus = Tus(gateway.url)
    assert tus.post(creation(len(DATA))).status_code == 507  # before its first byte
    full = tus.patch(tus.create(900_000), 0, DATA[:900_000])
    assert (full.status_code, full.json()["code"]) == (507, "no-space")
    backend.start()
    assert requests.post(url, data=DATA, timeout=SECONDS).status_code == 201
    eventually(lambda: len(backend.taken()) == 2)
    assert gateway.is_empty()


@pytest.mark.root
def test_a_full_disk_is_as_no_spool(small_disk: Path, backend: Backend) -> None:
    """The disk of the spool has less room than its bound allows: the same."""
    server = start_server(
        small_disk / "none",
        "--relay-spool",
        str(small_disk / "spool"),
        "--relay-spool-wait",
        "0",
        to=f"{backend.url}/books",
    )
    try:
        assert "bytes are free there" in server.log()
        url = f"{server.url}/files"

        def body() -> Iterator[bytes]:
            for _ in range(2 * SMALL_DISK >> 16):
                yield bytes(65536)

        response = requests.post(url, data=body(), timeout=SECONDS)
        assert (response.status_code, response.json()["code"]) == (502, "peer-unreachable")
        assert requests.post(url, data=DATA[:9000], timeout=SECONDS).status_code == 202
        backend.start()
        response = requests.post(url, data=bytes(2 * SMALL_DISK), timeout=SECONDS)
        assert response.status_code == 201
        eventually(lambda: len(backend.taken()) == 2)
    finally:
        server.stop()


@pytest.mark.torture
def test_several_workers_deliver_once(spooling: StartSpooling, backend: Backend) -> None:
    """Of all processes one has an upload at a time."""
    gateway = spooling(f"{backend.url}/books", "--relay-spool-wait", "0", "--workers", "2")
    uploads = [
        requests.post(f"{gateway.url}/files", data=DATA[: 1000 + n], timeout=SECONDS)
        for n in range(6)
    ]
    assert {response.status_code for response in uploads} == {202}
    backend.start()
    for response in uploads:
        assert gateway.ends(response.headers["Upload-Id"])["state"] == "complete"
    assert sorted(len(taken.body) for taken in backend.taken()) == [1000 + n for n in range(6)]
    assert gateway.is_empty()
