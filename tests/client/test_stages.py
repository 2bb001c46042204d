"""Where a copy's time went: the parts are the whole, and the verdict names who was slow."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fix_taking import noise
from rude_peer import Exchange, Peer, ranged
from sluiceway.client.http.request import StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody
from sluiceway.copying.api import acopy
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import BytesSource
from sluiceway.pipe.stages import ANSWER, CLIENT, DECODE, DESTINATION, QUEUE, SOURCE, Stages

DATA = noise(3_000_000)
NAMES = {SOURCE, QUEUE, DESTINATION, ANSWER}
MOMENTS = 0.3  # seconds


def taking(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" if "expect" in exchange.headers else b"")
    exchange.read_body()
    exchange.reply(201)


def offers_nothing(act: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """A server whose OPTIONS is answered at once, and every other request by `act`."""

    def answered(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            exchange.reply(204)
        else:
            act(exchange)

    return answered


@offers_nothing
def slow_answer(exchange: Exchange) -> None:
    exchange.read_body()
    time.sleep(1.2)
    exchange.reply(201)


@offers_nothing
def slow_reader(exchange: Exchange) -> None:
    left = int(exchange.headers["content-length"])
    while left:
        piece = len(exchange.recv(left))
        left -= piece
        if left > 1 << 20:
            time.sleep(piece / 8e6)  # far slower than our own work on a busy machine
    exchange.reply(201)


def slow_giver(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(len(DATA)), "ETag": '"v1"'})
    for at in range(0, len(DATA), 300_000):
        exchange.send(DATA[at : at + 300_000])
        time.sleep(0.18)


async def timed(src: str | Path, dst: str | Path) -> Receipt:
    """The copy's receipt, whose parts sum up to the time it really took."""
    looks: list[float] = []
    began = time.perf_counter()
    receipt = await acopy(src, dst, on_progress=lambda _: looks.append(time.perf_counter()))
    took = time.perf_counter() - began

    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds)
    # From the first report to the last: opening and closing connections is outside. A busy machine
    # takes moments between the last stage and the last report.
    assert looks[-1] - looks[0] - MOMENTS <= receipt.seconds <= took
    assert set(receipt.stages) <= NAMES
    return receipt


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


async def test_a_slow_answer_is_the_destinations(source: Path) -> None:
    """It had everything and did not say so: a stage of its own."""
    with Peer(slow_answer) as peer:
        receipt = await timed(source, f"{peer.url}/f")

    assert receipt.stages[ANSWER] > 1
    assert receipt.verdict.endswith(" % destination")


async def test_a_slow_reader_is_the_destination(tmp_path: Path) -> None:
    """It takes its time while bytes wait."""
    big = tmp_path / "big"
    big.write_bytes(bytes(20 << 20))
    with Peer(slow_reader) as peer:
        receipt = await timed(big, f"{peer.url}/f")

    assert receipt.stages[DESTINATION] > 0.5 * receipt.seconds
    assert receipt.verdict.endswith(" % destination")


async def test_a_slow_word_on_resumable_uploads_is_the_destinations(source: Path) -> None:
    """The wait for the response to OPTIONS, which comes before the first byte."""

    def act(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            time.sleep(0.8)
        taking(exchange)

    with Peer(act) as peer:
        receipt = await timed(source, f"{peer.url}/f")

    assert receipt.stages[DESTINATION] > 0.7
    assert receipt.verdict.endswith(" % destination")


async def test_a_slow_pipe_is_the_source(tmp_path: Path) -> None:
    """Nothing came, so nothing could be sent."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        with pipe.open("wb", buffering=0) as out:
            for _ in range(4):
                out.write(b"x")
                time.sleep(0.3)

    with Peer(taking) as peer:
        feeding = asyncio.ensure_future(asyncio.to_thread(feed))
        receipt = await timed(pipe, f"{peer.url}/f")
        await feeding

    assert receipt.stages[SOURCE] > 0.8
    assert receipt.verdict.endswith(" % source")


async def test_a_slow_server_to_read_from_is_the_source(tmp_path: Path) -> None:
    """For a download and between two servers; disk or other server are the destination."""
    with Peer(slow_giver) as giver, Peer(taking) as peer:
        down, across = (
            await timed(f"{giver.url}/f", tmp_path / "got"),
            await timed(f"{giver.url}/f", f"{peer.url}/f"),
        )

    for receipt in (down, across):
        assert receipt.stages[SOURCE] > 0.9
        assert receipt.verdict.endswith(" % source")
    assert ANSWER not in down.stages


async def test_a_slow_server_to_write_to_is_the_destination_between_two() -> None:
    """Also when the other one gives at once."""
    with Peer(ranged(DATA)) as giver, Peer(slow_answer) as peer:
        receipt = await timed(f"{giver.url}/f", f"{peer.url}/f")

    assert receipt.stages[ANSWER] > 1
    assert receipt.verdict.endswith(" % destination")


async def test_waits_before_retries_are_in_the_sum(source: Path) -> None:
    """Half a second lost to a busy server is the destination's."""
    responses = [503]

    @offers_nothing
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        if responses:
            exchange.reply(responses.pop(), {"Retry-After": "1"})
        else:
            exchange.reply(201)

    with Peer(act) as peer:
        receipt = await timed(source, f"{peer.url}/f")

    assert receipt.stages[DESTINATION] > 1


async def test_a_folders_parts_sum_up_too(tmp_path: Path) -> None:
    """The files' own, and what lay between them."""
    for name in "abc":
        (tmp_path / name).write_bytes(DATA)
    with Peer(taking) as peer:
        receipt = await timed(tmp_path, f"{peer.url}/")

    assert len(receipt.parts) == 3
    assert receipt.verdict


def test_the_verdict_is_in_words_and_in_json() -> None:
    """Share and name; nothing where no time was taken."""
    receipt = Receipt(
        1,
        (),
        "here",
        stages={SOURCE: 0.05, QUEUE: 0.04, DESTINATION: 0.41, ANSWER: 0.5},
        seconds=1.0,
    )

    assert receipt.verdict == "91 % destination"
    assert receipt.to_json()["verdict"] == "91 % destination"
    assert Receipt(1, (), "here").verdict == ""
    assert not {CLIENT, DECODE} & NAMES


async def test_an_answer_before_the_end_of_a_body_counts_no_waiting_for_it() -> None:
    """ANSWER begins when the peer has all of it, not when our kernel does."""
    stages = Stages()

    def act(exchange: Exchange) -> None:
        time.sleep(0.8)  # the body waits in buffers on the way, not taken by anybody
        exchange.read_body()
        exchange.reply(201)

    body = SourceBody(BytesSource(bytes(24 << 20)), stages=stages)
    with Peer(act) as peer:
        async with Transport() as transport:
            request = StreamingRequest(transport, "PUT", peer.url, {}, body.length)
            assert (await body.send(request)).head.status == 201
    spent = stages.spent()

    assert spent[DESTINATION] > 0.6
