"""A best-effort destination gets the file when it can; when not, the upload neither waits nor fails, and a note says why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fix_filesystems import Mount, fill
from rude_peer import Exchange, Peer
from sluiceway.errors import Refused
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.contract import DestinationResult, Draft, Metadata, Replace
from sluiceway.stores.fanout import draft as fanout_draft
from sluiceway.stores.fanout.best_effort import BEHIND, BestEffortTarget
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.fanout.fanout_legs import (
    CHUNK,
    LIMIT,
    disk,
    fan_out,
    memory,
    pour,
    put,
    relay,
    rests,
    send,
    whole,
)

MIB = 1 << 20
LARGE = pattern(8 * MIB) * 5  # more than the kernel's buffers of a connection and BEHIND together


def gave_up(display_name: str, reason: str) -> str:
    return f"best-effort destination {display_name} was given up: {reason}"


def takes(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(201, {"Location": "/copy"})


def says(status: int, words: bytes = b"") -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(status, {"Content-Type": "text/plain"}, words)

    return act


# It keeps up


async def test_one_that_keeps_up_has_the_same_bytes(tmp_path: Path) -> None:
    """Disk, memory and a server, all best-effort: whole copies, no notes, and each is told of."""
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        main, spare = memory(), disk(tmp_path, budget, required=False)
        async with fan_out(budget, main, spare, relay(peer.url, required=False)) as store:
            entry = await send(store, "book", pattern(5 * MIB))

            assert await read(spare.store, "book") == pattern(5 * MIB)
        assert [one.body for one in peer.seen] == [pattern(5 * MIB)]
        assert entry.notes == ()
        assert entry.copies[1:] == (
            DestinationResult(str(tmp_path), False),
            DestinationResult(peer.url, False, 201, f"{peer.url}/copy"),
        )


async def test_one_that_goes_back_goes_back_with_the_others(tmp_path: Path) -> None:
    """A truncated draft is truncated at the best-effort place, too, in its turn."""
    budget = Budget(LIMIT)
    spare = disk(tmp_path, budget, required=False)
    async with fan_out(budget, memory(), spare) as store:
        draft = await store.draft("up.0", None)
        await pour(draft, pattern(3 * MIB))
        await draft.truncate(MIB)
        await pour(draft, pattern(MIB, 77))
        entry = await draft.publish("book", Metadata(""))

        assert entry.notes == ()
        assert await read(spare.store, "book") == pattern(MIB) + pattern(MIB, 77)


# It does not


async def test_one_that_reads_nothing_is_dropped_and_holds_nobody_up(tmp_path: Path) -> None:
    """40 MiB pass a server that takes nothing: it is let go in the middle and never holds more than it may."""
    budget = Budget(LIMIT)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            draft = await store.draft("up.0", len(LARGE), put("book", Replace()))
            most = 0
            for at in range(0, len(LARGE), CHUNK):
                await draft.write(LARGE[at : at + CHUNK])
                most = max(most, budget.used)
                await asyncio.sleep(0)
            entry = await draft.publish("book", Metadata(""))

            assert await read(main.store, "book") == LARGE
        assert entry.notes == (gave_up(peer.url, "it fell behind"),)
        assert entry.copies[1] == DestinationResult(peer.url, False, note=entry.notes[0])
        assert BEHIND // 2 < most <= BEHIND


async def test_many_that_read_nothing_stay_within_the_budget(tmp_path: Path) -> None:
    """Six uploads at once with hardly any memory: the budget ends them, never the uploads, and is never overdrawn."""
    budget = Budget(MINIMUM)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = disk(tmp_path, budget)
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            drafts = [
                await store.draft(f"up{number}.0", len(LARGE), put(f"{number}", Replace()))
                for number in range(6)
            ]
            most = 0
            for at in range(0, len(LARGE) // 2, CHUNK):
                for draft in drafts:
                    await draft.write(LARGE[at : at + CHUNK])
                    most = max(most, budget.used)
            entries = [
                await draft.publish(f"{number}", Metadata(""))
                for number, draft in enumerate(drafts)
            ]

            assert rests(main) == [str(number) for number in range(6)]
        assert [entry.notes for entry in entries] == [(gave_up(peer.url, "it fell behind"),)] * 6
        assert most <= budget.limit


async def test_one_that_falls_silent_at_the_end_gets_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has every byte and does not answer: after the time it is given the upload is done without it."""
    monkeypatch.setattr(fanout_draft, "CATCH_UP", 0.25)
    budget = Budget(LIMIT)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            entry = await send(store, "book", b"small")

            assert rests(main) == ["book"]
        assert entry.notes == (gave_up(peer.url, "it was not done 0 s after the others"),)


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_one_that_refuses_at_the_end_is_a_note(size: int) -> None:
    """503 after the last byte: its status and its words, and the file is stored."""
    budget = Budget(LIMIT)
    with Peer(says(503, b"closed for lunch")) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            entry = await send(store, "book", pattern(size))

            assert rests(main) == ["book"]
        assert entry.notes == (gave_up(peer.url, "it answered 503: closed for lunch"),)


