"""The engine between any source and any target: one object's trouble is reported for it alone."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import sluiceway
from copying.engine_sides import ONCE, UnreliableSource, bytes_of, ran, stocked, target_of
from sluiceway.client.http.transport import Transport
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import SMALL, CopyItem, Reading
from sluiceway.copying.endpoints.folder import FolderTarget
from sluiceway.copying.endpoints.http_target import HttpTarget
from sluiceway.copying.endpoints.store import PAGE, StoreSource
from sluiceway.copying.endpoints.store_target import StoreTarget
from sluiceway.copying.engine import AHEAD, LARGE_AT_ONCE, SMALL_AT_ONCE, CopyEngine
from sluiceway.copying.filters import KeyFilter
from sluiceway.copying.object_copier import CopyRules
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import (
    PeerFailed,
    PeerUnreachable,
    SourceChanged,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import BytesSource, PassingSource
from sluiceway.stores.contract import Metadata
from sluiceway.stores.memory import MemoryStore


class Passing:
    """A source that can be read only once, like an archive."""

    rereadable = False
    display_name = "archive"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.now: str | None = None

    async def items(self) -> AsyncIterator[CopyItem]:
        for key, data in self._objects.items():
            self.now = key
            yield CopyItem(key, len(data))

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        assert item.key == self.now
        self.now = None

        async def chunks() -> AsyncIterator[bytes]:
            yield self._objects[item.key]

        yield Reading(item, PassingSource(chunks(), item.size), Metadata(item.key))

    async def aclose(self) -> None: ...


async def test_metadata_is_copied_with_the_object() -> None:
    """Name and type of the source, the counted sha-256, the key below the target's prefix."""
    store = MemoryStore()
    report, _ = await ran(
        StoreSource(stocked({"x/a/b.txt": b"1", "y": b"2"}), "x/", "o", ONCE),
        target_of(store, "new/"),
    )

    assert report.ok
    assert [key for key in store.objects] == ["new/a/b.txt"]  # noqa: C416 - compares keys
    metadata = store.objects["new/a/b.txt"][0].metadata
    assert metadata == Metadata("b.txt", "text/x", (("sha-256", hashlib.sha256(b"1").hexdigest()),))


async def test_a_listing_longer_than_the_queue_is_copied() -> None:
    objects = {f"{n:05}": b"%d" % n for n in range(AHEAD + 2 * PAGE + 7)}
    store = MemoryStore()
    report, ended = await ran(StoreSource(stocked(objects), "", "o", ONCE), target_of(store))

    assert report.copied == len(objects) == len(ended)
    assert bytes_of(store) == objects


async def test_an_object_changed_since_the_listing_is_read_again() -> None:
    """Once; an object that changes again is reported."""
    store, to = stocked({"a": b"old", "b": b"old"}), MemoryStore()
    items = [item async for item in StoreSource(store, "", "o", ONCE).items()]
    store.objects |= stocked({"a": b"newer", "b": b"newer"}).objects

    class Listed(UnreliableSource):
        async def items(self) -> AsyncIterator[CopyItem]:
            for item in items:
                yield item

    source = Listed(store, b=[SourceChanged("again")] * 9)
    report, ended = await ran(source, target_of(to))

    assert (report.copied, report.failed) == (1, 1)
    assert ended["b"].code == "source-changed"
    assert bytes_of(to) == {"a": b"newer"}


async def test_an_object_that_is_gone_is_reported() -> None:
    store = stocked({"a": b"1", "b": b"2"})
    items = [item async for item in StoreSource(store, "", "o", ONCE).items()]
    del store.objects["a"]

    class Listed(StoreSource):
        async def items(self) -> AsyncIterator[CopyItem]:
            for item in items:
                yield item

    report, ended = await ran(Listed(store, "", "o", ONCE), target_of(MemoryStore()))

    assert (report.copied, ended["a"].code) == (1, "not-found")


