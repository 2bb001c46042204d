"""The ledger: what it was given is there after a kill, one process holds an upload, epochs fence.

Two ledgers of one folder, or of one table, are two processes to each other: each has a name of its
own. Both kinds pass the same tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from fix_postgres import Database
from sluiceway.errors import Exists, Superseded
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.uploads.ledger.contract import Ledger, OutboxEvent
from sluiceway.uploads.ledger.postgres import PostgresLedger
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.ledger.postgres_tables import SCHEMA, SUFFIXES
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.ledger.states import STEPS, LedgerState, step

Open = Callable[[], Ledger]
Make = tuple[Callable[[str], Ledger], str]

REQUEST = UploadRequest(
    key="a/ü.bin",
    filename="ü.bin",
    type="text/plain",
    expected={"sha-256": b"\0\xff"},
    headers=(("cache-control", "no-store"),),
    user=(("color", "blue"),),
    method="PATCH",
    field="f",
    fields=[("a", "1"), ("a", "2")],
    values={"v": "1"},
    replace=Replace(allowed=True, etag="x"),
    folders="a/",
    wanted="sha-256",
)
RECORD = UploadRecord("u" * 25, "tus", REQUEST, created=1.5, length=100, details={"x": "y"})


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """A kind of ledger and its place."""
    if request.param == "sqlite":
        yield SqliteLedger, str(tmp_path / "ledger")
        return
    database: Database = request.getfixturevalue("database")
    table = database.fresh()
    yield lambda url: PostgresLedger(LedgerDatabase(url)), f"{database.url}&table={table}"
    suffixes = ["", *(name for name in SUFFIXES if f"{{t{name}}} (" in "".join(SCHEMA))]
    database.rows(f"DROP TABLE IF EXISTS {', '.join(table + suffix for suffix in suffixes)}")


@pytest.fixture
async def open_ledger(make: Make) -> AsyncIterator[Open]:
    opened: list[Ledger] = []

    def build() -> Ledger:
        kind, where = make
        opened.append(kind(where))
        return opened[-1]

    yield build
    for ledger in opened:
        await ledger.aclose()


async def claimed_by(ledger: Ledger, record: UploadRecord = RECORD) -> UploadRecord:
    """A new upload, held."""
    await ledger.create(record)
    claimed = await ledger.claim(record.id)
    assert claimed is not None
    assert claimed.holder == ledger.process
    return claimed


async def test_an_upload_is_read_as_it_was_written(open_ledger: Open) -> None:
    """Each field, by another process as well."""
    ledger = open_ledger()
    await ledger.create(RECORD)
    request = dataclasses.replace(REQUEST, fields=tuple(REQUEST.fields))
    assert await open_ledger().find(RECORD.id) == dataclasses.replace(RECORD, request=request)
    claimed = await ledger.claim(RECORD.id)
    assert claimed == dataclasses.replace(RECORD, request=request, holder=ledger.process, epoch=1)
    done = dataclasses.replace(
        claimed,
        state=LedgerState.DONE,
        offset=100,
        draft="d",
        expires=2.5,
        key="k",
        response=FinalResponse(201, (("etag", '"e"'),), "{}"),
        code="c",
    )
    await ledger.save(done)
    found = await ledger.find(RECORD.id)
    assert found == done


async def test_an_id_is_taken_once(open_ledger: Open) -> None:
    one, other = open_ledger(), open_ledger()
    await one.create(RECORD)
    with pytest.raises(Exists):
        await other.create(RECORD)


async def test_nothing_is_found_in_a_new_ledger(open_ledger: Open, tmp_path: Path) -> None:
    """Looking makes no file."""
    ledger = open_ledger()
    assert await ledger.find("x") is None
    assert await ledger.claim("x") is None
    assert await ledger.expired(1e12, 10) == []
    assert await ledger.ids("", 10) == []
    assert await ledger.events.take(10, 1.0) == []
    assert await ledger.events.abandoned(10) == []
    assert not (tmp_path / "ledger" / "uploads.sqlite").exists()


async def test_a_living_holder_keeps_its_upload(open_ledger: Open) -> None:
    one, other = open_ledger(), open_ledger()
    held = await claimed_by(one)
    found = await other.claim(RECORD.id)
    assert found is not None
    assert (found.holder, found.epoch) == (one.process, 1)
    await one.save(dataclasses.replace(held, holder="", offset=7))
    claimed = await other.claim(RECORD.id)
    assert claimed is not None
    assert (claimed.holder, claimed.epoch, claimed.offset) == (other.process, 2, 7)


async def test_a_holder_may_let_go_without_a_save(open_ledger: Open) -> None:
    """Another process's upload stays as it is, and one that it took up again since."""
    one, other = open_ledger(), open_ledger()
    await claimed_by(one)
    await other.release(RECORD.id, 1)
    await one.release(RECORD.id, 0)
    found = await other.claim(RECORD.id)
    assert found is not None
    assert found.holder == one.process
    await one.release(RECORD.id, 1)
    found = await other.claim(RECORD.id)
    assert found is not None
    assert (found.holder, found.epoch) == (other.process, 2)


