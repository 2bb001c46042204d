"""More clients than there are descriptors or looks for: they are told so, those who are in are served, the log says it once."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.server.handlers.progress import MOST_WAITING, look_interval

HEALTH = head("GET", "/healthz")
EVENTS = ("Accept: text/event-stream",)


def test_more_connections_than_descriptors_are_told_so(serve: Serve) -> None:
    """503 in words, one line in the log, uploads of those who are in go on, and afterwards all is as before."""
    server = serve()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, 200))
    statuses = []
    with ExitStack() as stack:
        upload = stack.enter_context(Wire(server.port))
        upload.send(head("PUT", "/files/inside", "Content-Length: 5") + b"he")
        for _ in range(120):
            wire = stack.enter_context(Wire(server.port))
            wire.send(HEALTH)
            answer = wire.answer()
            statuses.append(answer.status)
            if answer.status == 503:
                assert answer.code == "unavailable"
                assert answer.headers["retry-after"] == "5"
        upload.send(b"llo")
        assert upload.answer().status == 201
    assert set(statuses) == {200, 503}
    assert statuses[0] == 200
    assert server.log().count("connections refused") == 1
    assert "Traceback" not in server.log()

    def served() -> bool:
        with Wire(server.port) as wire:
            wire.send(HEALTH)
            return wire.answer().status == 200

    eventually(served, "a client is served again")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("workers") / "root", "--workers", "2")
    yield server
    server.stop()


def test_a_thousand_watchers_of_nothing_hold_nobody_up(two_workers: RunningServer) -> None:
    """Watchers of uploads that never begin are refused beyond a number; uploads beside them are as quick as ever."""
    refused = 0
    with ExitStack() as stack:
        for number in range(1000):
            wire = stack.enter_context(Wire(two_workers.port))
            wire.send(head("GET", f"/uploads/{number:022}", *EVENTS))
            refused += b"503" in wire.sock.recv(12)
        assert refused >= 1000 - 2 * MOST_WAITING
        slowest = 0.0
        for number in range(20):
            began = time.monotonic()
            with Wire(two_workers.port) as wire:
                wire.send(head("PUT", f"/files/beside/{number}", "Content-Length: 1") + b"x")
                assert wire.answer().status == 201
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 3  # it was 4 to 14 seconds
        with Wire(two_workers.port) as wire:  # a watcher of what is there is always let in
            wire.send(head("PUT", "/files/watched?upload=" + "v" * 22, "Content-Length: 1") + b"x")
            assert wire.answer().status == 201
        for _ in range(4):
            with Wire(two_workers.port) as wire:
                wire.send(head("GET", "/uploads/" + "v" * 22, "Connection: close", *EVENTS))
                assert wire.answer().status == 200


def test_looks_get_rarer_with_more_watchers() -> None:
    """Ten a second for a hundred, and never more than a thousand a second for all."""
    assert look_interval(1) == look_interval(100) == 0.1
    assert all(watchers / look_interval(watchers) <= 1000.1 for watchers in range(1, 20_000, 37))
