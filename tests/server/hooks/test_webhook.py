"""Receivers that fail: each event is tried until it is taken, given up, or wanted no more.

A real ledger, deliverer and receiver in one process; only the waits are shorter.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from sluiceway.client.http.tls import Trust
from sluiceway.server.hooks.webhook import Webhook
from sluiceway.stores.contract import Entry, Metadata
from sluiceway.stores.memory import MemoryStore
from sluiceway.uploads.ledger.contract import OutboxEvent
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.outbox import deliverer as module
from sluiceway.uploads.outbox.deliverer import Deliverer
from sluiceway.uploads.outbox.outbox import Outbox
from sluiceway.uploads.totals import Totals
from sluiceway.wire.events.webhooks import parse_secrets
from webhook_receiver import SECRET, WebhookReceiver, hang, reset

Start = Callable[[str], Deliverer]


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger(str(tmp_path))
    yield ledger
    await ledger.aclose()


@pytest.fixture
async def start(ledger: SqliteLedger) -> AsyncIterator[Start]:
    started: list[Deliverer] = []

    async def recover() -> None: ...

    def build(url: str) -> Deliverer:
        webhook = Webhook(url, parse_secrets(SECRET), Trust(), 10.0)
        started.append(Deliverer(ledger.events, webhook, recover, Totals(), timeout=0.5))
        started[-1].start()
        return started[-1]

    yield build
    for one in started:
        await one.aclose(0.0)


async def add(ledger: SqliteLedger, count: int = 1) -> list[OutboxEvent]:
    outbox = Outbox(ledger.events, MemoryStore())
    metadata = Metadata(filename="a\udcff", type="text/plain", digests=())
    events = [
        outbox.of(f"u{at}", 1.0, Entry("k\udcff", 3, "e", 0.0, metadata)) for at in range(count)
    ]
    await ledger.events.confirm(events)
    return events


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_event_is_tried_until_it_is_taken(
    ledger: SqliteLedger,
    start: Start,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Statuses of all kinds, a reset, silence, a redirect, which is not followed."""
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "MOST_WAIT", 0.02)
    with WebhookReceiver() as other:
        receiver.headers = {"Location": other.url}
        receiver.next_responses += [500, 503, 404, 400, 401, reset, hang, 302, 307, 308]
        [event] = await add(ledger)
        start(receiver.url)
        await until(lambda: receiver.taken)
        assert other.requests == 0
    assert receiver.requests == 11
    assert {one.id for one in receiver.deliveries} == {event.id}
    await until(lambda: "Events are taken again" in caplog.text)
    assert caplog.text.count("is tried again") == 1
    assert "of-the-query" not in caplog.text
    assert await ledger.events.take(10, 0.0) == []


async def test_a_receiver_that_is_gone_gets_no_event_again(
    ledger: SqliteLedger, start: Start, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """410: this event is given up, with a line in the log; the next one is tried."""
    receiver.next_responses += [410]
    [event] = await add(ledger)
    running = start(receiver.url)
    await until(lambda: "is given up" in caplog.text)
    assert event.id in caplog.text
    await ledger.events.confirm([OutboxEvent("evt_2", "u", event.body.replace(event.id, "evt_2"))])
    running.wake()
    await until(lambda: receiver.taken)
    assert [one.id for one in receiver.deliveries] == [event.id, "evt_2"]


async def test_a_receiver_says_when_it_wants_it_again(
    ledger: SqliteLedger, start: Start, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry-After counts, up to an hour."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    receiver.headers = {"Retry-After": "1"}
    receiver.next_responses += [503]
    await add(ledger)
    began = time.monotonic()
    start(receiver.url)
    await until(lambda: receiver.taken)
    assert time.monotonic() - began >= 1


async def test_an_old_event_is_given_up(
    ledger: SqliteLedger,
    start: Start,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "GIVE_UP", -1.0)
    receiver.next_responses += [500]
    await add(ledger)
    start(receiver.url)
    await until(lambda: "is given up" in caplog.text)
    assert await ledger.events.take(10, 0.0) == []


async def test_few_events_are_on_their_way_at_a_time(
    ledger: SqliteLedger, start: Start, receiver: WebhookReceiver
) -> None:
    under_way, most, lock = [0], [0], threading.Lock()

    def respond(handler: object) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.03)
        with lock:
            under_way[0] -= 1
        receiver.next_responses.insert(0, 204)
        receiver._take(handler)  # type: ignore[arg-type]

    receiver.next_responses += [respond] * 24
    await add(ledger, 24)
    start(receiver.url)
    await until(lambda: len({one.id for one in receiver.taken}) == 24)
    assert most[0] <= module.AT_ONCE


async def test_nobody_listens(
    ledger: SqliteLedger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is taken once somebody does."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(module, "MOST_WAIT", 0.05)
    with WebhookReceiver() as brief:
        port = brief.port
    [event] = await add(ledger)
    start(f"http://127.0.0.1:{port}/hook?key=of-the-query")
    await asyncio.sleep(0.2)
    with WebhookReceiver(port) as later:
        await until(lambda: later.taken)
        assert later.taken[0].id == event.id


async def test_what_is_on_its_way_at_the_end_stays(
    ledger: SqliteLedger, start: Start, receiver: WebhookReceiver
) -> None:
    """The next process sends it at once."""
    receiver.next_responses += [hang]
    [event] = await add(ledger)
    running = start(receiver.url)
    await until(lambda: receiver.requests)
    await running.aclose(0.05)
    assert [one.id for one in await ledger.events.take(10, 0.0)] == [event.id]
