"""A next server that answers and resets the connection at once: the sender hears its answer, or an
error, and waits for nothing. On every way that bytes take to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import start_server
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.errors import SluiceError

DATA = noise(12 << 20)  # more than the kernels on the way hold; its middle is lent
PART = 5 << 20  # bytes after which some answer: in the lent part
LONGEST = 15.0  # seconds: far below the minute that a silent server is granted


def before_the_body(exchange: Exchange) -> None:
    exchange.reply(413, body=b"no")


def in_its_middle(exchange: Exchange) -> None:
    exchange.take(PART)
    exchange.reply(413, body=b"no")


def after_a_stall(exchange: Exchange) -> None:
    """The senders' sockets are full by then."""
    exchange.take(PART)
    time.sleep(1)
    exchange.reply(413, body=b"no")


def with_half_an_answer(exchange: Exchange) -> None:
    exchange.wait()
    exchange.head(413, {"Content-Length": "100000"})
    exchange.send(b"x")


def success_too_early(exchange: Exchange) -> None:
    exchange.take(PART)
    exchange.reply(201, body=b"ok")


def no_answer(exchange: Exchange) -> None:
    exchange.take(PART)


def success_at_the_end(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(201, body=b"ok")


# Who answers, and what may come of it: a reset may destroy an answer that was not read yet.
ACTS: dict[Callable[[Exchange], None], tuple[int, ...]] = {
    before_the_body: (413, 502),
    in_its_middle: (413, 502),
    after_a_stall: (413, 502),
    with_half_an_answer: (413, 502),
    success_too_early: (502,),
    no_answer: (502,),
    success_at_the_end: (201, 502),
}
WAYS = ("raw", "chunks", "form", "copy", "copy by the kernel", "copy of chunks")


def act(exchange: Exchange) -> None:
    """As the end of the path says. What a copy asks first has no body, and is answered at once."""
    if exchange.method == "OPTIONS":
        exchange.reply(405)
    else:
        next(act for act in ACTS if exchange.target.endswith(act.__name__))(exchange)
    exchange.reset()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Of a gateway, and of the next server."""
    with Peer(act) as peer:
        server = start_server(tmp_path_factory.mktemp("gate") / "none", to=f"{peer.url}/files")
        yield f"{server.url}/files", f"{peer.url}/files"
        server.stop()


def test_nobody_waits_for_a_server_that_has_left(urls: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    cases = [(way, act) for way in WAYS for act in ACTS]

    def outcome(case: tuple[str, Callable[[Exchange], None]]) -> tuple[int, float]:
        way, act = case
        began = time.monotonic()
        to = f"{urls[way.startswith('copy')]}/{act.__name__}"
        status = copied(way, file, to) if way.startswith("copy") else sent(way, to)
        return status, time.monotonic() - began

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(outcome, cases))
    wrong = [
        (way, act.__name__, status, seconds)
        for (way, act), (status, seconds) in zip(cases, outcomes, strict=True)
        if status not in ACTS[act] or seconds > LONGEST
    ]
    assert not wrong


def sent(way: str, url: str) -> int:
    """The status that a client of the gateway gets."""
    pieces = (DATA[at : at + (1 << 20)] for at in range(0, len(DATA), 1 << 20))
    if way == "form":
        return requests.put(url, files={"f": DATA}, timeout=60).status_code
    return requests.put(url, data=DATA if way == "raw" else pieces, timeout=60).status_code


def copied(way: str, file: Path, url: str) -> int:
    """201, or the status of the error."""

    async def copy() -> None:
        with file.open("rb") as stream:
            await sluiceway.acopy(
                stream if "chunks" in way else file,
                url,
                digest="none" if "kernel" in way else "sha-256",
                retries=0,
            )

    try:
        asyncio.run(copy())
    except SluiceError as error:
        return error.status if error.status == 413 else 502
    return 201
