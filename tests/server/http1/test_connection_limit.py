"""More clients than descriptors, and more watchers than the server serves.

The server refuses the new ones with 503, serves those that are connected, and logs it once.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import pytest

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.server.handlers.progress import MOST_WAITING
from sluiceway.server.progress.watch import look_interval

HEALTH = head("GET", "/healthz")
EVENTS = ("Accept: text/event-stream",)


def test_connections_beyond_the_descriptors_are_refused(serve: Serve) -> None:
    """The response is a readable 503 and the log has one line. An upload under way goes on.

    Afterwards a new client is served again.
    """
    server = serve()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, 200))
    statuses = []
    with ExitStack() as stack:
        upload = stack.enter_context(Wire(server.port))
        upload.send(head("PUT", "/files/inside", "Content-Length: 5") + b"he")
        for _ in range(120):
            wire = stack.enter_context(Wire(server.port))
            wire.send(HEALTH)
            response = wire.answer()
            statuses.append(response.status)
            if response.status == 503:
                assert response.code == "unavailable"
                assert response.headers["retry-after"] == "5"
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


def test_watchers_of_unknown_uploads_do_not_slow_uploads(two_workers: RunningServer) -> None:
    """The server refuses watchers of uploads that never begin beyond a number.

    Uploads beside a thousand of them stay fast.
    """
    refused = 0
    with ExitStack() as stack:
        for number in range(1000):
            wire = stack.enter_context(Wire(two_workers.port))
            wire.send(head("GET", f"/uploads/{number:022}", *EVENTS))
            refused += b"503" in wire.sock.recv(12)
        assert refused >= 1000 - 2 * MOST_WAITING
        took: list[float] = []
        for number in range(20):
            began = time.monotonic()
            with Wire(two_workers.port) as wire:
                wire.send(head("PUT", f"/files/beside/{number}", "Content-Length: 1") + b"x")
                assert wire.answer().status == 201
            took.append(time.monotonic() - began)
        assert median(took) < 3  # without the bound they took 4 to 14 seconds
        with Wire(two_workers.port) as wire:  # a watcher of a known upload is always served
            wire.send(head("PUT", "/files/watched?upload=" + "v" * 22, "Content-Length: 1") + b"x")
            assert wire.answer().status == 201
        for _ in range(4):
            with Wire(two_workers.port) as wire:
                wire.send(head("GET", "/uploads/" + "v" * 22, "Connection: close", *EVENTS))
                assert wire.answer().status == 200


def test_the_look_interval_grows_with_the_watchers() -> None:
    """Up to 100 watchers have ten looks a second each; all have at most 1,000 a second."""
    assert look_interval(1) == look_interval(100) == 0.1
    assert all(watchers / look_interval(watchers) <= 1000.1 for watchers in range(1, 20_000, 37))
