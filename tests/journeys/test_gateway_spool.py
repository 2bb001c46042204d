"""A gateway with a spool: a backend that dies in mid-way costs its clients nothing but time.

Nothing counts as done before the backend has said so, and no file is delivered twice. Bytes come by
the event loop and by threads, in turn.
"""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from fix_gateway import fresh, says, takes
from fix_spool import Backend, Spooling, StartSpooling, files_of, start_spooling
from fix_taking import eventually, noise
from free_ports import free_port
from lent_ways import RANDOM, lent_bytes, lent_env
from raw_http import Wire, head
from resumable_requests import complete, interim_of, named
from rude_peer import Exchange, Peer
from tus_by_hand import OFFSET_STREAM, Tus

DATA = noise(1_500_000)
SECONDS = 60  # of any request


@pytest.fixture(scope="module")
def hasty_one(one_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spooling]:
    to = f"{one_backend.url}/books"
    gateway = Spooling(tmp_path_factory.mktemp("hasty"), to, "--relay-spool-wait", "0")
    yield gateway
    gateway.server.stop()


@pytest.fixture
def hasty(hasty_one: Spooling) -> Spooling:
    """A gateway whose clients do not wait."""
    assert hasty_one.is_empty()
    return hasty_one


def refused() -> str:
    """A place where nobody listens."""
    return f"http://127.0.0.1:{free_port()}/books"


# The backend dies


def test_a_backend_killed_in_mid_way_and_started_again(
    spooling: StartSpooling, backend: Backend
) -> None:
    """Its client sees one slow upload and the backend's own answer; watchers see why."""
    backend.start(stops_after=200_000)
    gateway = spooling(f"{backend.url}/books")
    upload, sent = fresh(), threading.Event()

    class Body:
        """It pauses in its middle."""

        def __len__(self) -> int:
            return len(DATA)

        def __iter__(self) -> Iterator[bytes]:
            yield DATA[:700_000]
            sent.wait(SECONDS)
            yield DATA[700_000:]

    with ThreadPoolExecutor(1) as client:
        response = client.submit(
            requests.post, f"{gateway.url}/files?upload={upload}", data=Body(), timeout=SECONDS
        )
        eventually(lambda: gateway.state(upload).get("kept"))
        backend.kill()
        eventually(lambda: gateway.state(upload).get("waiting_for") == "backend")
        sent.set()
        eventually(lambda: gateway.state(upload)["state"] == "checking")
        waiting = gateway.state(upload)
        assert waiting["kept"] < len(DATA) == waiting["received"], "only the backend says done"
        assert backend.taken() == []
        backend.start()
        found = response.result(SECONDS)
    assert (found.status_code, found.json()) == (201, {"ok": True})
    (taken,) = backend.taken()
    assert taken.body == DATA
    assert gateway.state(upload)["state"] == "complete"
    assert gateway.is_empty()


def test_a_client_that_may_not_wait_longer_is_told_where_to_look(
    hasty: Spooling, backend: Backend
) -> None:
    """202 with the upload's status; a kill -9 later the file is delivered, once."""
    gateway = hasty
    upload = fresh()
    response = requests.put(
        f"{gateway.url}/files/b.txt?upload={upload}",
        data=DATA,
        headers={"Content-Type": "text/x-b"},
        timeout=SECONDS,
    )
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/uploads/{upload}"
    assert int(response.headers["Retry-After"]) > 0
    (entry,) = response.json()["files"]
    assert (entry["state"], entry["waiting_for"]) == ("waiting", "backend")
    assert str(backend.port) not in response.text, "no address of the backend"

    found = gateway.state(upload)
    assert (found["state"], found["waiting_for"]) == ("waiting", "backend")
    assert found["kept"] < len(DATA)
    assert "1 upload waits" in requests.get(f"{gateway.url}/readyz", timeout=SECONDS).text
    gateway.start_again()
    assert gateway.state(upload)["state"] in ("waiting", "checking")
    backend.start()
    assert gateway.ends(upload)["state"] == "complete"
    (taken,) = backend.taken()
    assert taken.body == DATA
    assert taken.line == "PUT /books/b.txt HTTP/1.1"
    assert taken.headers["content-type"] == "text/x-b"
    assert gateway.is_empty()
    assert requests.get(f"{gateway.url}/readyz", timeout=SECONDS).text == "ok\n"


