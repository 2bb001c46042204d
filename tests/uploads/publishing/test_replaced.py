"""What a refused upload had replaced already is there again, or the new file stays: no key is lost.

Of every kind of store. A second file whose key is taken refuses a form; an app refuses both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import permutations
from pathlib import Path

import pytest

from fix_filesystems import Mount, fill
from fix_postgres import Database
from fix_s3 import Objects
from sluiceway.errors import Exists, UploadRefused
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.pipe.source import BytesSource
from sluiceway.stores.contract import Entry, Metadata, Replace, Store, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.stores.keys.locks import KeyLocks
from sluiceway.stores.keys.machine_locks import MachineLocks
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import read, store_bytes
from sluiceway.uploads.hooks.around import KeptUpload
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService

OLD = Metadata("old.txt", "text/plain")
ALLOWED = Replace(allowed=True)


class Refuses:
    """An app around the service that refuses what is published."""

    asks_kept, asks_published = False, True

    async def start(
        self, upload: str, wanted: UploadRequest, size: int | None, part: bool = False
    ) -> UploadRequest:
        return wanted

    async def kept(self, kept: KeptUpload) -> None: ...

    async def published(self, entry: Entry) -> None:
        raise UploadRefused("Not this one", 422)


class RefusesLater(Refuses):
    """Refuses when `meanwhile` is done, or still waits after a moment for this upload's end."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._meanwhile = meanwhile

    async def published(self, entry: Entry) -> None:
        await asyncio.wait([asyncio.ensure_future(self._meanwhile())], timeout=0.05)
        await super().published(entry)


async def stores(
    kind: str, folder: Path, budget: Budget, request: pytest.FixtureRequest
) -> tuple[Store, list[Store]]:
    """A store, and those in which its objects are."""
    if kind == "memory":
        one: Store = MemoryStore()
    elif kind == "postgresql":
        database: Database = request.getfixturevalue("database")
        one = tables = PostgresStore(f"{database.url}&table={database.fresh()}", budget)
        await tables.init()
    elif kind == "s3":
        s3: Objects = request.getfixturevalue("s3")
        one = ObjectStore(s3.url(s3.fresh(), "p"), budget, s3.options)
    elif kind == "sqlite":
        one = SqliteStore(f"sqlite:///{folder / 'files.db'}", budget)
    elif kind == "fsspec":
        one = FsspecStore(f"fsspec+memory://{folder}", budget)
    elif kind == "fan-out":
        several: list[Store] = [
            MemoryStore(),
            *(DiskStore(str(folder / each), budget) for each in "ab"),
        ]
        parts = [Destination(each, each is not several[2], str(each)) for each in several]
        return FanoutStore(parts, budget), several
    else:
        one = DiskStore(str(folder), budget)
    return one, [one]


KINDS = ["disk", "memory", "sqlite", "fan-out", "fsspec"]
FAR = [pytest.param(kind, marks=pytest.mark.torture) for kind in ("postgresql", "s3")]


@pytest.fixture(params=[*KINDS, *FAR])
async def there(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[UploadService, list[Store]]]:
    budget = Budget(32 << 20)
    store, each = await stores(request.param, tmp_path, budget, request)
    yield UploadService(store, budget, ProgressTable(), undo_locks=machine_locks(tmp_path)), each
    await store.aclose()
    assert budget.used == 0
    assert not [*tmp_path.rglob("drafts/*")]


def machine_locks(folder: Path) -> KeyLocks | None:
    """Those of one process; each call is another one."""
    return MachineLocks(str(folder / ".sluiceway/undo")) if HAS_LOCKS else None


async def send(
    upload_service: UploadService, *files: tuple[str, Replace], app: bool | Refuses
) -> None:
    async with upload_service.receive(None) as incoming:
        incoming.app = Refuses() if app is True else app or None
        for key, replace in files:
            request = UploadRequest(filename=key, key=key, replace=replace)
            await incoming.take(BytesSource(b"new"), request)
        await incoming.publish()


async def test_a_form_that_is_refused_leaves_what_it_replaced(
    there: tuple[UploadService, list[Store]],
) -> None:
    """The second key is taken: the first one has its old bytes, name and type everywhere."""
    upload_service, each = there
    for key in ("a", "taken"):
        await store_bytes(upload_service.store, key, b"old", OLD)
    with pytest.raises(Exists) as raised:
        await send(upload_service, ("a", ALLOWED), ("b", ALLOWED), ("taken", Replace()), app=False)

    assert raised.value.members == {"key": "taken"}
    for store in each:
        assert [entry.key for entry in (await store.list()).entries] == ["a", "taken"]
        assert await read(store, "a") == b"old"
        assert (await store.stat("a")).metadata == OLD