async def test_bytes_with_another_digest_are_never_kept() -> None:
    store = stocked({"a": b"right"})
    entry, _ = store.objects["a"]
    store.objects["a"] = entry, b"wrong"
    to = MemoryStore()
    report, ended = await ran(StoreSource(store, "", "o", ONCE), target_of(to), retries=1)

    assert (ended["a"].code, ended["a"].attempts) == ("digest-mismatch", 2)
    assert report.failed == 1
    assert bytes_of(to) == {}


@pytest.mark.parametrize("known_here", [True, False])
@pytest.mark.parametrize("known_there", [True, False])
async def test_equal_objects_are_skipped_whichever_side_knows_the_digest(
    known_here: bool, known_there: bool
) -> None:
    """An unknown digest is counted; an equal size alone is not enough."""
    source = StoreSource(stocked({"a": b"same", "b": b"this"}, known_here), "", "o", ONCE)
    store = stocked({"a": b"same", "b": b"that"}, known_there)
    report, ended = await ran(source, target_of(store))

    assert (report.skipped, report.failed, ended["b"].code) == (1, 1, "exists")
    assert bytes_of(store) == {"a": b"same", "b": b"that"}
    report, _ = await ran(source, target_of(store), force=True)
    assert (report.copied, report.skipped) == (1, 1)
    assert bytes_of(store) == {"a": b"same", "b": b"this"}


async def test_an_object_that_appears_meanwhile_is_compared() -> None:
    """The target was empty; then equal and different objects appeared."""

    class Raced(StoreTarget):
        async def empty(self) -> bool:
            return True

    store = stocked({"a": b"same", "b": b"that"})
    report, ended = await ran(
        StoreSource(stocked({"a": b"same", "b": b"this"}), "", "o", ONCE),
        Raced(store, "", "target/", Budget(16 << 20)),
    )

    assert (report.skipped, report.failed, ended["b"].code) == (1, 1, "exists")


async def test_a_publish_whose_response_is_lost_is_not_repeated() -> None:
    class Losing(StoreTarget):
        puts = 0

        async def put(
            self, key: str, reading: Reading, once: str, replace: bool
        ) -> sluiceway.Receipt:
            receipt = await super().put(key, reading, once, replace)
            self.puts += 1
            raise PeerFailed(f"the connection broke after {receipt.size} bytes")

    target = Losing(store := MemoryStore(), "", "target/", Budget(16 << 20))
    report, ended = await ran(StoreSource(stocked({"a": b"1"}), "", "o", ONCE), target)

    assert (report.copied, report.ok, target.puts) == (1, True, 1)
    assert (ended["a"].state, ended["a"].attempts) == ("copied", 2)
    assert bytes_of(store) == {"a": b"1"}


async def test_a_source_readable_once_is_copied_one_by_one() -> None:
    """Never two at once; an object that failed after it was opened is not opened again."""
    store = stocked({"taken": b"other"})
    report, ended = await ran(Passing({"a": b"1", "taken": b"2", "b": b"3"}), target_of(store))

    assert (report.copied, ended["taken"].code) == (2, "exists")
    assert bytes_of(store) == {"a": b"1", "taken": b"other", "b": b"3"}
    report, _ = await ran(Passing({"a": b"1", "taken": b"2", "b": b"x"}), target_of(store))
    assert (report.skipped, report.failed) == (1, 2)
    report, _ = await ran(Passing({"a": b"1", "taken": b"2"}), target_of(store), force=True)
    assert bytes_of(store) == {"a": b"1", "taken": b"2", "b": b"3"}


async def test_keys_that_lead_out_fail_and_never_become_paths(tmp_path: Path) -> None:
    bad = [
        "../up",
        "/abs",
        "a//b",
        "a/./b",
        "a/../b",
        "folder/",
        ".sluiceway/x",
        "nul\0",
        "bad\udcff",
    ]
    source = StoreSource(stocked({**dict.fromkeys(bad, b"x"), "good": b"1"}), "", "o", ONCE)
    report, ended = await ran(source, FolderTarget(str(tmp_path / "to")))

    assert (report.failed, report.copied, report.left_out) == (len(bad), 1, 0)
    assert {(ended[key].state, ended[key].code) for key in bad} == {("failed", "bad-name")}
    assert [path.name for path in tmp_path.rglob("*")] == ["to", "good"]
    for key in bad:
        with pytest.raises(sluiceway.SluiceError):
            await FolderTarget(str(tmp_path / "to")).put(
                key, Reading(CopyItem(key, 1), BytesSource(b"x"), Metadata(key)), "", True
            )


