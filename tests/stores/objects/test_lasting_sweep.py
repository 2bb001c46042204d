"""Sweeps of uploads to S3 that outlive their process: what is over goes, whoever began it, and
nothing that any server may go on with."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from fix_s3 import Objects
from sluiceway.errors import NotFound
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import DEFAULT_CHOICE
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.objects import store as store_module
from sluiceway.stores.objects.lasting import draft as lasting
from sluiceway.stores.objects.lasting import state
from sluiceway.stores.objects.part_sizes import SMALLEST_PART
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.unpublished import COPY_KEPT, ResumableDraft, SavedDraft
from sluiceway.testing.store_suite import pattern, read
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules

DATA = pattern(SMALLEST_PART + 1000)  # a part, and a tail
REQUEST = UploadRequest("tape", "tape")
HOUR = 3600.0

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def store_at(s3: Objects, bucket: str, life: float | None) -> ObjectStore:
    store = ObjectStore(s3.url(bucket), Budget(16 << 20), s3.options)
    store.lease_drafts(life)
    return store


async def keep(draft: ResumableDraft, data: bytes) -> SavedDraft:
    await draft.write(data)
    await draft.sync()
    saved = draft.save()
    draft.saved()
    return saved


async def leave_behind(store: ObjectStore, upload: str, request: UploadRequest) -> SavedDraft:
    """As a process that is killed: nothing is discarded."""
    draft = await store.begin(upload, None, request)
    saved = await keep(draft, DATA)
    await draft.suspend()
    return saved


def test_a_key_tells_until_when_it_may_be_needed() -> None:
    marker, now = state.marker_key("a/b", "draft", state.format_life(HOUR - 0.5), "upload"), 1e9
    for life, key in [
        (HOUR, marker),
        (HOUR, state.staged_key("draft", "3600")),
        (COPY_KEPT, "a/.sluiceway/lasting/what-another-program-wrote"),
    ]:
        over = now - life - state.MARGIN
        assert state.is_over(key, over, now)
        assert not state.is_over(key, over + 1, now)
    assert not state.is_over(state.marker_key("a", "draft", state.format_life(None), "u"), 0, now)


async def test_a_sweep_removes_what_its_own_server_would_have_ended(
    s3: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts, marker and tail, a day after the upload's time at the latest. What a server lets live
    longer, or for ever, stays, whatever the sweep is told; other multipart uploads are aborted."""
    bucket = s3.fresh()
    store, patient = store_at(s3, bucket, 10), store_at(s3, bucket, HOUR)
    await leave_behind(store, "over", dataclasses.replace(REQUEST, key="a/over"))
    saved = await leave_behind(patient, "lives", REQUEST)
    patient.lease_drafts(None)
    for_ever = await leave_behind(patient, "for ever", dataclasses.replace(REQUEST, key="b/ever"))
    s3.client.create_multipart_upload(Bucket=bucket, Key="other")
    assert await store.sweep(0) == 1
    assert sorted(s3.unfinished(bucket)) == ["a/over", "b/ever", "tape"]

    monkeypatch.setattr(state, "MARGIN", -20.0)
    assert await store.sweep(HOUR) == 0  # it is too young for that
    assert await store.sweep(0) == 1
    assert sorted(s3.unfinished(bucket)) == ["b/ever", "tape"]
    assert not s3.keys(bucket, "a/")
    for upload, kept in [("lives", saved), ("for ever", for_ever)]:
        again = await patient.resume(upload, kept, len(DATA), None, REQUEST, 1)
        assert again.written == len(DATA)
        await again.discard()
    assert not s3.keys(bucket)
    await store.aclose()
    await patient.aclose()


@pytest.mark.torture
async def test_the_background_removes_parts_and_what_stands_beside_them(
    s3: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a tail without a part, where the place itself is its folder."""
    bucket = s3.fresh()
    dead = store_at(s3, bucket, 10)
    await leave_behind(dead, "parts", dataclasses.replace(REQUEST, key="a/parts"))
    small = await dead.begin("tail", None, REQUEST)
    await keep(small, b"tail")
    await small.suspend()
    await dead.aclose()

    monkeypatch.setattr(state, "MARGIN", -20.0)
    monkeypatch.setattr(store_module, "LEASE", -60.0)
    store = store_at(s3, bucket, 10)
    living = await store.begin("new", None, UploadRequest())
    await keep(living, DATA)
    await store.aclose()  # waits for the sweep
    assert [key for key in s3.unfinished(bucket) if "staged" not in key] == []
    assert [key for key in s3.keys(bucket) if state.draft_id("new") not in key] == []
    await store_at(s3, bucket, 10).sweep(0)
    assert not s3.keys(bucket)
    assert not s3.unfinished(bucket)


@pytest.mark.torture
async def test_an_upload_that_moves_is_written_anew_before_a_sweep_may_have_it(
    s3: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that runs for days, too: its marker and its tail are never old."""
    bucket = s3.fresh()
    store = store_at(s3, bucket, HOUR)
    draft = await store.begin("one", None, REQUEST)
    first = await keep(draft, DATA)
    before = set(s3.keys(bucket))
    later = time.time() + lasting.TOUCH_AFTER + 1
    monkeypatch.setattr(time, "time", lambda: later)
    second = await keep(draft, b"x")
    await store.bucket.cleaned()
    marker, tail = sorted(s3.keys(bucket), key=state.is_marker, reverse=True)
    assert marker in before  # written again
    assert tail not in before
    assert state.LastingState.parse(second.state).touched == later
    monkeypatch.undo()
    await draft.suspend()
    saved = SavedDraft(second.state, first.parts + second.parts)
    again = await store.resume("one", saved, len(DATA) + 1, None, REQUEST, 1)
    await again.publish("tape", Metadata("tape"))
    assert await read(store, "tape") == DATA + b"x"
    await store.aclose()


async def test_an_upload_that_was_never_written_down_is_removed_wherever_it_was_begun(
    s3: Objects, tmp_path: Path
) -> None:
    """By the expiry of a process that counts other digests: it would begin it under its key."""
    bucket = s3.fresh()
    store = store_at(s3, bucket, 100)
    budget, ledger = Budget(16 << 20), SqliteLedger(str(tmp_path / "ledger"))
    rules = UploadRules(store, budget, KeyTemplate(), DEFAULT_CHOICE, None, False)
    uploads = ResumableUploads(ledger, rules, budget, ProgressTable(), Expiry(100))
    request = dataclasses.replace(REQUEST, key="a/tape")
    record = await uploads.create("tus", request, 2 * len(DATA))
    for key in ("", request.key):
        await leave_behind(store, record.id, dataclasses.replace(request, key=key))
    assert len(s3.unfinished(bucket)) == 2
    assert await uploads.sweep(time.time() + 200) == 1
    assert not s3.keys(bucket)
    assert not s3.unfinished(bucket)
    with pytest.raises(NotFound):
        await store.stat("a/tape")
    await uploads.aclose()
    await ledger.aclose()
    await store.aclose()