async def test_what_an_app_refuses_leaves_what_it_replaced(
    there: tuple[UploadService, list[Store]],
) -> None:
    """One key twice, and one that was free. What no store can give back is named, and stays."""
    upload_service, each = there
    await store_bytes(upload_service.store, "a", b"old", OLD)
    again = [("a", ALLOWED)] * (len(each) == 1)
    with pytest.raises(UploadRefused) as raised:
        await send(upload_service, ("a", ALLOWED), ("b", ALLOWED), *again, app=True)

    comes_back = upload_service.store.traits.stable_reads
    stays = [] if comes_back else ["a", "a"]
    assert raised.value.members.get("already_taken", []) == stays
    assert raised.value.detail.startswith("Not this one" + ("" if comes_back else "; a file that"))
    for store in each:
        assert [entry.key for entry in (await store.list()).entries] == ["a"]
        assert await read(store, "a") == (b"old" if comes_back else b"new")


@pytest.mark.parametrize("first", [True, False], ids=["first-ends-first", "second-ends-first"])
async def test_two_that_overlap_and_are_refused_leave_what_was_there(
    there: tuple[UploadService, list[Store]], tmp_path: Path, first: bool
) -> None:
    """The second one, of another process, waits: else its undo put the first one back, or that of
    the first found it."""
    upload_service, each = there
    if not upload_service.store.traits.stable_reads:
        pytest.skip("nothing comes back here")
    other = upload_service
    if HAS_LOCKS:
        locks = machine_locks(tmp_path)
        other = UploadService(other.store, other.budget, other.progress_table, undo_locks=locks)
    await store_bytes(upload_service.store, "a", b"old", OLD)
    asked, refused = asyncio.Event(), asyncio.Event()

    class Second(Refuses):
        async def published(self, entry: Entry) -> None:
            asked.set()
            if first:
                await refused.wait()
            await super().published(entry)

    async def begin() -> None:
        others.append(
            asyncio.ensure_future(send(other, ("a", ALLOWED), ("b", ALLOWED), app=Second()))
        )
        await asyncio.wait([asyncio.ensure_future(asked.wait()) if first else others[0]])

    others: list[asyncio.Future[None]] = []
    with pytest.raises(UploadRefused):
        await send(upload_service, ("b", ALLOWED), ("a", ALLOWED), app=RefusesLater(begin))
    refused.set()
    with pytest.raises(UploadRefused):
        await others[0]

    for store in each:
        assert [entry.key for entry in (await store.list()).entries] == ["a"]
        assert await read(store, "a") == b"old"
    assert (upload_service.rules.undo_locks.count, other.rules.undo_locks.count) == (0, 0)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
@pytest.mark.parametrize("was_there", [True, False], ids=["replaced", "new"])
async def test_a_folder_takes_back_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, was_there: bool
) -> None:
    """Three publishes of one key, without a lock of it: what was there first is there at last."""
    if not links:
        monkeypatch.setattr(os, "link", _no_link(os.link))
    store = DiskStore(str(tmp_path), Budget(16 << 20))
    old = await store_bytes(store, "a", b"old", OLD) if was_there else None
    for order in permutations(range(3)):
        drafts = []
        for number in range(3):
            drafts.append(await store.draft(f"u{number}", None))
            await drafts[-1].write(b"%d" % number)
            store.keep_replaced(drafts[-1])
            await drafts[-1].publish("a", Metadata("new"), ALLOWED)
        for number in order:
            assert await store.take_back(drafts[number])
            await store.let_go(drafts[number])

        assert (await store.list()).entries == ([old] if old else [])
        assert not old or await read(store, "a") == b"old"
    await store.aclose()
    assert not [*tmp_path.rglob("drafts/*")]


@pytest.mark.root
@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
async def test_a_full_disk_puts_back_what_was_replaced(
    tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """It needs no room, with hard links and by an exchange of names."""
    if not links:
        monkeypatch.setattr(os, "link", _no_link(os.link))
    full = mount("tmpfs", tmp_path / "full", "size=4m")
    store = DiskStore(str(full / "files"), Budget(16 << 20))
    old = await store_bytes(store, "a", b"old" * 9000, OLD)
    draft = await store.draft("u", None)
    await draft.write(b"new")
    store.keep_replaced(draft)
    await draft.publish("a", Metadata("new"), ALLOWED)
    fill(full)

    assert await read(store, "a") == b"new"
    assert await store.take_back(draft)
    assert await store.stat("a") == old
    assert await read(store, "a") == b"old" * 9000
    await store.let_go(draft)
    await store.aclose()
    assert not [*full.rglob("drafts/*")]


def _no_link(link: Callable[..., None]) -> Callable[..., None]:
    """As on a file system without hard links: for what is there, not for the new file."""

    def refuse(name: str, *rest: object, **more: object) -> None:
        if name == "a":
            raise PermissionError
        link(name, *rest, **more)

    return refuse
