"""Picky, slow and broken backends: the client gets one exact outcome, in time, and nothing
leaks.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from fix_gateway import Gateway, fds
from fix_server import RunningServer, start_server
from fix_taking import eventually
from raw_http import Answer, Wire, chunked, form_body, form_head, head, talk
from rude_peer import Exchange, Peer
from zoo_backends import (
    ANSWER,
    IDLE,
    LARGE,
    MEDIUM,
    SMALL,
    Act,
    answers_in_chunks,
    closes_at,
    closes_in_its_answer,
    closes_without_an_answer,
    goes_on_late,
    hints_and_falls_silent,
    hints_first,
    needs_length,
    never_answers,
    never_goes_on,
    never_reads,
    reads_slowly,
    refuses,
    refuses_chunks,
    refuses_midway,
    refuses_slowly,
    resets_in_its_answer,
    speaks_http_1_0,
    stalls_in_its_answer,
    talks_garbage,
    thanks_too_early,
    trickles,
    wants_upload,
)

SOON = 12.0  # seconds: far above those, far below the defaults, also on a busy machine


# The backends


# Name -> backend, body, status, expected text of its body or code of ours
ZOO: dict[str, tuple[Act, bytes | str, int, str]] = {
    "needs a length, has one": (needs_length, MEDIUM, 201, "ok"),
    "needs a length, the client had none": (needs_length, "chunked", 411, "how long?"),
    "refuses chunks, gets none": (refuses_chunks, MEDIUM, 201, "ok"),
    "refuses chunks": (refuses_chunks, "chunked", 501, "no chunks"),
    "wants another field": (wants_upload, "form", 400, "called upload"),
    "401 at once": (refuses(401), MEDIUM, 401, "no: 401"),
    "413 at once": (refuses(413), MEDIUM, 413, "no: 413"),
    "413 at once, in chunks": (refuses(413), "chunked", 413, "no: 413"),
    "413 at once, to a form": (refuses(413), "form", 413, "no: 413"),
    "413 at once, its words later": (refuses_slowly, MEDIUM, 413, "slow"),
    "413 midway": (refuses_midway, MEDIUM, 413, "enough"),
    "415 at once": (refuses(415), MEDIUM, 415, "no: 415"),
    "422 at once": (refuses(422), MEDIUM, 422, "no: 422"),
    "503 at once": (refuses(503, {"Retry-After": "17"}), MEDIUM, 503, "no: 503"),
    "500 at once": (refuses(500), MEDIUM, 500, "no: 500"),
    "closes at byte 0": (closes_at(0), MEDIUM, 502, "peer-failed"),
    "closes at byte 70000": (closes_at(70_000), MEDIUM, 502, "peer-failed"),
    "closes at byte 10000000": (closes_at(10_000_000), LARGE, 502, "peer-failed"),
    "closes a small one": (closes_at(500), SMALL, 502, "peer-failed"),
    "closes without an answer": (closes_without_an_answer, SMALL, 502, "peer-failed"),
    "never answers": (never_answers, LARGE, 504, "peer-timeout"),
    "never answers a small one": (never_answers, SMALL, 504, "peer-timeout"),
    "never reads": (never_reads, LARGE, 504, "peer-timeout"),
    "resets in its answer": (resets_in_its_answer, MEDIUM, 502, "peer-failed"),
    "closes in its answer": (closes_in_its_answer, SMALL, 502, "peer-failed"),
    "stalls in its answer": (stalls_in_its_answer, SMALL, 504, "peer-timeout"),
    "trickles its answer": (trickles, SMALL, 504, "peer-timeout"),
    "talks garbage": (talks_garbage, MEDIUM, 502, "peer-failed"),
    "200 before it had everything": (thanks_too_early, MEDIUM, 502, "peer-failed"),
    "HTTP/1.0": (speaks_http_1_0, MEDIUM, 201, "old but fine"),
    "answers in chunks": (answers_in_chunks, MEDIUM, 201, "piece by piece"),
    "hints before its answer": (hints_first, MEDIUM, 201, "ok"),
    "hints and falls silent": (hints_and_falls_silent, SMALL, 504, "peer-timeout"),
}

ASKED: dict[str, tuple[Act, bytes | str, int, str]] = {
    "says 100 late": (goes_on_late, SMALL, 201, "ok"),
    "says 100 late to a form": (goes_on_late, "form", 201, "ok"),
    "never says 100": (never_goes_on, SMALL, 504, "peer-timeout"),
    "says 413 instead": (refuses(413), MEDIUM, 413, "no: 413"),
    "says 417 instead": (refuses(417), SMALL, 417, "no: 417"),
    "says 200 instead": (thanks_too_early, SMALL, 502, "peer-failed"),
    "hangs up instead": (closes_at(0), SMALL, 502, "peer-failed"),
}


def zoo(exchange: Exchange) -> None:
    """Each backend under its own path."""
    animal = int(exchange.target.removeprefix("/").partition("?")[0])
    [*ZOO.values(), *ASKED.values()][animal][0](exchange)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer(zoo) as peer:
        yield peer


@pytest.fixture(scope="module")
def impatient(
    peer: Peer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningServer]]:
    """Gateways with short timeouts, one for each set of options; they survive every backend."""
    made: dict[tuple[str, ...], tuple[RunningServer, int]] = {}

    def get(*options: str) -> RunningServer:
        if options not in made:
            limits = [
                "--relay-connect-timeout",
                str(IDLE),
                "--relay-idle-timeout",
                str(IDLE),
                "--relay-answer-timeout",
                str(ANSWER),
            ]
            folder = tmp_path_factory.mktemp("zoo") / "none"
            server = start_server(
                folder, *limits, "--relay-url", "/{animal}", *options, to=peer.url
            )
            talk(server.port, head("GET", "/healthz", "Connection: close"))
            made[options] = server, fds(server.pid)
        return made[options][0]

    yield get
    for server, before in made.values():
        eventually(
            partial(has_closed_all, server, before),
            "every connection is closed",
        )
        assert server.stop() == 0
        assert "Traceback" not in server.log()
        assert "never retrieved" not in server.log()


def has_closed_all(server: RunningServer, before: int) -> bool:
    return fds(server.pid) <= before + 1


def ask(server: RunningServer, number: int, body: bytes | str) -> Answer:
    """Upload to one backend; returns its response."""
    form = form_body(("file", "a.bin", LARGE[: 2 << 20]))
    with Wire(server.port) as wire:
        try:
            if body == "form":
                wire.send(form_head(len(form), target=f"/files?animal={number}") + form)
            elif body == "chunked":
                wire.send(
                    head("POST", f"/files?animal={number}", "Transfer-Encoding: chunked")
                    + chunked(MEDIUM, 1 << 20)
                )
            else:
                assert isinstance(body, bytes)
                length = f"Content-Length: {len(body)}"
                wire.send(head("POST", f"/files?animal={number}", length) + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered and closed: the response can still be read
        return wire.answer()


def check(
    server: RunningServer,
    name: str,
    cases: dict[str, tuple[Act, bytes | str, int, str]],
    first: int,
) -> Answer:
    _, body, status, expected = cases[name]
    began = time.monotonic()
    response = ask(server, first + list(cases).index(name), body)

    assert time.monotonic() - began < SOON
    assert response.status == status, response.body
    if response.headers.get("content-type") == "application/problem+json":
        assert response.code == expected
        assert response.json()["detail"]
    else:
        assert expected.encode() in response.body
    return response


@pytest.mark.parametrize("name", ZOO)
def test_each_backend_has_its_outcome(impatient: Callable[..., RunningServer], name: str) -> None:
    """The backend's own response if it has one; else 502 or 504 with a stable code, in time."""
    response = check(impatient(), name, ZOO, 0)

    if name == "503 at once":
        assert response.headers["retry-after"] == "17"


