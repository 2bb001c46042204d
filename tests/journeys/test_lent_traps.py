"""What can go wrong while threads read a connection: pauses, cancels, full disks, many at once.

The servers lend as users' servers do, unless a test says otherwise.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import requests

from event_stream_decoder import EventStreamDecoder
from fix_filesystems import fill
from fix_gateway import takes
from fix_nginx import Proxied
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, need, noise
from lent_ways import AS_SERVED, lent_bytes, lent_env
from raw_http import Answer, Wire, form_body, form_head, head
from rude_peer import Peer
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
LARGE = noise(12 * MIB)


class Sender(threading.Thread):
    """A client that sends as fast as it can, or `rate` bytes a second, until it has an answer."""

    def __init__(self, port: int, target: str, size: int, rate: float = 0) -> None:
        super().__init__(daemon=True)
        self._wire, self._size, self._rate = Wire(port), size, rate
        self._wire.send(head("PUT", target, f"Content-Length: {size}"))
        self.sent = 0
        self.all_sent = threading.Semaphore(0)  # one for each sender of those that share it
        self.answer: Answer | None = None

    def run(self) -> None:
        with self._wire as wire:
            try:
                while self.sent < self._size:
                    piece = min(MIB, self._size - self.sent)
                    at = self.sent % len(LARGE)
                    wire.send(LARGE[at : at + piece])
                    self.sent += piece
                    if self._rate:
                        time.sleep(piece / self._rate)
                self.all_sent.release()
            except ConnectionError:
                pass  # refused: the answer is there
            self.answer = wire.answer()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(60)


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("lender")
    server = start_server(folder / "root", env=lent_env(folder, AS_SERVED))
    yield server
    server.stop()


def record(server: RunningServer, upload: str) -> dict[str, object]:
    found: dict[str, object] = requests.get(f"{server.url}/uploads/{upload}", timeout=30).json()
    return found


def timing(response: Answer) -> dict[str, float]:
    """Milliseconds by stage, from Server-Timing."""
    items = (item.split(";dur=") for item in response.headers["server-timing"].split(", "))
    return {name: float(milliseconds) for name, milliseconds in items}


def test_a_sender_that_becomes_slow_goes_back_to_the_event_loop(lender: RunningServer) -> None:
    """One byte at a time is not worth a thread, and twenty such senders leave fast ones theirs."""
    lent = len(lent_bytes(lender))
    wires = [Wire(lender.port) for _ in range(20)]
    for number, wire in enumerate(wires):
        wire.send(head("PUT", f"/files/slow-{number}", f"Content-Length: {len(LARGE)}"))
        wire.send(LARGE[:MIB])
    eventually(lambda: len(lent_bytes(lender)) >= lent + len(wires), "all went back")
    lent = len(lent_bytes(lender))
    with Sender(lender.port, "/files/fast", len(LARGE)) as fast:
        for at in range(3):
            for wire in wires:
                wire.send(LARGE[MIB + at : MIB + at + 1])
            time.sleep(0.1)
    assert fast.answer is not None
    assert fast.answer.status == 201
    # The fast one, more than once where a busy machine made it pause; none of the twenty.
    assert lent < len(lent_bytes(lender)) < lent + len(wires)
    for number, wire in enumerate(wires):
        if number < 2:
            wire.send(LARGE[MIB + 3 :])
            assert wire.answer().status == 201
            assert (lender.root / f"slow-{number}").read_bytes() == LARGE
        wire.close()


def test_a_cancel_ends_a_burst(lender: RunningServer) -> None:
    upload = "cancelled-within-a-burst"
    with Sender(lender.port, f"/files/c?upload={upload}", 4000 * MIB, rate=80e6) as sender:
        eventually(lambda: record(lender, upload).get("received", 0) > 4 * MIB, "lent")  # type: ignore[operator]
        began = time.monotonic()
        requests.delete(f"{lender.url}/uploads/{upload}", timeout=30)
        eventually(lambda: lender.drafts() == [], "the draft is gone")
        assert time.monotonic() - began < 30
    assert sender.answer is not None
    assert sender.answer.code == "cancelled"
    assert sender.sent < 4000 * MIB


def test_a_server_that_stops_answers_a_sender_in_a_burst(serve: Serve) -> None:
    server = serve("--shutdown-timeout", "0.2")
    upload = "stopped-within-a-burst-"
    with Sender(server.port, f"/files/s?upload={upload}", 4000 * MIB, rate=80e6) as sender:
        eventually(lambda: record(server, upload).get("received", 0) > 4 * MIB, "lent")  # type: ignore[operator]
        assert server.stop(signal.SIGTERM) == 0
    assert sender.answer is not None
    assert (sender.answer.status, sender.answer.code) == (503, "unavailable")
    assert server.drafts() == []
    assert server.stored() == {}


@pytest.mark.root
def test_a_disk_that_becomes_full_in_a_burst_is_507(small_disk: Path, serve: Serve) -> None:
    server = serve(root=small_disk)
    upload = "no-room-within-a-burst-"
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/x?upload={upload}", f"Content-Length: {6 * MIB}"))
        wire.send(b"x")
        eventually(lambda: record(server, upload).get("received"), "it began")
        fill(small_disk)
        wire.send(LARGE[: 6 * MIB - 1])
        response = wire.answer()
        assert (response.status, response.code) == (507, "no-space")
    eventually(lambda: server.drafts() == [], "the draft is gone")
    (small_disk / "filler").unlink()
    assert requests.put(f"{server.url}/files/y", data=LARGE[:MIB], timeout=30).status_code == 201


def test_uploads_share_a_budget_that_is_too_small_for_all(serve: Serve) -> None:
    """Two blocks for six: who gets none goes on through the page cache, and all arrive."""
    server = serve("--memory-budget", "4MiB")
    senders = [Sender(server.port, f"/files/{number}", len(LARGE)) for number in range(6)]
    for sender in senders:
        sender.start()
    for number, sender in enumerate(senders):
        sender.join(60)
        assert sender.answer is not None
        assert sender.answer.status == 201
        assert (server.root / str(number)).read_bytes() == LARGE


def test_a_watched_upload_is_kept_while_it_arrives(lender: RunningServer) -> None:
    upload = "watched-within-its-bursts"
    with Sender(lender.port, f"/files/w?upload={upload}", 96 * MIB, rate=80e6) as sender:
        eventually(lambda: "received" in record(lender, upload), "it began")
        stream = requests.get(
            f"{lender.url}/uploads/{upload}",
            headers={"Accept": "text/event-stream"},
            stream=True,
            timeout=30,
        )
        decoder = EventStreamDecoder()
        seen = [
            json.loads(event.data)
            for data in stream.iter_content(None)
            for event in decoder.feed(data)
        ]
    assert sender.answer is not None
    assert sender.answer.status == 201
    counters = [each for each in seen if "kept" in each]
    assert all(each["kept"] <= each["forwarded"] <= each["received"] for each in counters)
    assert len({each["kept"] for each in counters if 0 < each["kept"] < 96 * MIB}) >= 2
    assert counters[-1]["kept"] == 96 * MIB


@pytest.mark.parametrize("buffering", ["off", "on"])
def test_an_upload_comes_through_nginx(
    lender: RunningServer, proxied: Proxied, buffering: str
) -> None:
    need("nginx")
    lent = len(lent_bytes(lender))
    url = f"{proxied(lender, buffering)}/files/nginx-{buffering}"
    assert requests.put(url, data=LARGE, timeout=60).status_code == 201
    assert (lender.root / f"nginx-{buffering}").read_bytes() == LARGE
    eventually(lambda: len(lent_bytes(lender)) > lent, "it was lent")


def largest_stage(response: Answer, began: float) -> tuple[str, float]:
    """The name and the seconds of the largest one. They are the whole."""
    assert response.status == 201
    spent, whole = timing(response), 1000 * (time.monotonic() - began)
    total = spent.pop("total")
    assert total == pytest.approx(sum(spent.values()), rel=0.001)
    assert total <= whole
    most = max(spent, key=lambda name: spent[name])
    return most, spent[most] / 1000


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Peer]]:
    folder = tmp_path_factory.mktemp("relay")
    with Peer(takes) as peer:
        env = lent_env(folder, AS_SERVED)
        server = start_server(folder / "none", to=f"{peer.url}/files", env=env)
        yield server, peer
        server.stop()


@pytest.mark.parametrize("way", ["raw", "form", "relay"])
def test_the_stages_of_a_slow_sender_are_the_whole_and_name_it(
    lender: RunningServer, relay: tuple[RunningServer, Peer], way: str
) -> None:
    server = relay[0] if way == "relay" else lender
    lent, body = len(lent_bytes(server)), LARGE
    start = head("PUT", "/files/paused", f"Content-Length: {len(LARGE)}")
    if way == "form":
        body = form_body(("file", "paused-form", LARGE))
        start = form_head(len(body))
    found: list[tuple[str, float]] = []
    while not found or (found[-1][0] != "wait-for-client" and len(found) < 5):  # or a busy disk
        with Wire(server.port) as wire:
            began = time.monotonic()
            wire.send(start)
            for at in range(0, len(body), 3 * MIB):
                wire.send(body[at : at + 3 * MIB])
                time.sleep(0.3 if at < 9 * MIB else 0)
            found.append(largest_stage(wire.answer(), began))
    assert found[-1][0] == "wait-for-client", found
    assert found[-1][1] >= 0.6 * 0.9
    assert len(lent_bytes(server)) > lent


@pytest.fixture
def slow_disk(serve: Serve, tmp_path: Path) -> RunningServer:
    """Each block takes 800 ms to be written, and two threads serve all senders.

    Our own work takes far less, also on a busy machine.
    """
    more = """
