"""Uploads to several destinations that outlive their process: one offset, and copies afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from fix_s3 import Objects
from sluiceway.errors import Exists, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import CRC64NVME, digest_of
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.fanout.lasting import LastingFanout
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.unpublished import SavedDraft
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.fanout.destinations import LIMIT, disk, fan_out, memory, put

MIB = 1 << 20
DATA = pattern(7 * MIB)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def keep(store: FanoutStore, upload: str, data: bytes) -> SavedDraft:
    """Begin an upload, and stop in the middle as a process does that ends."""
    draft = await store.begin(upload, len(DATA), put("tape", Replace()))
    await draft.write(data)
    assert await draft.sync() == draft.kept == len(data)
    saved = draft.save()
    draft.saved()
    await draft.write(bytes(1000))
    await draft.suspend()
    return saved


async def test_a_bucket_and_a_folder_are_taken_up_at_one_offset(
    s3: Objects, tmp_path: Path
) -> None:
    """What one of them got further is forgotten; both have the same bytes in the end."""
    budget, bucket = Budget(LIMIT), s3.fresh()
    place = ObjectStore(s3.url(bucket), budget, s3.options)
    async with fan_out(budget, Destination(place, True, "s3:"), disk(tmp_path, budget)) as store:
        assert store.traits.resumable
        saved = await keep(store, "one", DATA[: 6 * MIB])
        request = put("tape", Replace())
        draft = await store.resume("one", saved, 6 * MIB, len(DATA), request, 1)
        assert isinstance(draft, LastingFanout)
        assert (draft.written, draft.kept) == (6 * MIB, 6 * MIB)
        await draft.write(DATA[6 * MIB :])
        assert await draft.known_digests() == {CRC64NVME: digest_of(CRC64NVME, DATA)}
        assert await draft.read(6 * MIB - 10, 20) == DATA[6 * MIB - 10 : 6 * MIB + 10]
        await draft.publish("tape", Metadata("tape"))
        for each in store.required_stores:
            assert await read(each, "tape") == DATA
    assert s3.keys(bucket) == ["tape"]
    assert s3.unfinished(bucket) == []


async def test_a_best_effort_destination_gets_its_copy_when_the_file_is_whole(
    tmp_path: Path,
) -> None:
    """It has nothing before; one that refuses is named, and the upload succeeds."""
    budget = Budget(LIMIT)
    copy, full = disk(tmp_path / "copy", budget, required=False), memory(required=False)
    await store_bytes(full.store, "tape", b"older")
    async with fan_out(budget, disk(tmp_path / "front", budget), copy, full) as store:
        saved = await keep(store, "one", DATA[:MIB])
        draft = await store.resume("one", saved, MIB, len(DATA), put("tape", Replace()), 1)
        await draft.write(DATA[MIB:])
        entry = await draft.publish("tape", Metadata("tape"))
        assert await read(copy.store, "tape") == DATA
        assert await read(full.store, "tape") == b"older"
    assert [(one.required, one.note is None) for one in entry.copies] == [
        (True, True),
        (False, True),
        (False, False),
    ]


async def test_a_process_that_died_between_two_destinations_is_finished(tmp_path: Path) -> None:
    """The front has the object: the other one publishes its draft, and both have it."""
    budget = Budget(LIMIT)
    async with fan_out(budget, disk(tmp_path / "a", budget), disk(tmp_path / "b", budget)) as store:
        draft = await store.begin("one", len(DATA), put("tape", Replace()))
        assert isinstance(draft, LastingFanout)
        await draft.write(DATA)
        await draft.sync()
        saved = draft.save()
        front, other = draft._required
        await front.draft.publish("tape", Metadata("tape"))
        await draft.suspend()
        found = await store.find_published("one", saved, "tape")
        assert found is not None
        assert await read(other.store, "tape") == DATA
        again = await store.find_published("one", saved, "tape")
        assert again is not None
        assert again.etag == found.etag
        assert (await other.store.stat("tape")).size == len(DATA)


async def test_a_draft_belongs_to_the_destinations_that_it_was_begun_with(tmp_path: Path) -> None:
    budget = Budget(LIMIT)
    async with fan_out(budget, disk(tmp_path / "a", budget), disk(tmp_path / "b", budget)) as store:
        saved = await keep(store, "one", b"bytes")
    async with fan_out(budget, disk(tmp_path / "a", budget)) as fewer:
        with pytest.raises(StoreFailed, match="2 destinations, and there are 1 now"):
            await fewer.resume("one", saved, 5, None, put("tape", Replace()), 1)


async def test_a_taken_name_at_one_destination_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    budget = Budget(LIMIT)
    other = disk(tmp_path / "b", budget)
    await store_bytes(other.store, "tape", b"older")
    async with fan_out(budget, disk(tmp_path / "a", budget), other) as store:
        draft = await store.begin("one", 5, put("tape", Replace()))
        await draft.write(b"bytes")
        with pytest.raises(Exists):
            await draft.publish("tape", Metadata("tape"))
        await draft.discard()
        assert (await store.list()).entries == []
