"""What servers ask each other, and what they make of words that they did not expect."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from sluiceway.uploads.elsewhere import exchange, running
from sluiceway.uploads.elsewhere.channel import Word
from sluiceway.uploads.elsewhere.exchange import ElsewhereTable, ProgressExchange
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.states import State

UPLOAD = "u" * 25


class Room:
    """A channel that passes on at once what is said."""

    def __init__(self) -> None:
        self.ears: list[Callable[[Word], None]] = []

    def start(self, hear: Callable[[Word], None]) -> None:
        self.ears.append(hear)

    async def say(self, words: Iterable[Word]) -> None:
        for word in words:
            for hear in self.ears:
                hear(word)

    async def is_heard(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


def joined(room: Room, name: str) -> tuple[ProgressTable, ProgressExchange]:
    table = ProgressTable()
    joins = ProgressExchange(room, name, table, lambda _: True)
    joins.start()
    return table, joins


def said(kept: int, state: str = "receiving") -> dict[str, object]:
    counters = {"received": kept, "forwarded": kept, "kept": kept, "kept_by": "destination"}
    return {"id": UPLOAD, "state": state, "length": 100, "code": None, **counters}


async def test_an_upload_that_goes_on_elsewhere_is_seen_there() -> None:
    """Its counters, and then that its server is silent."""
    room = Room()
    here, ours = joined(room, "a")
    _, theirs = joined(room, "b")
    record = here.begin(UPLOAD, 100)
    record.received = record.forwarded = record.kept = 40
    found = await theirs.ask(UPLOAD)
    assert found is not None
    assert found.snapshot() == record.snapshot()
    assert await theirs.ask("x" * 25) is None
    await ours.aclose()
    await theirs.aclose()


async def test_what_is_watched_elsewhere_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MOST_WANTED", 2)
    asks = ProgressExchange(Room(), "a", ProgressTable(), lambda _: True)
    for number in range(4):
        assert asks.find(f"{number}" * 25) is None
    assert len(asks._wanted) == 2


async def test_what_runs_at_other_servers_is_listed_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once when the servers are known; what is here, too, is listed once."""
    room, tables, joins = Room(), [], []
    for name in "abc":
        table, one = joined(room, name)
        tables.append(table)
        joins.append(one)
    for number, table in enumerate(tables):
        table.begin(f"{number}" * 25, 100).received = number
    both = tables[1].begin(UPLOAD, 100)
    tables[0].begin(UPLOAD, 100)
    looks = joins[0].running
    tables[0].count_running()
    for _ in range(2):
        found = await looks.look(10)
        assert {name: each["received"] for name, each in found.items()} == {
            **{f"{number}" * 25: number for number in range(3)},
            UPLOAD: 0,
        }
    for word in ({"runs": 5}, {"runs": UPLOAD, "shown": {"id": "x"}}, {"listed": "all"}):
        looks.hear("b", word)
    assert len(await looks.look(2)) == 2
    both.state = State.COMPLETE
    tables[1].end(both)
    assert len(await looks.look(10)) == 4
    monkeypatch.setattr(running, "MOST_SAID", 1)
    assert len(joins[1].running.answer(5)) == 2
    monkeypatch.setattr(running, "MOST_SERVERS", 2)
    looks.hear("d", {"listed": 0})
    assert {*looks._lists} == {"b", "c"}
    for one in joins:
        await one.aclose()


async def test_odd_and_old_words_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other versions, and of a server that the upload has left."""
    room = Room()
    table, asks = joined(room, "a")
    asks.find(UPLOAD)
    for word in (
        {"from": "b"},
        {"from": "b", "ask": 5},
        {"from": "b", "say": {"id": UPLOAD}, "owner": 0},
        {"from": "b", "say": {"id": UPLOAD, "state": "receiving"}, "owner": 0},
        {"from": "b", "say": {**said(5), "state": "resting"}, "owner": 0},
        {"from": "b", "say": said(5), "owner": "anna"},
        {"from": "a", "say": said(5), "owner": 0},
    ):
        await room.say([word])
        assert asks.find(UPLOAD) is None
    await room.say([{"from": "b", "say": said(50), "owner": 0}])
    await room.say([{"from": "c", "say": said(20), "owner": 0}])
    watched = ElsewhereTable(table, asks)
    record = watched.find(UPLOAD)
    assert record is not None
    assert record.kept == 50
    watched.end_if_orphan(record)
    assert record.still()
    monkeypatch.setattr(exchange, "SILENT", -1.0)
    watched.end_if_orphan(record)
    assert not record.still()
    ours = table.begin(UPLOAD, 100)
    found = watched.find(UPLOAD)
    assert found is not None
    assert found.index == ours.index
    ours.state = State.COMPLETE
    table.end(ours)
    await asks.aclose()


async def test_a_record_that_is_not_followed_any_more_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that stood still for seconds has forgotten what its watchers watch: they notice."""
    room = Room()
    table, asks = joined(room, "a")
    watched = ElsewhereTable(table, asks)
    watched.find(UPLOAD)
    await room.say([{"from": "b", "say": said(50), "owner": 0}])
    record = watched.find(UPLOAD)
    assert record is not None
    monkeypatch.setattr(exchange, "ASKED_FOR", -1.0)
    asks._due(1e12)
    assert UPLOAD not in asks._wanted
    assert not record.still()
    await asks.aclose()
