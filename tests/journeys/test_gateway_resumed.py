"""An upload in pieces through a gateway: one request to the destination, which stays open between
the pieces. Once it is lost the upload is gone, in words, and is never continued wrongly."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import parts, takes
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire
from rude_peer import Exchange, Peer
from sluiceway.pipe.budget import Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.settings.checked import Settings
from tus_by_hand import OFFSET_STREAM, Tus, coded

DATA = noise(300_000)
PIECES = ((0, 100_000), (100_000, 100_001), (100_001, 300_000))
PARTIAL = "application/partial-upload"


@dataclass
class Relay:
    """A gateway, a client of tus, and a backend that does what the test wants."""

    server: RunningServer
    tus: Tus
    peer: Peer

    def begins(self, act: Callable[[Exchange], object] = takes) -> None:
        """What follows is of a new test, and `act` answers it."""
        self.peer.seen.clear()
        self.peer.act = act

    @property
    def uploads(self) -> list[Exchange]:
        """What the backend got besides the question whether it takes pieces."""
        return [each for each in self.peer.seen if each.method != "OPTIONS"]

    @property
    def exchange(self) -> Exchange:
        """The one request that the backend has got."""
        (found,) = self.uploads
        return found

    def is_gone(self, upload: str, offset: int) -> bool:
        """HEAD and PATCH both say so; the backend gets no other request."""
        found = [self.tus.head(upload), self.tus.patch(upload, offset, b"x")]
        return {each.status_code for each in found} == {410} and len(self.uploads) == 1


def start(peer: Peer, folder: Path, *options: str) -> Relay:
    server = start_server(
        folder / "none",
        "--state",
        str(folder / "state"),
        "--relay-show-backend",
        *options,
        to=f"{peer.url}/books",
    )
    return Relay(server, Tus(server.url), peer)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with Peer(takes) as peer:
        relay = start(peer, tmp_path_factory.mktemp("relay"))
        yield relay
        relay.tus.session.close()
        relay.server.stop()


@pytest.fixture
def relay(running: Relay) -> Relay:
    running.begins()
    return running


def cut_patch(relay: Relay, upload: str, offset: int, data: bytes) -> None:
    """A PATCH whose client promises all of DATA and leaves after `data`."""
    with Wire(relay.server.port) as wire:
        wire.send(
            f"PATCH {upload.removeprefix(relay.server.url)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Tus-Resumable: 1.0.0\r\nContent-Type: {OFFSET_STREAM}\r\n"
            f"Upload-Offset: {offset}\r\nContent-Length: {len(DATA) - offset}\r\n\r\n".encode()
            + data
        )


def reads(count: int, then: Callable[[Exchange], object]) -> Callable[[Exchange], None]:
    """A backend that reads `count` bytes, and more when `go` is set."""

    def act(exchange: Exchange) -> None:
        got = b""
        while len(got) < count:
            got += exchange.recv(count - len(got))
        exchange.put_back(got)
        exchange.done.set()
        exchange.go.wait(20)
        then(exchange)

    return act


# One request


def test_pieces_become_one_request(relay: Relay) -> None:
    """Each response has the offset; the backend's answer comes with the last one."""
    upload = relay.tus.create(len(DATA), filename="a.bin", filetype="text/x-a")
    for start, stop in PIECES:
        assert relay.tus.offset(upload) == start
        done = relay.tus.patch(upload, start, DATA[start:stop])
        assert (done.status_code, done.headers["Upload-Offset"]) == (204, str(stop)), done.text
        if stop < len(DATA):
            found = relay.tus.progress(upload)
            assert (found["state"], found["kept"]) == ("waiting", stop)
    assert done.headers["Content-Location"] == f"{relay.peer.url}/files/7"
    seen = relay.exchange
    assert (seen.method, seen.target, seen.body) == ("POST", "/books", DATA)
    assert seen.headers["content-length"] == str(len(DATA))
    assert seen.headers["content-type"] == "text/x-a"
    assert relay.tus.offset(upload) == len(DATA)
    found = relay.tus.progress(upload)
    assert (found["state"], found["kept"]) == ("complete", len(DATA))


def test_the_length_may_come_last(relay: Relay) -> None:
    """The backend gets chunks, whose end comes when the length is there and all bytes are."""
    upload = relay.tus.create(None, filename="a.bin")
    assert relay.tus.patch(upload, 0, DATA[:200_000]).status_code == 204
    length = {"Upload-Length": str(len(DATA))}
    assert relay.tus.patch(upload, 200_000, DATA[200_000:], **length).status_code == 204
    assert relay.exchange.headers["transfer-encoding"] == "chunked"
    assert relay.exchange.body == DATA


def test_a_client_that_left_goes_on_where_it_was(relay: Relay) -> None:
    upload = relay.tus.create(len(DATA))
    offset = 0
    for size in (70_000, 120_000):
        cut_patch(relay, upload, offset, DATA[offset : offset + size])
        offset += size
        eventually(lambda: relay.tus.progress(upload)["kept"] == offset)  # noqa: B023
        wrong = relay.tus.patch(upload, offset - 1, b"x")
        assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, str(offset))
    assert relay.tus.patch(upload, offset, DATA[offset:]).status_code == 204
    assert relay.exchange.body == DATA


