"""Progress through a gateway: the bar follows the backend's kernel, and is full on the backend's
success.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import requests

from event_stream_decoder import EventStreamDecoder
from fix_gateway import Gateway, Program, fresh, snapshot
from fix_server import RunningServer
from fix_taking import eventually, noise
from raw_http import Answer, Wire, form_body, form_head, head

MIB = 1 << 20
SPEED = 3_000_000  # bytes a second that the backend reads
SIZE = 9 * MIB  # more than the kernel buffers hold, three seconds' worth
LARGE = 24 * MIB  # a kernel takes 4 of them at once; the destination reads them while we wait
DATA = noise(SIZE)
# Made beforehand: to fill 24 MiB takes moments that the client would count as the server's.
AT_ONCE = head("PUT", "/files/a", f"Content-Length: {LARGE}") + bytes(LARGE)
COUNTERS = ("received", "forwarded", "kept")


@dataclass
class Throttled:
    """A slow backend in a process of its own."""

    program: Program
    counter: Path

    @property
    def read(self) -> int:
        """Body bytes it has read, by its own count."""
        return int.from_bytes(self.counter.read_bytes(), "little")


@contextmanager
def throttled(folder: Path, speed: int, pause: float = 0.0) -> Iterator[Throttled]:
    counter = folder / f"counter-{speed}-{fresh()}"
    counter.write_bytes(bytes(8))
    with Program("throttled_backend.py", str(speed), str(counter), str(pause)) as program:
        yield Throttled(program, counter)


@dataclass
class Watch:
    """The events of a stream, and what the backend had read at each of them."""

    seen: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)

    def listen(self, server: RunningServer, upload: str, backend: Throttled) -> None:
        decoder, headers = EventStreamDecoder(), {"Accept": "text/event-stream"}
        with requests.get(
            f"{server.url}/uploads/{upload}", headers=headers, stream=True, timeout=30
        ) as response:
            for data in response.iter_content(None):
                read = backend.read
                self.seen += [
                    (event.event, json.loads(event.data), read) for event in decoder.feed(data)
                ]


def raw(wire: Wire, upload: str) -> None:
    wire.send(head("PUT", f"/files/a?upload={upload}", f"Content-Length: {SIZE}") + DATA)


def form(wire: Wire, upload: str) -> None:
    body = form_body(("title", None, b"t"), ("file", "a.bin", DATA))
    wire.send(form_head(len(body), target=f"/files?upload={upload}") + body)


def send(server: RunningServer, way: Callable[[Wire, str], None], upload: str) -> Answer:
    with Wire(server.port) as wire:
        way(wire, upload)
        return wire.answer()


@pytest.mark.parametrize("way", [raw, form], ids=["raw", "form"])
def test_progress_follows_the_backend(
    gateway: Gateway, tmp_path: Path, way: Callable[[Wire, str], None]
) -> None:
    """At each event within 1 MiB of the backend's own count, never back; 100 % only on its
    success.
    """
    with throttled(tmp_path, SPEED, 0.3) as backend:
        server, upload, watch = gateway(backend.program.url), fresh(), Watch()
        listening = threading.Thread(target=watch.listen, args=(server, upload, backend))
        listening.start()
        response = send(server, way, upload)
        listening.join(20)

    assert (response.status, response.body) == (201, b"ok")
    running = [
        (event, read)
        for _, event, read in watch.seen
        if event["state"] in ("receiving", "checking")
    ]
    moving = [event["kept"] for event, _ in running if 0 < event["kept"] < SIZE - 1]
    assert len(set(moving)) > 10
    # We look at the backend's count when the event is here, which may be a while after it was made.
    assert abs(median(read - event["kept"] for event, read in running)) <= MIB
    for event, read in running:
        assert event["kept"] - read <= MIB, event
        assert event["kept_by"] == "kernel" or event["kept"] == 0
        assert event["kept"] < SIZE, "100 % before the backend succeeded"
        assert event["kept"] <= event["forwarded"] <= event["received"]
    events = [event for _, event, _ in watch.seen]
    for earlier, later in itertools.pairwise(events):
        assert all(earlier[name] <= later[name] for name in COUNTERS), (earlier, later)
    last = events[-1]
    assert (watch.seen[-1][0], last["state"], last["kept"], last["kept_by"]) == (
        "end",
        "complete",
        SIZE,
        "destination",
    )


def test_progress_stops_while_the_backend_is_stopped(gateway: Gateway, tmp_path: Path) -> None:
    """Stopped by a signal: a second later our counter stands too, and both continue together."""
    with throttled(tmp_path, SPEED) as backend, ExitStack() as stack:
        server, upload = gateway(backend.program.url), fresh()
        responses: list[Answer] = []
        sending = threading.Thread(target=lambda: responses.append(send(server, raw, upload)))
        sending.start()
        stack.callback(sending.join, 30)
        stack.callback(os.kill, backend.program.pid, signal.SIGCONT)
        eventually(lambda: backend.read > MIB, "it reads")
        os.kill(backend.program.pid, signal.SIGSTOP)
        seen: list[int] = []
        while len(seen) < 2 or (seen[-1] != seen[-2] and len(seen) < 10):
            time.sleep(1)  # the promise: it stops within a second of a machine that is not busy
            seen.append(int(str(snapshot(server, upload)["kept"])))
        assert seen[-1] == seen[-2]
        assert abs(seen[-1] - backend.read) <= MIB
        os.kill(backend.program.pid, signal.SIGCONT)
        eventually(
            lambda: int(str(snapshot(server, upload)["kept"])) > seen[-1],
            "it goes on",
        )
        sending.join(30)

    assert responses[0].status == 201


# Where the time went


def timing(response: Answer) -> dict[str, float]:
    """Seconds by stage, from the header."""
    pieces = [piece.partition(";dur=") for piece in response.headers["server-timing"].split(", ")]
    return {name: float(value) / 1000 for name, _, value in pieces}


def slow_client(wire: Wire) -> Answer:
    wire.send(head("PUT", "/files/a", "Content-Length: 100000"))
    for _ in range(10):
        time.sleep(0.1)
        wire.send(bytes(10_000))
    return wire.answer()


def at_once(wire: Wire) -> Answer:
    wire.send(AT_ONCE)
    return wire.answer()


# A busy machine takes moments between the client's clock and ours: one try with few of them proves
# the sum.
TRIES, MOMENTS = 8, 0.02  # seconds
SLOW: dict[str, tuple[int, float, Callable[[Wire], Answer], str, str]] = {
    "the client": (10**9, 0.0, slow_client, "wait-for-client", "client"),
    "the backend's reading": (8_000_000, 0.0, at_once, "destination", "backend"),
    "the backend's answer": (10**9, 1.0, at_once, "wait-for-answer", "backend"),
}


@pytest.mark.parametrize("who", SLOW)
def test_stages_name_the_slow_side(gateway: Gateway, tmp_path: Path, who: str) -> None:
    """The stages add up to the client's waiting time, in the header and in the log."""
    speed, pause, act, stage, name = SLOW[who]
    with throttled(tmp_path, speed, pause) as backend:
        server = gateway(backend.program.url)
        for _ in range(TRIES):
            with Wire(server.port) as wire:
                wire.send(head("GET", "/healthz"))  # to be accepted takes moments of its own
                assert wire.answer().status == 200
                began = time.perf_counter()
                response = act(wire)
                wall = time.perf_counter() - began
            spent = timing(response)
            total = spent.pop("total")
            assert total <= wall + 0.001
            slowest = max(spent, key=lambda stage: spent[stage])
            if total >= 0.98 * wall - MOMENTS and slowest == stage:
                break
        else:
            pytest.fail(f"{wall:.3f} s by the client, {total:.3f} by the gateway: {spent}")

    assert response.status == 201
    assert total == pytest.approx(sum(spent.values()), abs=0.001)
    server.stop()
    line = next(line for line in reversed(server.lines) if '"PUT /files/a" 201' in line)
    assert f"{stage}={spent[stage]:.3f}s"[:-3] in line
    assert f"% {name})" in line


def test_the_json_of_several_files_has_the_verdict(gateway: Gateway, tmp_path: Path) -> None:
    """It holds the stages, their sum and the verdict."""
    body = form_body(("f", "a", b"1"), ("f", "b", bytes(2 * MIB)))
    with throttled(tmp_path, 4_000_000) as backend:
        server = gateway(backend.program.url)
        with Wire(server.port) as wire:
            wire.send(form_head(len(body)) + body)
            response = wire.answer()

    report = response.json()
    assert response.status == 201
    assert report["seconds"] == pytest.approx(sum(report["stages"].values()), abs=0.001)
    assert report["verdict"].endswith("% backend")
