"""Retries of uploads: transient errors are retried, and no file is ever stored twice."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.quick_copies import send
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.client.retry import MOST_ATTEMPTS
from sluiceway.client.upload_job import EXPECT_FROM
from sluiceway.errors import PeerFailed, SluiceError, TooLarge, Unavailable
from sluiceway.pipe.receipt import Progress

DATA = noise(8 << 20)

Act = Callable[[Exchange], object]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


def taking(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(201)


def resetting(exchange: Exchange) -> None:
    exchange.ask_for_body()
    exchange.recv(100_000)
    exchange.reset()


def hanging_up(exchange: Exchange) -> None:
    exchange.read_body()


def refusing(status: int, wait: str | None = None) -> Act:
    def act(exchange: Exchange) -> None:
        exchange.ask_for_body()
        exchange.recv(1000)
        exchange.reply(status, {} if wait is None else {"Retry-After": wait})

    return act


def first(*acts: Act, then: Act = taking) -> Act:
    left = list(acts)
    return lambda exchange: (left.pop(0) if left else then)(exchange)


@pytest.mark.parametrize(
    "act",
    [resetting, hanging_up, *(refusing(status) for status in (408, 429, 502, 503, 504))],
    ids=["reset", "hung up", "408", "429", "502", "503", "504"],
)
async def test_a_put_is_retried_after_transient_errors(source: Path, act: Act) -> None:
    """From its first byte; the reason and the stage "retrying" are reported."""
    reports: list[Progress] = []
    with Peer(first(act, act)) as peer:
        receipt = await send(source, f"{peer.url}/f", on_progress=reports.append)

    assert len(peer.seen) == 3
    assert peer.seen[-1].body == DATA
    assert receipt.size == len(DATA)
    retrying = [now for now in reports if now.stage == "retrying"]
    assert len(retrying) == 2
    assert all("trying again in" in now.note and now.done == 0 for now in retrying)
    assert reports[-1].stage == "done"


async def test_retry_after_is_kept_to(source: Path) -> None:
    """One second means one second at least; an hour is left to people."""
    with Peer(first(refusing(503, "1"))) as peer:
        began = time.monotonic()
        await send(source, f"{peer.url}/f")
        assert time.monotonic() - began >= 1
    with Peer(refusing(503, "3600")) as peer, pytest.raises(Unavailable, match="3600 s"):
        await send(source, f"{peer.url}/f")

    assert len(peer.seen) == 1


@pytest.mark.parametrize(("retries", "asked"), [(0, 1), (2, 3), (4, 5)])
async def test_the_number_of_retries_is_kept(source: Path, retries: int, asked: int) -> None:
    """0 switches retries off; the last error is raised."""
    with Peer(resetting) as peer, pytest.raises(PeerFailed) as caught:
        await send(source, f"{peer.url}/f", retries=retries)

    assert len(peer.seen) == asked
    assert (f"tried {asked} times" in caught.value.detail) == (retries > 0)


async def test_the_default_is_the_policys_number(source: Path) -> None:
    """MOST_ATTEMPTS requests in all."""
    with Peer(resetting) as peer, pytest.raises(PeerFailed):
        await send(source, f"{peer.url}/f")

    assert len(peer.seen) == MOST_ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 501, 507])
async def test_a_refusal_is_not_retried(source: Path, status: int) -> None:
    """Asked once."""
    with Peer(refusing(status)) as peer, pytest.raises(SluiceError) as caught:
        await send(source, f"{peer.url}/f")

    assert len(peer.seen) == 1
    assert caught.value.members["answered"] == status


async def test_a_form_that_broke_off_is_retried(source: Path) -> None:
    """The server surely had not all of it: nothing can be there twice."""
    with Peer(first(resetting, refusing(503))) as peer:
        await send(source, f"{peer.url}/files", form=[("id", "1")])

    assert [asked.method for asked in peer.seen] == ["POST"] * 3
    assert DATA in peer.seen[-1].body


@pytest.mark.parametrize(
    "last",
    [hanging_up, lambda exchange: (exchange.read_body(), exchange.reply(503))],
    ids=["silence", "503"],
)
async def test_a_complete_form_is_not_retried(source: Path, last: Act) -> None:
    """It may have been stored: the error says that this is why."""
    with Peer(last) as peer, pytest.raises(SluiceError, match="may have stored it"):
        await send(source, f"{peer.url}/files", form=[])

    assert len(peer.seen) == 1


async def test_a_pipe_flows_past_once(tmp_path: Path) -> None:
    """The error says why it is not tried again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        try:
            pipe.write_bytes(DATA)
        except BrokenPipeError:
            pass  # the copy ended before the data did

    with Peer(resetting) as peer:
        writing = asyncio.ensure_future(asyncio.to_thread(write))
        with pytest.raises(PeerFailed, match="can be read only once"):
            await send(pipe, f"{peer.url}/f")
        await writing

    assert len(peer.seen) == 1


async def test_an_unread_pipe_is_retried(tmp_path: Path) -> None:
    """503 instead of 100 Continue: not a byte is gone yet."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Peer(first(lambda exchange: exchange.reply(503))) as peer:
        writing = asyncio.ensure_future(asyncio.to_thread(pipe.write_bytes, DATA))
        await send(pipe, f"{peer.url}/f")
        await writing

    assert [len(asked.body) for asked in peer.seen] == [0, len(DATA)]


async def test_a_first_connection_that_fails_is_not_retried(source: Path) -> None:
    """A wrong URL, most likely: no waiting for it to become right."""
    reports: list[Progress] = []
    with pytest.raises(PeerFailed, match="is the server running"):
        await send(source, "http://127.0.0.1:1/f", on_progress=reports.append)

    assert "retrying" not in [now.stage for now in reports]


async def test_a_server_that_restarts_is_retried(source: Path) -> None:
    """It restarts in the middle: refused connections count as tries then, not as a wrong URL."""
    reports: list[str] = []
    with Peer(resetting) as peer:
        port = int(peer.url.rpartition(":")[2])
        note = lambda now: reports.append(now.note) if now.stage == "retrying" else None  # noqa: E731 - one use
        copying = asyncio.ensure_future(
            send(source, f"{peer.url}/f", retries=100, on_progress=note)
        )
        while not reports:
            await asyncio.sleep(0.01)
    while "is the server running" not in reports[-1]:
        await asyncio.sleep(0.01)
    with Peer(taking, port=port) as again:
        await copying

    assert again.seen[-1].body == DATA


async def test_a_413_while_sending_is_reported(source: Path) -> None:
    """The server stops reading and answers: its words are raised at once, also before a reset."""

    def act(exchange: Exchange) -> None:
        exchange.recv(100_000)
        exchange.reply(
            413, {"Content-Type": "application/json"}, b'{"detail": "at most 5 MiB here"}'
        )
        time.sleep(0.3)
        exchange.reset()

    with Peer(act) as peer, pytest.raises(TooLarge, match="at most 5 MiB here"):
        await send(source, f"{peer.url}/f")

    assert len(peer.seen) == 1


async def test_figures_of_an_earlier_request_do_not_count(tmp_path: Path) -> None:
    """The first attempt was sent whole; a 201 to the second, before its body, is an error."""
    source = tmp_path / "g"
    source.write_bytes(bytes(EXPECT_FROM))
    with Peer(first(hanging_up, then=lambda exchange: exchange.reply(201))) as peer:
        with pytest.raises(PeerFailed, match="before it had everything"):
            await send(source, f"{peer.url}/f")

        assert len(peer.seen) == 2