def test_a_client_that_takes_over_loses_no_byte_and_sends_none_twice(tmp_path: Path) -> None:
    """Also while the backend takes nothing, and a write waits for it."""
    size = 48 << 20  # more than all socket buffers between here and the backend hold
    data = noise(size)

    def slow(exchange: Exchange) -> None:
        exchange.wait()
        exchange.go.wait(20)
        takes(exchange)

    with Peer(slow, window=65536) as peer:
        relay = start(peer, tmp_path, "--relay-resume", "off")
        try:
            upload = relay.tus.create(size)
            path = upload.removeprefix(relay.server.url)
            with Wire(relay.server.port) as wire:
                wire.send(
                    f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n"
                    f"Content-Type: {OFFSET_STREAM}\r\nUpload-Offset: 0\r\n"
                    f"Content-Length: {size}\r\n\r\n".encode()
                )
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                wire.sock.settimeout(0.5)
                sent = 0
                try:
                    while sent < size:  # until nobody takes any more
                        sent += wire.sock.send(data[sent : sent + 65536])
                except TimeoutError:
                    pass
                assert sent < size
                assert relay.tus.head(upload).status_code in (200, 423)  # which interrupts it
                relay.exchange.go.set()
                eventually(lambda: relay.tus.head(upload).status_code == 200)
                offset = relay.tus.offset(upload)
            assert 0 < offset <= sent
            assert relay.tus.patch(upload, offset, data[offset:]).status_code == 204
            assert relay.exchange.body == data
        finally:
            relay.tus.session.close()
            relay.server.stop()


def test_pieces_of_a_put_become_one_put(relay: Relay) -> None:
    """In the form of the IETF: to the key's URL; the last response is the backend's own, also when
    it is asked for again."""
    url = f"{relay.server.url}/files/x/a.bin"
    begun = requests.put(url, DATA[:100_000], headers={"Upload-Complete": "?0"}, timeout=20)
    assert begun.status_code == 201, begun.text
    upload = relay.server.url + begun.headers["Location"]
    assert requests.head(upload, timeout=20).headers["Upload-Offset"] == "100000"
    for _ in range(2):
        headers = {"Upload-Complete": "?1", "Upload-Offset": "100000", "Content-Type": PARTIAL}
        done = requests.patch(upload, DATA[100_000:], headers=headers, timeout=20)
        assert (done.status_code, done.content) == (201, b'{"ok": true}')
        assert done.headers["Location"] == f"{relay.peer.url}/files/7"
        assert done.headers["Upload-Complete"] == "?1"
    assert (relay.exchange.method, relay.exchange.target) == ("PUT", "/books/x/a.bin")
    assert relay.exchange.body == DATA


def test_an_empty_file_arrives(relay: Relay) -> None:
    headers = {"Upload-Length": "0", "Upload-Metadata": coded(filename="e")}
    assert relay.tus.post(headers).status_code == 201
    assert (relay.exchange.method, relay.exchange.body) == ("POST", b"")


def test_parts_are_no_files_of_their_own_at_the_destination(relay: Relay) -> None:
    """They cannot be joined there, so none is taken, and a client that asks learns it before."""
    extensions = relay.tus.send("OPTIONS", "/files").headers["Tus-Extension"].split(",")
    assert "creation" in extensions
    assert not {"concatenation", "concatenation-unfinished"} & {*extensions}
    refused = relay.tus.post({"Upload-Length": "5", "Upload-Concat": "partial"})
    assert refused.status_code == 400
    assert "send the file as one upload" in refused.json()["detail"]
    assert relay.uploads == []


# The end


def test_a_cancelled_upload_never_looks_complete(relay: Relay) -> None:
    upload = relay.tus.create(len(DATA))
    assert relay.tus.patch(upload, 0, DATA[:-1]).status_code == 204
    assert relay.tus.delete(upload).status_code == 204
    assert relay.exchange.was_cut()
    assert relay.tus.head(upload).status_code == 410


@pytest.mark.parametrize("ending", ["reset", "refused"])
def test_a_request_that_ends_in_a_pause_is_gone(relay: Relay, ending: str) -> None:
    """The destination breaks off or refuses while nobody sends."""

    def end(exchange: Exchange) -> None:
        if ending == "reset":
            exchange.reset()
        else:
            exchange.reply(413, {}, b"too much")

    relay.begins(reads(1000, end))
    upload = relay.tus.create(len(DATA))
    assert relay.tus.patch(upload, 0, DATA[:100_000]).status_code == 204
    relay.exchange.go.set()
    eventually(lambda: relay.tus.head(upload).status_code == 410)
    assert relay.is_gone(upload, 100_000)
    found = relay.tus.progress(upload)
    assert (found["state"], found["code"]) == ("failed", "lost")


