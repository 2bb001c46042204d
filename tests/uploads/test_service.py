"""The upload service: all files of an upload or none, one end, and truthful cancels."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sluiceway.errors import (
    BodyCut,
    Cancelled,
    DigestMismatch,
    Exists,
    PreconditionFailed,
    SluiceError,
    TooLarge,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import BytesSource, PassingSource, Source
from sluiceway.stores.contract import Entry, Replace, Store, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.states import State

Make = Callable[..., UploadService]


@pytest.fixture(params=["memory", "disk"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """A service on the reference store and on the real one."""
    made: list[Store] = []

    def build(**options: object) -> UploadService:
        budget = Budget(16 << 20)
        store: Store = (
            MemoryStore()
            if request.param == "memory"
            else DiskStore(str(tmp_path / "root"), budget)
        )
        made.append(store)
        return UploadService(store, budget, ProgressTable(), **options)  # type: ignore[arg-type]

    yield build
    for store in made:
        await store.aclose()
    assert not any((tmp_path / "root" / ".sluiceway" / "drafts").glob("*"))


async def keys(upload_service: UploadService) -> list[str]:
    return [entry.key for entry in (await upload_service.store.list()).entries]


def state(upload_service: UploadService, upload: str) -> tuple[str, str | None]:
    record = upload_service.progress_table.find(upload)
    assert record is not None
    return record.state.word, record.code


async def bring(
    upload_service: UploadService, *files: tuple[Source, UploadRequest], upload: str | None = None
) -> list[Entry]:
    """A whole upload."""
    async with upload_service.receive(upload) as incoming:
        for source, request in files:
            await incoming.take(source, request)
        return await incoming.publish()


def file(data: bytes, key: str, replace: Replace = Replace()) -> tuple[Source, UploadRequest]:
    return BytesSource(data), UploadRequest(filename=key, key=key, replace=replace)


async def endless(piece: bytes = b"x" * 1000) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0.001)


async def test_no_file_is_visible_before_all_have_arrived(make: Make) -> None:
    """Two files: neither is listed until publish; then both, with name, type and digest."""
    upload_service = make()
    async with upload_service.receive("u" * 22, 10) as incoming:
        await incoming.take(
            BytesSource(b"first"), UploadRequest(filename="a.txt", type="text/plain", key="a")
        )
        await incoming.take(BytesSource(b"second"), UploadRequest(filename="b.bin", key="b"))
        assert await keys(upload_service) == []
        assert state(upload_service, "u" * 22) == ("receiving", None)
        entries = await incoming.publish()

    assert await keys(upload_service) == ["a", "b"] == [entry.key for entry in entries]
    assert entries[0].metadata.sha256 == hashlib.sha256(b"first").hexdigest()
    assert (entries[0].metadata.filename, entries[0].metadata.type) == ("a.txt", "text/plain")
    assert state(upload_service, "u" * 22) == ("complete", None)


async def test_the_counters_end_where_they_should(make: Make) -> None:
    """received = forwarded = kept = the bytes of the file; kept is the last one."""
    upload_service = make()
    async with upload_service.receive("u" * 22, 6) as incoming:
        await incoming.take(BytesSource(b"abcdef"), UploadRequest(filename="a", key="a"))
        assert (incoming.record.received, incoming.record.forwarded, incoming.record.kept) == (
            6,
            6,
            0,
        )
        await incoming.publish()

    assert (incoming.record.received, incoming.record.forwarded, incoming.record.kept) == (6, 6, 6)


async def test_without_publish_nothing_remains(make: Make) -> None:
    """Leaving the block is the other ending: failed, no object, no draft."""
    upload_service = make()
    async with upload_service.receive("u" * 22) as incoming:
        await incoming.take(BytesSource(b"first"), UploadRequest(filename="a", key="a"))

    assert await keys(upload_service) == []
    assert state(upload_service, "u" * 22) == ("failed", None)


@pytest.mark.parametrize(
    ("length", "expected", "limit", "error"),
    [
        (7, {}, None, BodyCut),
        (None, {"sha-256": b"x" * 32}, None, DigestMismatch),
        (None, {}, 4, TooLarge),
    ],
)
async def test_a_failure_discards_the_files_before_it(
    make: Make,
    length: int | None,
    expected: dict[str, bytes],
    limit: int | None,
    error: type[SluiceError],
) -> None:
    """The second file is cut, wrong or too large: the first one is not published either."""
    upload_service = make(max_size=limit)
    second = (
        PassingSource(BytesSource(b"second").open(), length),
        UploadRequest(filename="b", key="b", expected=expected),
    )
    with pytest.raises(error):
        await bring(upload_service, file(b"one", "a"), second, upload="u" * 22)

    assert await keys(upload_service) == []
    assert state(upload_service, "u" * 22) == ("failed", error.code)


async def test_the_limit_is_for_all_files_together(make: Make) -> None:
    """Exactly the limit passes; the error names the whole of it."""
    upload_service = make(max_size=10)
    await bring(upload_service, file(b"12345", "a"), file(b"67890", "b"))
    with pytest.raises(TooLarge) as raised:
        await bring(upload_service, file(b"12345", "c"), file(b"678901", "d"))

    assert await keys(upload_service) == ["a", "b"]
    assert raised.value.members == {"limit": 10}


async def test_a_file_that_cannot_be_published_undoes_the_published_ones(make: Make) -> None:
    """Three files, the key of the last is taken: no new file remains, the old one is unchanged."""
    upload_service = make()
    await bring(upload_service, file(b"old", "c"))
    with pytest.raises(Exists):
        await bring(
            upload_service, *(file(b"new!", key) for key in ("a", "b", "c")), upload="u" * 22
        )

    assert await keys(upload_service) == ["c"]
    assert (await upload_service.store.stat("c")).size == 3
    assert state(upload_service, "u" * 22) == ("failed", "exists")


async def test_a_version_that_changed_meanwhile_is_not_replaced(make: Make) -> None:
    """The condition is checked at the end once more, not only at the start."""
    upload_service = make()
    (first,) = await bring(upload_service, file(b"one", "a"))
    only_that = Replace(allowed=True, etag=first.etag)

    async def slow() -> AsyncIterator[bytes]:
        yield b"la"
        await bring(upload_service, file(b"quick", "a", only_that))
        yield b"te"

    with pytest.raises(PreconditionFailed):
        await bring(
            upload_service,
            (PassingSource(slow()), UploadRequest(filename="a", key="a", replace=only_that)),
        )

    assert (await upload_service.store.stat("a")).size == len(b"quick")


async def test_the_template_makes_the_key(make: Make) -> None:
    """Where the client named no key."""
    upload_service = make(template=KeyTemplate("in/{filename}"))
    (entry,) = await bring(upload_service, (BytesSource(b"x"), UploadRequest(filename="a.txt")))

    assert entry.key == "in/a.txt"


async def test_a_cancelled_upload_ends_at_once(make: Make) -> None:
    """The handler gets Cancelled, nothing remains, and the task itself goes on."""
    upload_service = make()
    began = asyncio.Event()

    async def upload() -> str:
        try:
            async with upload_service.receive("u" * 22) as incoming:
                began.set()
                await incoming.take(PassingSource(endless()), UploadRequest(filename="a", key="a"))
        except Cancelled:
            await asyncio.sleep(0)  # a response can still be sent
            return "answered"
        return "never"

    task = asyncio.create_task(upload())
    await began.wait()
    await asyncio.sleep(0.05)

    assert upload_service.cancel("u" * 22)
    assert await task == "answered"
    assert not task.cancelled()
    assert state(upload_service, "u" * 22) == ("cancelled", "cancelled")
    assert await keys(upload_service) == []
    assert not upload_service.cancel("u" * 22)
    assert not upload_service.cancel("nobody knows it")


async def test_a_cancel_from_elsewhere_is_seen_soon(make: Make) -> None:
    """Another process can only set a mark in the table; the upload service looks for it."""
    upload_service = make()

    task = asyncio.create_task(
        bring(
            upload_service,
            (PassingSource(endless()), UploadRequest(filename="a", key="a")),
            upload="u" * 22,
        )
    )
    while (record := upload_service.progress_table.find("u" * 22)) is None or record.received == 0:
        await asyncio.sleep(0)
    record.cancel_asked = True
    with pytest.raises(Cancelled):
        await asyncio.wait_for(task, 10)

    assert await keys(upload_service) == []


@pytest.mark.parametrize("moment", range(12))
async def test_a_cancel_while_publishing_is_reported_truthfully(make: Make, moment: int) -> None:
    """Cancelled between any two steps of publishing: it is cancelled and empty, or complete."""
    upload_service = make()

    task = asyncio.create_task(
        bring(upload_service, *(file(b"data", key) for key in ("a", "b", "c")), upload="u" * 22)
    )
    while (
        record := upload_service.progress_table.find("u" * 22)
    ) is None or record.state is State.RECEIVING:
        await asyncio.sleep(0)
    for _ in range(moment):
        await asyncio.sleep(0.0002)
    upload_service.cancel("u" * 22)
    try:
        await task
    except Cancelled:
        assert await keys(upload_service) == []
        assert state(upload_service, "u" * 22) == ("cancelled", "cancelled")
    else:
        assert await keys(upload_service) == ["a", "b", "c"]
        assert state(upload_service, "u" * 22) == ("complete", None)


async def test_an_id_belongs_to_one_upload(make: Make) -> None:
    """While the upload is under way and when it has just ended."""
    upload_service = make()
    async with upload_service.receive("u" * 22):
        with pytest.raises(Exists):
            upload_service.receive("u" * 22)
    with pytest.raises(Exists):
        upload_service.receive("u" * 22)