async def test_one_that_breaks_in_the_middle_is_a_note() -> None:
    """A reset after some bytes; whoever offers more to it is not told of it."""

    def breaks(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reset()

    budget = Budget(LIMIT)
    with Peer(breaks) as peer:
        async with fan_out(budget, memory(), relay(peer.url, required=False)) as store:
            entry = await send(store, "book", pattern(8 * MIB))

        assert len(entry.notes) == 1
        assert entry.notes[0].startswith(gave_up(peer.url, ""))


async def test_one_that_is_not_there_is_a_note() -> None:
    """No connection: the upload begins, goes on and ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    budget = Budget(LIMIT)
    async with fan_out(budget, memory(), relay(url, required=False)) as store:
        entry = await send(store, "book", pattern(MIB))

    assert "no connection" in entry.notes[0]


async def test_a_key_taken_there_is_a_note(tmp_path: Path) -> None:
    """What stands at the best-effort place stays, and the upload is stored at the others."""
    budget = Budget(LIMIT)
    spare = disk(tmp_path, budget, required=False)
    async with fan_out(budget, memory(), spare) as store:
        await store_bytes(spare.store, "book", b"there before")
        entry = await send(store, "book", b"new")

        assert "already" in entry.notes[0]
        assert await read(spare.store, "book") == b"there before"
        assert rests(spare) == ["book"]


@pytest.mark.root
async def test_a_full_best_effort_disk_is_a_note(tmp_path: Path, mount: Mount) -> None:
    """No room there; the draft it had begun is gone."""
    mount("tmpfs", tmp_path / "small", "size=2m")
    budget = Budget(LIMIT)
    spare = disk(tmp_path / "small", budget, required=False)
    fill(tmp_path / "small")
    async with fan_out(budget, memory(), spare) as store:
        entry = await send(store, "book", pattern(MIB), told=False)

    assert gave_up(spare.display_name, "") in entry.notes[0]
    assert rests(spare) == ["filler"]


async def test_it_has_nothing_when_a_required_one_refuses(tmp_path: Path) -> None:
    """Published last: a copy that nobody else has never appears."""
    budget = Budget(LIMIT)
    with Peer(says(422)) as peer, Peer(takes) as spare_peer:
        spares = [
            disk(tmp_path, budget, required=False),
            memory(required=False),
            relay(spare_peer.url, required=False),
        ]
        async with fan_out(budget, relay(peer.url), *spares) as store:
            with pytest.raises(Refused):
                await send(store, "book", pattern(MIB))

            assert [rests(leg) for leg in spares] == [[], [], []]
        assert whole(spare_peer) == []


async def test_cancelled_while_it_catches_up_the_upload_stands() -> None:
    """The required ones have it, and that is not unsaid: the caller gets the entry, the late one a note."""
    budget = Budget(LIMIT)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            sending = asyncio.create_task(send(store, "book", b"small"))
            while "book" not in rests(main):
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            sending.cancel()
            entry = await sending

            assert rests(main) == ["book"]
            assert len(entry.notes) == 1


# What it may hold


async def never() -> Draft:
    await asyncio.Event().wait()
    raise AssertionError


async def test_single_bytes_cost_what_they_take() -> None:
    """A chunk of one byte is an object of many: ten thousand of them go over a small rest of the budget."""
    budget = Budget(MINIMUM)
    budget.acquire(MINIMUM - 100_000)
    follower = BestEffortTarget("there", budget, never)
    for _ in range(10_000):
        follower.offer(b"x")
        follower.keep_up()
        if follower.note is not None:
            break
    await asyncio.wait([follower.task])

    assert follower.note == gave_up("there", "it fell behind")
    assert budget.used == MINIMUM - 100_000


async def test_what_it_has_caught_up_with_is_given_back_at_once() -> None:
    """Lent while it was behind, settled as it writes: the upload need not end for it."""
    budget, store, late = Budget(LIMIT), MemoryStore(), asyncio.Event()

    async def begin() -> Draft:
        await late.wait()
        return await store.draft("up.0", None)

    follower = BestEffortTarget("there", budget, begin)
    for at in range(0, MIB, CHUNK):
        follower.offer(pattern(CHUNK, at))
        follower.keep_up()
    assert budget.used > MIB
    late.set()
    while budget.used:
        await asyncio.sleep(0)

    assert not follower.task.done()
    assert store.drafts["up.0"].written >= MIB
    follower.stop()
    await asyncio.wait([follower.task])


async def test_given_up_before_its_first_step_it_settles_all() -> None:
    """Its task never ran; what was lent comes back all the same."""
    budget = Budget(MINIMUM)
    follower = BestEffortTarget("there", budget, never)
    follower.offer(bytes(1000))
    follower.keep_up()
    assert budget.used >= 1000
    follower.give_up("enough")
    await asyncio.wait([follower.task])

    assert budget.used == 0


async def test_what_is_written_while_the_others_write_is_never_lent(tmp_path: Path) -> None:
    """The budget is used up by others, and still a best-effort place that keeps up has it all."""
    budget = Budget(MINIMUM)
    spare = memory(required=False)
    async with fan_out(budget, memory(), memory(), spare) as store:
        budget.acquire(MINIMUM)
        entry = await send(store, "book", pattern(MIB))
        budget.release(MINIMUM)

        assert entry.notes == ()
        assert await read(spare.store, "book") == pattern(MIB)
