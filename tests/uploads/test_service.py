"""The desk: all files of an upload or none, one end, and whoever cancels is told the truth."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sluiceway.errors import BodyCut, Cancelled, DigestMismatch, Exists, PreconditionFailed, SluiceError, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import BytesSource, PassingSource, Source
from sluiceway.stores.contract import Entry, Replace, Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import Board
from sluiceway.uploads.service import Desk, Wish
from sluiceway.uploads.states import State

Make = Callable[..., Desk]


@pytest.fixture(params=["memory", "disk"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """A desk on the reference store and on the real one."""
    made: list[Store] = []

    def build(**options: object) -> Desk:
        budget = Budget(16 << 20)
        store: Store = MemoryStore() if request.param == "memory" else DiskStore(str(tmp_path / "root"), budget)
        made.append(store)
        return Desk(store, budget, Board(), **options)  # type: ignore[arg-type]

    yield build
    for store in made:
        await store.aclose()
    assert not any((tmp_path / "root" / ".sluiceway" / "drafts").glob("*"))


async def keys(desk: Desk) -> list[str]:
    return [entry.key for entry in (await desk.store.list()).entries]


def state(desk: Desk, upload: str) -> tuple[str, str | None]:
    slot = desk.board.find(upload)
    assert slot is not None
    return slot.state.word, slot.code


async def bring(desk: Desk, *files: tuple[Source, Wish], upload: str | None = None) -> list[Entry]:
    """A whole upload."""
    async with desk.receive(upload) as incoming:
        for source, wish in files:
            await incoming.take(source, wish)
        return await incoming.publish()


def file(data: bytes, key: str, replace: Replace = Replace()) -> tuple[Source, Wish]:
    return BytesSource(data), Wish(key, key=key, replace=replace)


async def endless(piece: bytes = b"x" * 1000) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0.001)


async def test_nothing_is_seen_before_everything_has_come(make: Make) -> None:
    """Two files: neither is listed until publish; then both, with name, type and digest."""
    desk = make()
    async with desk.receive("u" * 22, 10) as incoming:
        await incoming.take(BytesSource(b"first"), Wish("a.txt", "text/plain", key="a"))
        await incoming.take(BytesSource(b"second"), Wish("b.bin", key="b"))
        assert await keys(desk) == []
        assert state(desk, "u" * 22) == ("receiving", None)
        entries = await incoming.publish()

    assert await keys(desk) == ["a", "b"] == [entry.key for entry in entries]
    assert entries[0].about.sha256 == hashlib.sha256(b"first").hexdigest()
    assert (entries[0].about.filename, entries[0].about.type) == ("a.txt", "text/plain")
    assert state(desk, "u" * 22) == ("complete", None)


async def test_the_counters_end_where_they_should(make: Make) -> None:
    """received = forwarded = kept = the bytes of the file, kept never before."""
    desk = make()
    async with desk.receive("u" * 22, 6) as incoming:
        await incoming.take(BytesSource(b"abcdef"), Wish("a", key="a"))
        assert (incoming.slot.received, incoming.slot.forwarded, incoming.slot.kept) == (6, 6, 0)
        await incoming.publish()

    assert (incoming.slot.received, incoming.slot.forwarded, incoming.slot.kept) == (6, 6, 6)


async def test_without_publish_nothing_stays(make: Make) -> None:
    """Leaving the block is the other ending: failed, no object, no draft."""
    desk = make()
    async with desk.receive("u" * 22) as incoming:
        await incoming.take(BytesSource(b"first"), Wish("a", key="a"))

    assert await keys(desk) == []
    assert state(desk, "u" * 22) == ("failed", None)


@pytest.mark.parametrize(
    ("length", "expected", "limit", "error"),
    [(7, {}, None, BodyCut), (None, {"sha-256": b"x" * 32}, None, DigestMismatch), (None, {}, 4, TooLarge)],
)
async def test_a_failure_takes_the_files_before_it_along(
    make: Make, length: int | None, expected: dict[str, bytes], limit: int | None, error: type[SluiceError]
) -> None:
    """The second file is cut, wrong or too large: the first, whole as it is, is not published either."""
    desk = make(max_size=limit)
    second = PassingSource(BytesSource(b"second").open(), length), Wish("b", key="b", expected=expected)
    with pytest.raises(error):
        await bring(desk, file(b"one", "a"), second, upload="u" * 22)

    assert await keys(desk) == []
    assert state(desk, "u" * 22) == ("failed", error.code)


async def test_the_limit_is_for_all_files_together(make: Make) -> None:
    """Exactly the limit passes; the error names the whole of it."""
    desk = make(max_size=10)
    await bring(desk, file(b"12345", "a"), file(b"67890", "b"))
    with pytest.raises(TooLarge) as raised:
        await bring(desk, file(b"12345", "c"), file(b"678901", "d"))

    assert await keys(desk) == ["a", "b"]
    assert raised.value.members == {"limit": 10}


async def test_a_file_that_cannot_be_published_takes_the_published_ones_back(make: Make) -> None:
    """Three files, the key of the last is taken: none of the new ones stays, the old one is untouched."""
    desk = make()
    await bring(desk, file(b"old", "c"))
    with pytest.raises(Exists):
        await bring(desk, *(file(b"new!", key) for key in ("a", "b", "c")), upload="u" * 22)

    assert await keys(desk) == ["c"]
    assert (await desk.store.stat("c")).size == 3
    assert state(desk, "u" * 22) == ("failed", "exists")


async def test_a_version_that_changed_meanwhile_is_not_replaced(make: Make) -> None:
    """The condition is checked at the end once more, not only at the door."""
    desk = make()
    (first,) = await bring(desk, file(b"one", "a"))
    only_that = Replace(allowed=True, etag=first.etag)

    async def slow() -> AsyncIterator[bytes]:
        yield b"la"
        await bring(desk, file(b"quick", "a", only_that))
        yield b"te"

    with pytest.raises(PreconditionFailed):
        await bring(desk, (PassingSource(slow()), Wish("a", key="a", replace=only_that)))

    assert (await desk.store.stat("a")).size == len(b"quick")


async def test_the_template_makes_the_key(make: Make) -> None:
    """Where the client named none."""
    desk = make(template=KeyTemplate("in/{filename}"))
    (entry,) = await bring(desk, (BytesSource(b"x"), Wish("a.txt")))

    assert entry.key == "in/a.txt"


async def test_a_cancelled_upload_ends_where_it_stands(make: Make) -> None:
    """While bytes come: the handler sees Cancelled, nothing stays, and the task itself goes on living."""
    desk = make()
    began = asyncio.Event()

    async def upload() -> str:
        try:
            async with desk.receive("u" * 22) as incoming:
                began.set()
                await incoming.take(PassingSource(endless()), Wish("a", key="a"))
        except Cancelled:
            await asyncio.sleep(0)  # an answer can still be sent
            return "told"
        return "never"

    task = asyncio.create_task(upload())
    await began.wait()
    await asyncio.sleep(0.05)

    assert desk.cancel("u" * 22)
    assert await task == "told"
    assert not task.cancelled()
    assert state(desk, "u" * 22) == ("cancelled", "cancelled")
    assert await keys(desk) == []
    assert not desk.cancel("u" * 22)
    assert not desk.cancel("nobody knows it")


async def test_a_cancel_from_elsewhere_is_seen_soon(make: Make) -> None:
    """Another process can only leave a mark on the board; the desk looks for it."""
    desk = make()

    task = asyncio.create_task(bring(desk, (PassingSource(endless()), Wish("a", key="a")), upload="u" * 22))
    while (slot := desk.board.find("u" * 22)) is None or slot.received == 0:
        await asyncio.sleep(0)
    slot.ask_cancel()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(task, 10)

    assert await keys(desk) == []


@pytest.mark.parametrize("moment", range(12))
async def test_a_cancel_while_publishing_tells_the_truth(make: Make, moment: int) -> None:
    """Cancelled between any two steps of publishing: either it was told cancelled and nothing is there, or all is there."""
    desk = make()

    task = asyncio.create_task(bring(desk, *(file(b"data", key) for key in ("a", "b", "c")), upload="u" * 22))
    while (slot := desk.board.find("u" * 22)) is None or slot.state is State.RECEIVING:
        await asyncio.sleep(0)
    for _ in range(moment):
        await asyncio.sleep(0.0002)
    desk.cancel("u" * 22)
    try:
        await task
    except Cancelled:
        assert await keys(desk) == []
        assert state(desk, "u" * 22) == ("cancelled", "cancelled")
    else:
        assert await keys(desk) == ["a", "b", "c"]
        assert state(desk, "u" * 22) == ("complete", None)


async def test_an_id_is_for_one_upload(make: Make) -> None:
    """While it lives and when it has just ended."""
    desk = make()
    async with desk.receive("u" * 22):
        with pytest.raises(Exists):
            desk.receive("u" * 22)
    with pytest.raises(Exists):
        desk.receive("u" * 22)
