"""Uploads to S3 that outlive their process, where answers are lost, late or never come."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import pytest

from fix_s3 import Objects
from s3_faults import Fault, S3Faults
from sluiceway.errors import NotFound, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import CRC64NVME, digest_of
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.objects.lasting import draft as lasting
from sluiceway.stores.objects.lasting.state import LastingState, draft_id, parse_parts
from sluiceway.stores.objects.part_sizes import SMALLEST_PART
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.unpublished import JoinableDraft, KnowsDigests, ResumableDraft, SavedDraft
from sluiceway.testing.store_suite import pattern, read

MIB = 1 << 20
PART = SMALLEST_PART
DATA = pattern(8 * MIB)  # a part, and a tail
REQUEST = UploadRequest("tape", "tape")
LONG = partial(pytest.param, marks=pytest.mark.torture)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def proxy(s3: Objects) -> Iterator[S3Faults]:
    proxy = S3Faults(s3.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(s3: Objects) -> Iterator[str]:
    name = s3.fresh()
    yield name
    assert s3.unfinished(name) == []
    assert [key for key in s3.keys(name) if "/lasting/" in key] == []


def store_at(s3: Objects, bucket: str, proxy: S3Faults | None = None) -> ObjectStore:
    """Parts of 5 MiB."""
    endpoint = s3.endpoint if proxy is None else proxy.url
    more = {"endpoint": endpoint, "attempts": "1", "timeout": "3", "addressing": "path"}
    return ObjectStore(s3.url(bucket), Budget(16 << 20), {**s3.options, **more})


async def keep(draft: ResumableDraft, data: bytes) -> SavedDraft:
    await draft.write(data)
    await draft.sync()
    saved = draft.save()
    draft.saved()
    return saved


def added(earlier: SavedDraft, later: SavedDraft) -> SavedDraft:
    return SavedDraft(later.state, earlier.parts + later.parts)


async def test_a_late_part_of_a_process_that_died_replaces_nothing(
    s3: Objects, bucket: str
) -> None:
    """It carries the number that the dead process had for it; that number was not used again."""
    store = store_at(s3, bucket)
    draft = await store.begin("one", 3 * len(DATA), REQUEST)
    saved = await keep(draft, DATA)
    state = LastingState.parse(saved.state)
    assert not state.at_rest
    again = await store.resume("one", saved, len(DATA), 3 * len(DATA), REQUEST, 1)
    more = added(saved, await keep(again, DATA))
    late = {"UploadId": state.upload, "PartNumber": state.next, "Body": bytes(PART)}
    s3.client.upload_part(Bucket=bucket, Key="tape", **late)
    await again.write(DATA)
    await again.publish("tape", Metadata("tape"))
    numbers = [part.number for part in parse_parts(more.parts)]
    assert numbers[:2] == [1, state.next + lasting.SKIPPED]
    assert await read(store, "tape") == DATA * 3
    await draft.suspend()
    await store.aclose()


async def test_a_process_that_let_go_leaves_no_number_out(s3: Objects, bucket: str) -> None:
    """And a part of another size than planned is no matter."""
    store = store_at(s3, bucket)
    draft = await store.begin("one", None, REQUEST)
    saved = await keep(draft, DATA)
    await draft.suspend()
    saved = dataclasses.replace(saved, state=draft.save().state)
    again = await store.resume("one", saved, len(DATA), None, REQUEST, 1)
    more = added(saved, await keep(again, DATA))
    assert [part.number for part in parse_parts(more.parts)] == [1, 2, 3]
    await again.publish("tape", Metadata("tape"))
    assert await read(store, "tape") == DATA * 2
    await store.aclose()


@pytest.mark.parametrize("kind", ["lost", LONG("reset"), LONG("stall")])
async def test_a_part_whose_answer_is_lost_is_found_or_sent_again(
    s3: Objects, bucket: str, proxy: S3Faults, kind: str
) -> None:
    """A part that S3 has counts; for another one the upload goes on from what was kept."""
    store = store_at(s3, bucket, proxy)
    draft = await store.begin("one", 2 * len(DATA), REQUEST)
    saved = await keep(draft, DATA)
    proxy.script["tape"] = Fault(kind, "part")
    if kind == "lost":
        await draft.write(DATA)
        assert await draft.sync() == 2 * len(DATA)
    else:
        with pytest.raises(SluiceError):
            await keep(draft, DATA)
        await draft.suspend()
        assert not LastingState.parse(draft.save().state).at_rest
        draft = await store.resume("one", saved, len(DATA), 2 * len(DATA), REQUEST, 1)
        await draft.write(DATA)
    await draft.publish("tape", Metadata("tape"))
    assert proxy.script["tape"].met == 1
    assert await read(store, "tape") == DATA * 2
    await store.aclose()


@pytest.mark.parametrize("kind", [LONG("lost"), "reset", LONG("500"), LONG("error-in-200")])
async def test_a_publish_whose_answer_is_lost_is_looked_for(
    s3: Objects, bucket: str, proxy: S3Faults, kind: str
) -> None:
    """Made, it counts as made; else the same draft is published later, by another process."""
    store = store_at(s3, bucket, proxy)
    draft = await store.begin("one", len(DATA), REQUEST)
    saved = await keep(draft, DATA)
    proxy.script["tape"] = Fault(kind, "complete")
    if kind == "lost":
        await draft.publish("tape", Metadata("tape"))
    else:
        with pytest.raises(SluiceError):
            await draft.publish("tape", Metadata("tape"))
        assert await store.find_published("one", saved, "tape") is None
        await draft.suspend()
        later = store_at(s3, bucket)
        again = await later.resume("one", saved, len(DATA), len(DATA), REQUEST, 1)
        await again.publish("tape", Metadata("tape"))
        await later.aclose()
    found = await store.find_published("one", saved, "tape")
    assert found is not None
    assert await read(store, "tape") == DATA
    await store.aclose()


async def test_a_process_that_died_after_its_publish_leaves_nothing(
    s3: Objects, bucket: str
) -> None:
    """Whoever finds the object removes what stood beside it."""
    store = store_at(s3, bucket)
    draft = await store.begin("one", len(DATA), REQUEST)
    saved = await keep(draft, DATA)
    await draft.publish("tape", Metadata("tape"))
    left = f".sluiceway/lasting/{draft_id('one')}.left-1"
    s3.client.put_object(Bucket=bucket, Key=left, Body=b"x")
    assert await store.find_published("one", saved, "tape") is not None
    assert s3.keys(bucket) == ["tape"]
    with pytest.raises(NotFound):
        await store.resume("one", saved, len(DATA), len(DATA), REQUEST, 2)
    await store.aclose()


async def test_uploads_are_joined_inside_of_the_bucket(
    s3: Objects, bucket: str, proxy: S3Faults
) -> None:
    """Whole parts are copied there, the bytes between them are read and written; the checksum of
    all is known, the joined uploads can be joined again by a later process, and nothing is left."""
    store, nameless = store_at(s3, bucket, proxy), UploadRequest(filename="part")
    pieces = [DATA, DATA[:100], pattern(6 * MIB, MIB), b"", DATA[:MIB]]
    kept = [
        (draft := await store.begin(str(number), None, nameless), await keep(draft, piece))
        for number, piece in enumerate(pieces)
    ]
    joined = await store.begin("one", None, REQUEST)
    assert isinstance(joined, JoinableDraft)
    assert isinstance(joined, KnowsDigests)
    for (draft, _), piece in zip(kept, pieces, strict=True):
        await joined.append_draft(draft, 0, len(piece))
        await draft.suspend()
    whole = b"".join(pieces)
    assert await joined.known_digests() == {CRC64NVME: digest_of(CRC64NVME, whole)}
    await joined.publish("tape", Metadata("tape"))
    assert await read(store, "tape") == whole
    assert proxy.seen.count("copy") >= 1

    again = await store.begin("two", None, UploadRequest("again", "again"))
    assert isinstance(again, JoinableDraft)
    for number, ((_, saved), piece) in enumerate(zip(kept, pieces, strict=True)):
        part = await store.resume(str(number), saved, len(piece), None, nameless, 1)
        await again.append_draft(part, len(piece) // 2, len(piece) - len(piece) // 2)
        await part.discard()
    await again.publish("again", Metadata("again"))
    halves = b"".join(piece[len(piece) // 2 :] for piece in pieces)
    assert await read(store, "again") == halves
    assert sorted(key for key in s3.keys(bucket) if ".sluiceway" not in key) == ["again", "tape"]
    await store.aclose()


async def test_an_upload_begun_again_leaves_nothing_of_the_first_time(
    s3: Objects, bucket: str
) -> None:
    """A process died before it wrote down its first part."""
    store = store_at(s3, bucket)
    dead = await store.begin("one", None, REQUEST)
    await dead.write(DATA)
    await dead.sync()
    draft = await store.begin("one", None, REQUEST)
    await draft.write(DATA[:100])
    await draft.publish("tape", Metadata("tape"))
    assert await read(store, "tape") == DATA[:100]
    await dead.suspend()
    await store.aclose()


async def test_a_ledger_that_cannot_be_read_is_an_error(s3: Objects, bucket: str) -> None:
    store = store_at(s3, bucket)
    for saved in (
        SavedDraft("{"),
        SavedDraft('{"pieces": [{"x": 1}]}'),
        SavedDraft("[]"),
        SavedDraft("", ("[1]",)),
    ):
        with pytest.raises(StoreFailed):
            await store.resume("one", saved, 0, None, REQUEST, 1)
    await store.aclose()