def test_a_refusal_of_the_whole_file_reaches_the_client(relay: Relay) -> None:
    """And a repeated question: it is the last word."""

    def refuses(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(422, {"Content-Type": "text/plain"}, b"no book")

    relay.begins(refuses)
    upload = relay.tus.create(len(DATA))
    assert relay.tus.patch(upload, 0, DATA[:1000]).status_code == 204
    for _ in range(2):
        refused = relay.tus.patch(upload, 1000, DATA[1000:])
        assert (refused.status_code, refused.content) == (422, b"no book")
    assert relay.tus.head(upload).status_code == 422
    assert relay.exchange.body == DATA


def test_an_unconfirmed_file_is_gone(relay: Relay) -> None:
    """The backend has all of it, and dies before it answers: nobody knows."""

    def dies(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reset()

    relay.begins(dies)
    upload = relay.tus.create(len(DATA))
    assert relay.tus.patch(upload, 0, DATA[:1000]).status_code == 204
    lost = relay.tus.patch(upload, 1000, DATA[1000:])
    assert lost.status_code == 410
    assert "look whether it is there" in lost.json()["detail"]
    assert relay.is_gone(upload, len(DATA))


def test_bytes_of_a_wrong_checksum_cannot_be_taken_back(relay: Relay) -> None:
    """Where nothing was kept before them, the upload begins anew."""
    wrong = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    upload = relay.tus.create(len(DATA))
    first = relay.tus.patch(upload, 0, DATA[:100_000], **wrong)
    assert first.status_code == 460
    assert relay.tus.offset(upload) == 0
    assert relay.tus.patch(upload, 0, DATA[:100_000]).status_code == 204
    assert relay.tus.patch(upload, 100_000, DATA[100_000:], **wrong).status_code == 410
    assert relay.tus.head(upload).status_code == 410
    assert [exchange.was_cut() for exchange in relay.uploads] == [True] * 2


PAUSE = 3  # seconds; two pieces come sooner, also on a busy machine
TEMPLATE = "/b/{id}/{place}?key={key}"


def create_named(relay: Relay, length: int) -> str:
    """An upload that has a value for each name of TEMPLATE."""
    headers = {"Upload-Length": str(length), "Upload-Metadata": coded(filename="a.b", place="p q")}
    created = relay.tus.send("POST", "/files?id=42", **headers)
    return f"{relay.server.url}/{created.headers['Location']}"


def test_a_pause_and_a_restart_end_the_request(tmp_path: Path) -> None:
    """The backend sees a body that breaks off; the upload is gone, and its client learns it."""
    with Peer(takes) as peer:
        relay = start(peer, tmp_path, "--relay-pause", str(PAUSE), "--relay-url", TEMPLATE)
        try:
            upload = create_named(relay, len(DATA))
            assert relay.tus.patch(upload, 0, DATA[:100_000]).status_code == 204
            assert relay.tus.patch(upload, 100_000, DATA[100_000:100_001]).status_code == 204
            assert re.fullmatch(r"/b/42/p%20q\?key=[\w-]+/a\.b", relay.exchange.target)
            assert relay.exchange.was_cut()
            assert relay.is_gone(upload, 100_001)
            assert f"paused for {PAUSE} seconds" in relay.server.log()
            relay.begins()
            other = create_named(relay, len(DATA))
            assert relay.tus.patch(other, 0, DATA[:100_000]).status_code == 204
        finally:
            relay.tus.session.close()
            relay.server.stop()
        assert relay.exchange.was_cut()
        before = relay.server.url
        relay = start(peer, tmp_path, "--relay-form", "book")
        try:
            assert relay.is_gone(other.replace(before, relay.server.url), 100_000)
            relay.begins()
            upload = relay.tus.create(4, filename="a.b")
            assert relay.tus.patch(upload, 0, b"bo").status_code == 204
            assert relay.tus.patch(upload, 2, b"ok").status_code == 204
            (part,) = parts(relay.exchange)
            assert b'name="book"; filename="a.b"' in part
            assert part.endswith(b"\r\n\r\nbook")
        finally:
            relay.tus.session.close()
            relay.server.stop()


# Where there are none


@pytest.mark.parametrize(
    ("options", "resumable"),
    [
        ({}, True),
        ({"relay_pause": 0}, False),
        ({"workers": 2}, False),
        ({"workers": 2, "relay_resume": "auto"}, True),
        ({"workers": 2, "relay_resume": "auto", "relay_form": "file"}, False),
        ({"to": ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b")}, False),
    ],
    ids=["one place", "no pause", "two processes", "two that may ask", "forms", "two places"],
)
async def test_pieces_are_taken_where_one_process_has_the_connection(
    options: dict[str, object], resumable: bool
) -> None:
    given = {"to": ("http://127.0.0.1:1/a",), "relay_resume": "off", **options}
    settings = Settings(**given)  # type: ignore[arg-type]
    store = open_destination(settings, Budget(16 << 20))
    assert store.traits.resumable is resumable
    await store.aclose()