@pytest.mark.parametrize("name", ASKED)
def test_each_backend_that_is_asked_first_has_its_outcome(
    impatient: Callable[..., RunningServer], name: str
) -> None:
    """--relay-expect: the gateway waits for the 100 as long as for any byte, and no longer."""
    check(impatient("--relay-expect"), name, ASKED, len(ZOO))


def test_the_form_field_can_be_set(impatient: Callable[..., RunningServer]) -> None:
    """--relay-form upload satisfies the picky one, whatever the client's field is called."""
    server, animal = impatient("--relay-form", "upload"), list(ZOO).index("wants another field")
    for body in ("form", SMALL):
        response = ask(server, animal, body)
        assert (response.status, response.body) == (201, b"thanks")


def test_a_slow_backend_is_not_given_up(gateway: Gateway) -> None:
    """1 MB/s: our kernel holds megabytes, so it takes nothing for longer than
    --relay-idle-timeout.
    """
    with Peer(reads_slowly) as peer:
        server, data = gateway(peer.url, "--relay-idle-timeout", "0.4"), LARGE[: 9 << 19]
        response = talk(server.port, head("PUT", "/files/a", f"Content-Length: {len(data)}") + data)

    assert (response.status, response.body) == (201, b"at last")


def test_a_backend_that_does_not_listen(gateway: Gateway) -> None:
    """502 at once, before the body is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = gateway(f"http://me:s3cret@127.0.0.1:{port}/x")
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/a", "Content-Length: 5", "Expect: 100-continue"))
        response = wire.answer()

    assert (response.status, response.code, response.interim) == (502, "peer-unreachable", [])
    assert "s3cret" not in response.json()["detail"]
    response = talk(
        server.port,
        head("PUT", "/files/a", "Transfer-Encoding: chunked") + chunked(LARGE[: 1 << 20]),
    )
    assert (response.status, response.code) == (502, "peer-unreachable")


def test_a_backend_with_an_unknown_name(gateway: Gateway) -> None:
    """502 that says so; the name may exist later, so the gateway starts."""
    server = gateway("http://no-such-host.invalid/x", "--relay-connect-timeout", "5")
    response = talk(server.port, head("PUT", "/files/a", "Content-Length: 1") + b"x")

    assert (response.status, response.code) == (502, "peer-unreachable")


def test_a_backend_that_accepts_no_connection(gateway: Gateway) -> None:
    """Its packets are lost: 504 within --relay-connect-timeout."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # the queue is full: Linux drops further connections
            knocker = stack.enter_context(socket.socket())
            knocker.setblocking(False)
            knocker.connect_ex(listener.getsockname())
        server = gateway(
            f"http://127.0.0.1:{listener.getsockname()[1]}/x", "--relay-connect-timeout", "1"
        )
        began = time.monotonic()
        response = talk(server.port, head("PUT", "/files/a", "Content-Length: 1") + b"x")

    assert time.monotonic() - began < SOON
    assert (response.status, response.code) == (504, "peer-timeout")
