"""A best-effort destination that cannot keep up neither delays nor fails the upload; a note says
why.
"""

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
from sluiceway.stores.fanout.best_effort import MOST_BEHIND, BestEffortTarget
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.fanout.destinations import (
    CHUNK,
    LIMIT,
    complete_requests,
    disk,
    fan_out,
    memory,
    put,
    relay,
    send,
    stored_names,
    write_chunks,
)

MIB = 1 << 20
LARGE = pattern(8 * MIB) * 5  # more than the kernel buffers of a connection and MOST_BEHIND hold


def gave_up(display_name: str, reason: str) -> str:
    return f"best-effort destination {display_name} was given up: {reason}"


def takes(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(201, {"Location": "/copy"})


def answers(status: int, text: bytes = b"") -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(status, {"Content-Type": "text/plain"}, text)

    return act


# It keeps up


async def test_a_destination_that_keeps_up_gets_the_same_bytes(tmp_path: Path) -> None:
    """A disk and a server, both best-effort: complete copies, no notes, a result for each."""
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


async def test_a_truncated_draft_is_truncated_at_a_best_effort_destination_too(
    tmp_path: Path,
) -> None:
    """Its truncation stands in its queue, between the chunks before and after."""
    budget = Budget(LIMIT)
    spare = disk(tmp_path, budget, required=False)
    async with fan_out(budget, memory(), spare) as store:
        draft = await store.draft("up.0", None)
        await write_chunks(draft, pattern(3 * MIB))
        await draft.truncate(MIB)
        await write_chunks(draft, pattern(MIB, 77))
        entry = await draft.publish("book", Metadata(""))

        assert entry.notes == ()
        assert await read(spare.store, "book") == pattern(MIB) + pattern(MIB, 77)


# It does not keep up


async def test_a_destination_that_reads_nothing_is_given_up_and_delays_no_other(
    tmp_path: Path,
) -> None:
    """40 MiB for a server that reads nothing: it is given up on the way and holds MOST_BEHIND at
    most.
    """
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
        assert MOST_BEHIND // 2 < most <= MOST_BEHIND


async def test_many_destinations_that_read_nothing_stay_within_the_budget(tmp_path: Path) -> None:
    """Six uploads with the smallest budget: it is never exceeded, and every upload succeeds."""
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

            assert stored_names(main) == [str(number) for number in range(6)]
        assert [entry.notes for entry in entries] == [(gave_up(peer.url, "it fell behind"),)] * 6
        assert most <= budget.limit


async def test_a_destination_that_does_not_answer_is_given_up_after_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has every byte and does not answer: the upload succeeds without it."""
    monkeypatch.setattr(fanout_draft, "CATCH_UP_TIMEOUT", 0.25)
    budget = Budget(LIMIT)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            entry = await send(store, "book", b"small")

            assert stored_names(main) == ["book"]
        assert entry.notes == (gave_up(peer.url, "it was not done 0 s after the others"),)


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_refusal_at_the_end_becomes_a_note(size: int) -> None:
    """503 after the last byte: the note has status and text, and the file is stored."""
    budget = Budget(LIMIT)
    with Peer(answers(503, b"closed for lunch")) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            entry = await send(store, "book", pattern(size))

            assert stored_names(main) == ["book"]
        assert entry.notes == (gave_up(peer.url, "it answered 503: closed for lunch"),)


async def test_a_connection_reset_becomes_a_note() -> None:
    """It is reset after some bytes; later writes raise nothing."""

    def breaks(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reset()

    budget = Budget(LIMIT)
    with Peer(breaks) as peer:
        async with fan_out(budget, memory(), relay(peer.url, required=False)) as store:
            entry = await send(store, "book", pattern(8 * MIB))

        assert len(entry.notes) == 1
        assert entry.notes[0].startswith(gave_up(peer.url, ""))


async def test_an_unreachable_destination_becomes_a_note() -> None:
    """Without a connection the upload succeeds all the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    budget = Budget(LIMIT)
    async with fan_out(budget, memory(), relay(url, required=False)) as store:
        entry = await send(store, "book", pattern(MIB))

    assert "cannot be reached" in entry.notes[0]


async def test_a_key_that_is_taken_there_becomes_a_note(tmp_path: Path) -> None:
    """The object at the best-effort destination stays; the others store the upload."""
    budget = Budget(LIMIT)
    spare = disk(tmp_path, budget, required=False)
    async with fan_out(budget, memory(), spare) as store:
        await store_bytes(spare.store, "book", b"there before")
        entry = await send(store, "book", b"new")

        assert "already" in entry.notes[0]
        assert await read(spare.store, "book") == b"there before"
    assert stored_names(spare) == ["book"]  # its draft may be discarded after the upload has ended


@pytest.mark.root
async def test_a_full_best_effort_disk_becomes_a_note(tmp_path: Path, mount: Mount) -> None:
    """Its draft is discarded."""
    mount("tmpfs", tmp_path / "small", "size=2m")
    budget = Budget(LIMIT)
    spare = disk(tmp_path / "small", budget, required=False)
    fill(tmp_path / "small")
    async with fan_out(budget, memory(), spare) as store:
        entry = await send(store, "book", pattern(MIB), length_known=False)

    assert gave_up(spare.display_name, "") in entry.notes[0]
    assert stored_names(spare) == ["filler"]


async def test_it_stores_nothing_when_a_required_destination_refuses(tmp_path: Path) -> None:
    """It publishes last, so that it never has the only copy."""
    budget = Budget(LIMIT)
    with Peer(answers(422)) as peer, Peer(takes) as spare_peer:
        spares = [
            disk(tmp_path, budget, required=False),
            memory(required=False),
            relay(spare_peer.url, required=False),
        ]
        async with fan_out(budget, relay(peer.url), *spares) as store:
            with pytest.raises(Refused):
                await send(store, "book", pattern(MIB))

            assert [stored_names(destination) for destination in spares] == [[], [], []]
        assert complete_requests(spare_peer) == []


async def test_a_cancellation_while_it_catches_up_does_not_undo_the_upload() -> None:
    """The required destinations have the object: the caller gets the entry, with a note."""
    budget = Budget(LIMIT)
    with Peer(lambda _: peer.ended.wait(20)) as peer:
        main = memory()
        async with fan_out(budget, main, relay(peer.url, required=False)) as store:
            sending = asyncio.create_task(send(store, "book", b"small"))
            while "book" not in stored_names(main):
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            sending.cancel()
            entry = await sending

            assert stored_names(main) == ["book"]
            assert len(entry.notes) == 1


# Its memory


async def never() -> Draft:
    await asyncio.Event().wait()
    raise AssertionError


async def test_single_bytes_count_with_their_overhead() -> None:
    """A chunk of one byte is an object of many: ten thousand of them exceed 100,000 bytes."""
    budget = Budget(MINIMUM)
    budget.acquire(MINIMUM - 100_000)
    target = BestEffortTarget("there", budget, never)
    for _ in range(10_000):
        target.write(b"x")
        target.check_backlog()
        if target.note is not None:
            break
    await asyncio.wait([target.task])

    assert target.note == gave_up("there", "it fell behind")
    assert budget.used == MINIMUM - 100_000


async def test_memory_is_released_as_it_catches_up() -> None:
    """Bytes are counted while it is behind, and released as it writes, before the upload ends."""
    budget, store, late = Budget(LIMIT), MemoryStore(), asyncio.Event()

    drafts: list[Draft] = []

    async def begin() -> Draft:
        await late.wait()
        drafts.append(await store.draft("up.0", None))
        return drafts[0]

    target = BestEffortTarget("there", budget, begin)
    for at in range(0, MIB, CHUNK):
        target.write(pattern(CHUNK, at))
        target.check_backlog()
    assert budget.used > MIB
    late.set()
    while budget.used:
        await asyncio.sleep(0)

    assert not target.task.done()
    assert drafts[0].written >= MIB
    target.stop()
    await asyncio.wait([target.task])


async def test_memory_is_released_when_it_is_given_up_before_its_first_step() -> None:
    """Its task never ran."""
    budget = Budget(MINIMUM)
    target = BestEffortTarget("there", budget, never)
    target.write(bytes(1000))
    target.check_backlog()
    assert budget.used >= 1000
    target.give_up("enough")
    await asyncio.wait([target.task])

    assert budget.used == 0


async def test_bytes_written_while_the_others_write_are_never_counted(tmp_path: Path) -> None:
    """The budget is used up, and still a destination that keeps up gets the whole file."""
    budget = Budget(MINIMUM)
    spare = memory(required=False)
    async with fan_out(budget, memory(), memory(), spare) as store:
        budget.acquire(MINIMUM)
        entry = await send(store, "book", pattern(MIB))
        budget.release(MINIMUM)

        assert entry.notes == ()
        assert await read(spare.store, "book") == pattern(MIB)