async def test_a_claim_that_is_cancelled_holds_nothing(open_ledger: Open) -> None:
    """In whichever moment: another process takes the upload up at once, and asks for nothing."""
    one, other = open_ledger(), open_ledger()
    await one.create(RECORD)
    for rounds in (0, 1, 2, 3, 4, 6, 8, 12, 20, 40):
        claim = asyncio.create_task(one.claim(RECORD.id))
        for _ in range(rounds):
            await asyncio.sleep(0)
        claim.cancel()
        await asyncio.wait([claim])
        if not claim.cancelled():
            await one.release(RECORD.id, (await one.find(RECORD.id) or RECORD).epoch)
        claimed = await other.claim(RECORD.id)
        assert claimed is not None
        assert claimed.holder == other.process
        await other.release(RECORD.id, claimed.epoch)


async def test_what_an_earlier_holder_saves_is_refused(open_ledger: Open) -> None:
    """Neither its offset nor its parts and events count."""
    one, other = open_ledger(), open_ledger()
    held = await claimed_by(one)
    await one.release(RECORD.id, 1)
    claimed = await other.claim(RECORD.id)
    late = dataclasses.replace(held, offset=50)
    with pytest.raises(Superseded):
        await one.save(late, ["p"], [OutboxEvent("e", RECORD.id, "{}")])
    with pytest.raises(Superseded):
        await one.drop_parts(late, 0)
    found = await one.find(RECORD.id)
    assert found is not None
    assert claimed is not None
    assert (found.offset, found.holder) == (0, other.process)
    assert await other.parts(RECORD.id) == []
    assert await other.events.take(10, 1.0) == []


async def test_a_holder_learns_that_another_process_asks(open_ledger: Open) -> None:
    """Soon, once for each time, and not for an upload that it let go of."""
    one, other = open_ledger(), open_ledger()
    asked: list[tuple[str, int]] = []
    one.on_asked(lambda upload, epoch: asked.append((upload, epoch)))
    held = await claimed_by(one)
    await asyncio.sleep(0.2)
    assert asked == []
    found = await other.find(RECORD.id)
    assert found is not None
    await other.ask(found)
    async with asyncio.timeout(10):
        while not asked:
            await asyncio.sleep(0.01)
    assert set(asked) == {(RECORD.id, 1)}
    await one.save(dataclasses.replace(held, holder=""))
    await other.ask(found)
    claimed = await other.claim(RECORD.id)
    assert claimed is not None
    assert claimed.holder == other.process