async def test_a_listing_that_breaks_off_is_an_error_after_its_objects_are_copied() -> None:
    class Half(StoreSource):
        async def items(self) -> AsyncIterator[CopyItem]:
            async for item in super().items():
                yield item
            raise PeerFailed("the listing broke")

    store, looks = MemoryStore(), list[sluiceway.Overall]()
    run = CopyEngine(
        Half(stocked({"a": b"1", "b": b"2"}), "", "o", ONCE),
        target_of(store),
        CopyRules(ONCE),
        on_overall=looks.append,
    )
    with pytest.raises(PeerFailed, match="the listing broke"):
        await run.run()

    assert bytes_of(store) == {"a": b"1", "b": b"2"}
    report = looks[-1].report
    assert report is not None
    assert (report.copied, report.complete, report.ok) == (2, False, False)


async def test_an_unreachable_target_ends_the_copy(tmp_path: Path) -> None:
    """A million objects are not each retried for minutes: after twenty in a row the copy ends."""
    objects = {f"{n:05}": b"x" for n in range(500)}
    looks = list[sluiceway.Overall]()
    side = RemoteServer(f"http://127.0.0.1:{free()}/", {})
    async with Transport() as transport:
        run = CopyEngine(
            StoreSource(stocked(objects), "", "o", ONCE),
            HttpTarget(transport, side),
            CopyRules(RetryPolicy(2, 0.002)),
            on_overall=looks.append,
        )
        with pytest.raises(PeerUnreachable, match="20 objects in a row"):
            await run.run()

    report = looks[-1].report
    assert report is not None
    assert 20 <= report.failed < 30
    assert not report.complete


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def test_cancelling_ends_the_objects_under_way() -> None:
    """No task continues, no partial object exists, and the last progress has the report."""

    class Slow(StoreSource):
        @asynccontextmanager
        async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
            async with super().open(item) as reading:
                if item.key != "a":
                    await asyncio.sleep(3600)
                yield reading

    store, looks, before = MemoryStore(), list[sluiceway.Overall](), asyncio.all_tasks()
    source = Slow(stocked({"a": b"1", "b": b"2", "c": b"3"}), "", "o", ONCE)
    task = asyncio.create_task(
        CopyEngine(
            source, target_of(store), CopyRules(ONCE), KeyFilter(), None, 4, looks.append
        ).run()
    )
    while not bytes_of(store):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert asyncio.all_tasks() == before
    assert bytes_of(store) == {"a": b"1"}
    assert store.drafts == {}
    report = looks[-1].report
    assert report is not None
    assert (report.copied, report.complete) == (1, False)


@pytest.mark.parametrize(
    ("size", "jobs", "most"),
    [(SMALL, None, SMALL_AT_ONCE), (SMALL + 1, None, LARGE_AT_ONCE), (SMALL, 3, 3), (0, 40, 40)],
)
async def test_more_small_objects_than_large_ones_are_under_way(
    size: int, jobs: int | None, most: int
) -> None:
    """Beginning with few; a number that was asked for holds for all."""
    store, now, highest = stocked({f"{n:03}": bytes(size) for n in range(200)}), 0, 0

    class Counted(StoreSource):
        @asynccontextmanager
        async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
            nonlocal now, highest
            now += 1
            highest = max(highest, now)
            await asyncio.sleep(0.001)
            async with super().open(item) as reading:
                yield reading
            now -= 1

    source, target = Counted(store, "", "o", ONCE), target_of(MemoryStore())
    report = await CopyEngine(source, target, CopyRules(ONCE), jobs=jobs).run()

    assert (report.copied, highest) == (200, most)