def test_what_threads_received_goes_to_both_and_is_sent_again(spooling: StartSpooling) -> None:
    """The backend breaks off behind some blocks. A piece that is taken over loses none of them."""
    data, asked = noise(9 << 20), list[str]()

    def breaks_off_once(exchange: Exchange) -> None:
        asked.append(exchange.method)
        if asked.count("PUT") == 1:
            exchange.recv(3 << 20)
            exchange.reset()
        else:
            takes(exchange)

    with Peer(breaks_off_once) as peer:
        gateway = spooling(f"{peer.url}/books")
        for _ in range(2):
            put = requests.put(f"{gateway.url}/files/a", data=data, timeout=SECONDS)
            assert put.status_code == 201, put.text
        tus = Tus(gateway.url)
        upload = tus.create(len(data))
        first = f"PATCH {urlsplit(upload).path} HTTP/1.1\r\nHost: localhost\r\n"
        first += f"Tus-Resumable: 1.0.0\r\nContent-Type: {OFFSET_STREAM}\r\nUpload-Offset: 0\r\n"
        with Wire(gateway.server.port) as wire:
            wire.send(f"{first}Content-Length: {len(data)}\r\n\r\n".encode() + data[: 5 << 20])
            eventually(lambda: tus.progress(upload)["received"] == 5 << 20)
            assert tus.offset(upload) == 5 << 20
        assert tus.patch(upload, 5 << 20, data[5 << 20 :]).status_code == 204
        taken = [exchange for exchange in peer.seen if exchange.method in ("PUT", "POST")]
        eventually(lambda: all(hasattr(each, "body") for each in taken[1:]))
        assert [each.body == data for each in taken[1:]] == [True] * 3
        assert sum(lent_bytes(gateway.server)) > len(data)
        assert gateway.is_empty()


def test_a_form_is_sent_again_with_its_fields(hasty: Spooling, backend: Backend) -> None:
    """Each file of a form is an upload of its own, and gets all fields."""
    gateway = hasty
    response = requests.post(
        f"{gateway.url}/files",
        data={"title": "Überschrift", "id": "7"},
        files=[("one", ("a.txt", DATA[:1000], "text/x-a")), ("two", ("b.txt", DATA[:2000]))],
        timeout=SECONDS,
    )
    assert response.status_code == 202, response.text
    entries = response.json()["files"]
    backend.start()
    for entry in entries:
        assert gateway.ends(entry["upload"].rpartition("/")[2])["state"] == "complete"
    taken = sorted(backend.taken(), key=lambda each: len(each.body))
    assert [DATA[:1000] in taken[0].body, DATA[:2000] in taken[1].body] == [True, True]
    for each, name in zip(taken, (b"one", b"two"), strict=True):
        assert b'name="title"\r\n\r\n' + "Überschrift".encode() in each.body
        assert b'name="id"\r\n\r\n7\r\n' in each.body
        assert b'name="' + name + b'"; filename=' in each.body
    assert b"Content-Type: text/x-a" in taken[0].body
    assert gateway.is_empty()


def test_a_backend_that_asks_for_time_gets_it(spooling: StartSpooling) -> None:
    """503, 429 and 500 are no refusal; the client gets the answer that follows."""
    answers = [(503, {"Retry-After": "1"}), (429, {}), (500, {}), (201, {})]

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        status, headers = answers.pop(0)
        exchange.reply(status, headers)

    with Peer(act) as peer:
        gateway = spooling(f"{peer.url}/books")
        response = requests.post(f"{gateway.url}/files", data=DATA[:9000], timeout=SECONDS)
        assert response.status_code == 201
        assert {exchange.body for exchange in peer.seen} == {DATA[:9000]}
        keys = {exchange.headers["idempotency-key"] for exchange in peer.seen}
        assert len(keys) == 1
        assert answers == []
        assert gateway.is_empty()


# What ends it


def test_a_refusal_is_final(spooling: StartSpooling) -> None:
    """A 4xx goes to the client, or to the upload's status; nothing stays in the spool."""
    with Peer(says(422, "text/plain", b"no")) as peer:
        gateway = spooling(f"{peer.url}/books", "--relay-spool-wait", "0")
        url = f"{gateway.url}/files"
        response = requests.post(url, data=DATA, timeout=SECONDS)
        assert (response.status_code, response.text) == (422, "no")
        assert len(peer.seen) == 1

        peer.act = says(503, "", b"")
        accepted = requests.post(url, data=DATA, timeout=SECONDS)
        assert accepted.status_code == 202
        peer.act = says(422, "", b"")
        found = gateway.ends(accepted.headers["Upload-Id"])
        assert (found["state"], found["code"]) == ("failed", "refused")
        assert gateway.is_empty()


def test_a_stop_lets_a_delivery_end(spooling: StartSpooling) -> None:
    """SIGTERM while the backend thinks about a file: its answer still counts, and it got one."""
    got = threading.Event()

    def thinks(exchange: Exchange) -> None:
        exchange.read_body()
        got.set()
        exchange.go.wait(SECONDS)
        exchange.reply(201)

    to = free_port()
    gateway = spooling(f"http://127.0.0.1:{to}/books", "--relay-spool-wait", "0")
    upload = requests.post(f"{gateway.url}/files", data=DATA, timeout=SECONDS).headers["Upload-Id"]
    with Peer(thinks, port=to) as peer:
        assert got.wait(SECONDS)
        (exchange,) = peer.seen
        threading.Timer(0.3, exchange.go.set).start()
        gateway.start_again(signal.SIGTERM)
        assert gateway.ends(upload)["state"] == "complete"
        assert len(peer.seen) == 1