async def test_a_killed_holder_holds_nothing(open_ledger: Open, make: Make, tmp_path: Path) -> None:
    """Soon, and what it had saved is there."""
    code = f"""# in a fork
if True:
        import asyncio, dataclasses, time
        from sluiceway.stores.contract import UploadRequest
        from sluiceway.uploads.ledger.record import UploadRecord
        from sluiceway.uploads.ledger.postgres import PostgresLedger
        from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
        from sluiceway.uploads.ledger.sqlite import SqliteLedger
        async def main():
            where = {make[1]!r}
            is_url = where.startswith("postgres")
            ledger = PostgresLedger(LedgerDatabase(where)) if is_url else SqliteLedger(where)
            await ledger.create(UploadRecord("k", "tus", UploadRequest(), 0.0))
            record = await ledger.claim("k")
            await asyncio.sleep(0.3)
            record = dataclasses.replace(record, offset=77)
            await ledger.save(record, ["one", "two"])
            print(flush=True)
            time.sleep(60)
        asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        ledger = open_ledger()
        held = await ledger.claim("k")
        assert held is not None
        assert held.holder != ledger.process
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    async with asyncio.timeout(10):
        while (claimed := await ledger.claim("k")) is None or claimed.holder != ledger.process:
            await asyncio.sleep(0.02)
    assert (claimed.epoch, claimed.offset) == (2, 77)
    assert await ledger.parts("k") == ["one", "two"]
    if make[0] is SqliteLedger:
        assert len(list((tmp_path / "ledger" / "processes").iterdir())) == 1


async def test_parts_are_added_in_order_and_dropped_from_the_end(open_ledger: Open) -> None:
    ledger = open_ledger()
    record = await claimed_by(ledger)
    await ledger.save(record, ["0", "1"])
    await ledger.save(record, ["2"])
    await ledger.save(record)
    assert await ledger.parts(RECORD.id) == ["0", "1", "2"]
    await ledger.drop_parts(record, 1)
    await ledger.save(record, ["3"])
    assert await ledger.parts(RECORD.id) == ["0", "3"]


async def test_expired_uploads_are_found_and_forgotten_with_their_parts(open_ledger: Open) -> None:
    ledger = open_ledger()
    for number in range(3):
        record = dataclasses.replace(RECORD, id=f"u{number}", expires=10.0 + number)
        await ledger.create(record)
        await ledger.save(record, ["p"])
    await ledger.create(dataclasses.replace(RECORD, id="forever"))
    assert [record.id for record in await ledger.expired(11.0, 10)] == ["u0", "u1"]
    assert [record.id for record in await ledger.expired(1e9, 1)] == ["u0"]
    await ledger.remove("u0")
    assert await ledger.find("u0") is None
    assert await ledger.parts("u0") == []
    assert [record.id for record in await ledger.expired(11.0, 10)] == ["u1"]


async def test_ids_are_listed_in_order(open_ledger: Open) -> None:
    ledger = open_ledger()
    for name in ("b", "B", "a", "~", "é"):
        await ledger.create(dataclasses.replace(RECORD, id=name))
    assert await ledger.ids("", 3) == ["B", "a", "b"]
    assert await ledger.ids("b", 10) == ["~", "é"]


async def test_the_time_is_that_of_the_ledger(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose clock is an hour ahead says the same as the others."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    ledger = open_ledger()
    await claimed_by(ledger)
    ahead = 3600.0 if isinstance(ledger, SqliteLedger) else 0.0  # all are on that machine
    assert ahead - 60 < ledger.now() - real() < ahead + 60


async def test_one_of_several_processes_sweeps(open_ledger: Open) -> None:
    """Once in a while."""
    one, other = open_ledger(), open_ledger()
    await one.create(RECORD)
    began = await asyncio.gather(*(ledger.begin_sweep(60) for ledger in (one, other) * 3))
    assert began.count(True) == 1
    await asyncio.sleep(0.01)
    assert await other.begin_sweep(0.001)


async def test_many_saves_at_once_are_all_there(open_ledger: Open) -> None:
    """Of those that come too late, nothing is."""
    one, other = open_ledger(), open_ledger()
    held = [
        await claimed_by(one, dataclasses.replace(RECORD, id=f"u{number}")) for number in range(20)
    ]
    for number in (3, 14):
        await one.release(f"u{number}", 1)
        assert await other.claim(f"u{number}")
    outcomes = await asyncio.gather(
        *(one.save(dataclasses.replace(record, offset=9), ["p"]) for record in held),
        return_exceptions=True,
    )
    assert [at for at, outcome in enumerate(outcomes) if outcome is not None] == [3, 14]
    for number, outcome in enumerate(outcomes):
        found = await one.find(f"u{number}")
        assert found is not None
        assert found.offset == (9 if outcome is None else 0)
        assert await one.parts(f"u{number}") == (["p"] if outcome is None else [])


async def test_an_event_stays_until_it_is_delivered(open_ledger: Open) -> None:
    """It is added with the step that reports it, once; its upload may be forgotten before."""
    ledger, other = open_ledger(), open_ledger()
    await ledger.create(RECORD)
    event = OutboxEvent("e1", RECORD.id, '{"a": 1}')
    await ledger.save(RECORD, events=[event])
    await ledger.save(RECORD, events=[event])
    await ledger.remove(RECORD.id)
    [taken] = await ledger.events.take(10, 60.0)
    assert abs(taken.created - time.time()) < 60
    assert dataclasses.replace(taken, created=0.0) == event
    assert await other.events.take(10, 60.0) == []  # leased
    await ledger.events.postpone(event, 60.0, 1)
    assert await other.events.take(10, 60.0) == []
    await ledger.events.postpone(event, 0.0, 2)
    assert await other.events.take(10, 0.0) == [dataclasses.replace(taken, tries=2)]
    assert len(await other.events.take(10, 0.0)) == 1  # a lease that is over
    await other.events.drop([event])
    assert await ledger.events.take(10, 0.0) == []


async def test_two_processes_share_what_is_due(open_ledger: Open) -> None:
    one, other = open_ledger(), open_ledger()
    await one.create(RECORD)
    await one.save(RECORD, events=[OutboxEvent(f"e{at}", RECORD.id, "{}") for at in range(40)])
    found = await asyncio.gather(
        *(ledger.events.take(5, 60.0) for ledger in (one, other) for _ in range(8))
    )
    names = [event.id for events in found for event in events]
    assert len(names) == len(set(names))
    rest = await one.events.take(40, 60.0)
    assert sorted([*names, *(event.id for event in rest)]) == sorted(f"e{at}" for at in range(40))


async def test_an_expected_event_waits_for_its_file(open_ledger: Open) -> None:
    """It is not sent before it is confirmed. Only those of the dead are taken over."""
    one, other = open_ledger(), open_ledger()
    events = [OutboxEvent(f"e{at}", "u", "{}") for at in range(3)]
    await one.events.expect(events)
    assert await other.events.take(10, 60.0) == []
    assert await other.events.abandoned(10) == []
    assert await one.events.abandoned(10) == []
    await one.events.confirm(events[:1])
    await one.events.drop(events[1:2])
    await one.events.confirm(events[:1])  # once more, as after a lost answer
    assert [event.id for event in await other.events.take(10, 60.0)] == ["e0"]
    await one.aclose()
    taken = list[OutboxEvent]()
    until = time.monotonic() + 20
    while not taken and time.monotonic() < until:
        taken = await other.events.abandoned(10)
        await asyncio.sleep(0.05)
    assert [event.id for event in taken] == ["e2"]
    assert await other.events.abandoned(10) == []
    await other.events.drop(taken)
    await other.events.confirm(taken)  # it was there after all
    assert [event.id for event in await other.events.take(10, 60.0)] == ["e2"]


async def test_an_upload_under_publication_is_found(open_ledger: Open) -> None:
    ledger = open_ledger()
    assert await ledger.finishing("", 10) == []
    claimed = await claimed_by(ledger)
    await ledger.save(dataclasses.replace(claimed, state=LedgerState.FINISHING))
    assert await ledger.finishing("", 10) == [RECORD.id]
    assert await ledger.finishing(RECORD.id, 10) == []
    await ledger.save(dataclasses.replace(claimed, state=LedgerState.DONE))
    assert await ledger.finishing("", 10) == []


def test_every_state_can_be_reached_and_the_last_one_is_final() -> None:
    reached = {state for (_, _), state in STEPS.items()}
    assert reached == set(LedgerState)
    assert not [event for (state, event) in STEPS if state is LedgerState.GONE]
    assert step(LedgerState.OPEN, "whole") is LedgerState.FINISHING
