"""/doctor shows what arrived, within bounds, and repeats no secret."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, start_server
from raw_http import head
from sluiceway.server.doctor.arrival import EVENTS, MOST_ARRIVALS, MOST_BODY, MOST_WAIT

SECRET = "a-secret-of-the-admin-0123456789"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("arrival") / "root", "--token", SECRET)
    yield server
    server.stop()


def test_names_and_sizes_of_fields_are_shown_and_no_value(served: RunningServer) -> None:
    response = requests.get(
        f"{served.url}/doctor", headers={**HEADERS, "X-Own": "hidden-value"}, timeout=60
    )

    seen = response.json()
    assert (seen["doctor"], seen["host"]) == (1, f"127.0.0.1:{served.port}")
    assert (seen["app_server"], seen["peer"]) == ("sluiceway serve", "127.0.0.1")
    assert ["authorization", len(f"Bearer {SECRET}")] in seen["headers"]
    assert ["x-own", len("hidden-value")] in seen["headers"]
    assert SECRET not in response.text
    assert "hidden-value" not in response.text


def test_pieces_of_a_body_have_the_times_of_their_arrival(served: RunningServer) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(4):
            yield b"x" * 100
            time.sleep(0.1)

    seen = requests.post(f"{served.url}/doctor", data=pieces(), headers=HEADERS, timeout=60).json()

    body = seen["body"]
    assert (body["bytes"], body["ended"]) == (400, "whole")
    times = [seconds for seconds, _ in body["arrivals"]]
    assert times == sorted(times)
    assert times[-1] - times[0] > 0.1
    assert body["arrivals"][-1][1] == 400


def test_a_body_is_counted_up_to_a_bound(served: RunningServer) -> None:
    data = bytes(MOST_BODY + (1 << 20))
    seen = requests.post(f"{served.url}/doctor", data=data, headers=HEADERS, timeout=60).json()

    assert seen["body"]["ended"] == "too long"
    assert MOST_BODY < seen["body"]["bytes"] <= len(data)
    assert len(seen["body"]["arrivals"]) <= MOST_ARRIVALS


def test_a_wait_has_a_bound(served: RunningServer) -> None:
    url = f"{served.url}/doctor?wait="
    assert requests.get(f"{url}{MOST_WAIT + 1}", headers=HEADERS, timeout=60).status_code == 400
    assert requests.get(f"{url}0", headers=HEADERS, timeout=60).status_code == 200


def test_a_body_of_any_announced_size_need_not_come(served: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 60) as wire:
        fields = [f"Authorization: Bearer {SECRET}", f"Content-Length: {1 << 40}"]
        wire.sendall(head("POST", "/doctor?read=no", *fields))
        wire.settimeout(60)
        assert wire.recv(64).startswith(b"HTTP/1.1 200 OK")


def test_events_come_as_a_stream(served: RunningServer) -> None:
    response = requests.get(f"{served.url}/doctor?as=events", headers=HEADERS, timeout=60)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.count("event: doctor") == EVENTS