import time
import sluiceway.stores.disk.drafts.file as file
import sluiceway.server.request_body as body
lending.THREADS, body.PACE = 2, 0.4
write = file.DraftFile.write_direct
def slow(self, data, at):
    time.sleep(0.8)
    write(self, data, at)
file.DraftFile.write_direct = slow
"""
    return serve("--min-rate", "1MiB", env=lent_env(tmp_path, AS_SERVED, more))


def six_at_once(server: RunningServer, turn: int) -> tuple[int, list[dict[str, float]]]:
    """The bytes of the one furthest behind when the first is done; and the stages of each."""
    size, answered = len(LARGE) * 2, threading.Event()
    wires = [Wire(server.port) for _ in range(6)]
    uploads = [f"fair-to-every-sender-{turn}-{number:04}" for number in range(len(wires))]
    responses: list[Answer] = []

    def send(number: int) -> None:
        target = f"/files/{number}?upload={uploads[number]}"
        wires[number].send(head("PUT", target, f"Content-Length: {size}"))
        for _ in range(2):
            wires[number].send(LARGE)
        responses.append(wires[number].answer())
        answered.set()
        wires[number].close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(wires))]
    for thread in threads:
        thread.start()
    assert answered.wait(60)
    done = [record(server, upload) for upload in uploads]
    for thread in threads:
        thread.join(60)
    assert {response.status for response in responses} <= {200, 201}
    assert len(responses) == len(wires)
    return min(int(str(each.get("received", size))) for each in done), list(map(timing, responses))


def test_few_threads_serve_many_senders_fairly_and_name_the_disk(slow_disk: RunningServer) -> None:
    """Six over two threads: when the first is done, every other one is half way at least.

    A busy machine may stop one of them, or all of them, but not each time.
    """
    found = []
    for turn in range(5):
        least, spent = six_at_once(slow_disk, turn)
        for each in spent:
            assert 2 * each["total"] == pytest.approx(sum(each.values()), rel=0.02)
        waits = {name: sum(each[name] for each in spent) for name in spent[0]}
        found.append((least, waits))
        # To wait for a thread that waits for the disk counts for the disk, too.
        others = max(waits["wait-for-client"], waits["queue"])
        if least >= len(LARGE) and waits["destination"] + waits["wait-for-answer"] > others:
            break
    else:
        pytest.fail(f"{found}")

    # Bytes that threads received count for --min-rate: a pause behind them is not a slow sender's.
    with Wire(slow_disk.port) as wire:
        wire.send(head("PUT", "/files/pace", f"Content-Length: {len(LARGE) + 2}") + LARGE)
        for _ in range(2):
            time.sleep(0.3)
            wire.send(b"x")
        assert wire.answer().status == 201


@pytest.mark.torture
def test_a_hundred_senders_over_sixteen_threads(serve: Serve) -> None:
    """When half of them are done, the others are half way at least; within the memory of a few.

    They begin together, and bytes are compared: a busy machine slows all of them down.
    """
    server = serve("--digest", "none")
    size, count = 48 * MIB, 100
    uploads = [f"one-of-a-hundred-senders-{number:03}" for number in range(count)]
    senders = [Sender(server.port, f"/files/{one}?upload={one}", size) for one in uploads]
    for one in uploads:
        eventually(lambda one=one: "received" in record(server, one), "it began")  # type: ignore[misc]
    for sender in senders:
        sender.all_sent = senders[0].all_sent
        sender.start()
    assert all(senders[0].all_sent.acquire(timeout=300) for _ in range(count // 2))
    sent = [each.sent for each in senders]
    for sender in senders:
        sender.join(300)
    assert [each.answer.status for each in senders if each.answer is not None] == [201] * count
    assert min(sent) >= size // 2
    assert MemoryMeter(server.pid).peak() < 250 * MIB
    assert server.stored() == dict.fromkeys(uploads, size)