def test_a_backend_that_stays_away(spooling: StartSpooling) -> None:
    """After --relay-spool-for the upload has failed, and its file is the operator's."""
    gateway = spooling(refused(), "--relay-spool-wait", "0", "--relay-spool-for", "0.2")
    response = requests.post(f"{gateway.url}/files", data=DATA, timeout=SECONDS)
    assert response.status_code == 202
    found = gateway.ends(response.headers["Upload-Id"])
    assert (found["state"], found["code"]) == ("failed", "undelivered")
    ((name, size),) = files_of(gateway.folder).items()
    assert "undelivered-" in name
    assert size == len(DATA)


def test_a_cancelled_upload_is_not_delivered(hasty: Spooling, backend: Backend) -> None:
    """DELETE of what waits: nothing remains, and the backend gets nothing."""
    gateway = hasty
    response = requests.post(f"{gateway.url}/files", data=DATA, timeout=SECONDS)
    upload = response.headers["Location"]
    assert gateway.state(response.headers["Upload-Id"])["kept_by"] == "spool"
    assert requests.delete(f"{gateway.url}{upload}", timeout=SECONDS).status_code == 204
    backend.start()
    assert gateway.is_empty()
    found = gateway.state(response.headers["Upload-Id"])
    assert found["state"] == "cancelled"
    assert (found["kept"], found["kept_by"]) == (len(DATA) - 1, "spool")
    assert backend.taken() == []


# Uploads in pieces


def test_a_lost_request_costs_an_upload_in_pieces_nothing(
    spooling: StartSpooling, backend: Backend
) -> None:
    """The offset is what the spool has; no 410, and the last piece gets the backend's answer."""
    backend.start(stops_after=1000)
    gateway = spooling(f"{backend.url}/books", "--relay-show-backend")
    tus = Tus(gateway.url)
    upload = tus.create(len(DATA), filename="a.bin")
    assert tus.patch(upload, 0, DATA[:500_000]).status_code == 204
    backend.kill()
    assert tus.offset(upload) == 500_000
    assert tus.patch(upload, 500_000, DATA[500_000:900_000]).status_code == 204
    gateway.start_again()
    tus.url = gateway.url
    upload = f"{gateway.url}/uploads/{upload.rpartition('/')[2]}"
    assert tus.offset(upload) == 900_000
    backend.start()
    done = tus.patch(upload, 900_000, DATA[900_000:])
    assert done.status_code == 204
    assert done.headers["Content-Location"] == f"{backend.url}/books/7"
    (taken,) = backend.taken()
    assert taken.body == DATA
    assert gateway.is_empty()


def test_the_last_piece_waits_for_the_backend(hasty: Spooling, backend: Backend) -> None:
    """No client takes such an upload for stored: 503, and 423 to who looks, until it is."""
    gateway = hasty
    tus = Tus(gateway.url)
    upload = tus.create(len(DATA), filename="a.bin")
    waits = tus.patch(upload, 0, DATA)
    assert (waits.status_code, waits.json()["code"]) == (503, "backend-waiting")
    assert int(waits.headers["Retry-After"]) > 0
    assert tus.head(upload).status_code == 423
    found = tus.progress(upload)
    assert (found["waiting_for"], found["kept"]) == ("backend", len(DATA) - 1)
    gateway.start_again()
    upload = f"{gateway.url}/uploads/{upload.rpartition('/')[2]}"
    backend.start()
    eventually(lambda: tus.head(upload).status_code == 200)
    assert tus.offset(upload) == len(DATA)
    (taken,) = backend.taken()
    assert hashlib.sha256(taken.body).digest() == hashlib.sha256(DATA).digest()
    assert gateway.is_empty()


def test_a_client_that_waits_for_the_backend_hears_of_it(tmp_path: Path) -> None:
    """A client of resumable uploads gets 104s with what is kept, until the file is delivered."""
    soon = "import sluiceway.server.resumable.interim as interim\ninterim.AGAIN = 0.1"
    went_on = threading.Event()

    def asks_for_time(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(*((201, {}) if went_on.is_set() else (503, {"Retry-After": "1"})))

    with Peer(asks_for_time) as peer:
        env = lent_env(tmp_path, RANDOM, soon)
        server = start_spooling(tmp_path, f"{peer.url}/books", env=env)
        with Wire(server.port) as wire:
            lines = [*named(8), complete(8, True), f"Content-Length: {len(DATA)}"]
            wire.send(head("POST", "/files?name=w.bin", *lines) + DATA)
            found = [interim_of(wire)]
            while len(found) < 5 or "location" in found[-1][1]:
                found.append(interim_of(wire))
            went_on.set()
            assert wire.answer().status == 201
        server.stop()
    assert {status for status, _ in found} == {104}
    assert [int(each["upload-offset"]) for _, each in found[-3:]] == [len(DATA)] * 3
