"""Keys that others put into a bucket: each is read by its own name or left out by name, and no listing ends quietly."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from obstore.store import S3Store

from fix_s3 import Objects
from s3_faults import one_answer
from sluiceway.errors import BadName, NotFound, PeerFailed, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import FOLDER_MARKER, Page
from sluiceway.stores.objects.cloud_bucket import CloudBucket
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.testing.store_suite import read, store_bytes

READABLE = [
    "a",
    "d",
    "t\tab",
    "l\nf",
    "c\rr",
    "\x01",
    "\x7f",
    "x",
    "%2F",
    "+ &=?#",
    "e\u0301",
    "é",
    "tail ",
    "z",
]
LEFT_OUT = ["odd//x", "p/../q", "./e", "/x", "d/"]
MARKERS = ["photos/", "a/b/"]


async def all_pages(store: ObjectStore, limit: int, prefix: str = "") -> AsyncIterator[Page]:
    after = ""
    while True:
        page = await store.list(prefix, after, limit)
        yield page
        if page.next is None:
            return
        after = page.next


@pytest.fixture(scope="module")
def full(s3: Objects) -> str:
    """A bucket with all of these keys; an object's bytes are its key."""
    bucket = s3.fresh()
    for root in ("", "below/"):
        for key in [*READABLE, *LEFT_OUT]:
            s3.client.put_object(Bucket=bucket, Key=root + key, Body=key.encode())
        for key in MARKERS:
            s3.client.put_object(Bucket=bucket, Key=root + key, Body=b"")
    return bucket


@pytest.mark.parametrize("root", ["", "below"])
@pytest.mark.parametrize("limit", [1, 4, 1000])
async def test_every_key_of_a_bucket_is_an_entry_or_left_out_by_name(
    s3: Objects, full: str, root: str, limit: int
) -> None:
    """Whatever the pages' length: nothing comes twice, nothing is missing, and each entry has its own bytes."""
    store = ObjectStore(s3.url(full, root), Budget(64 << 20), s3.options)
    try:
        pages = [page async for page in all_pages(store, limit)]
        entries = [
            entry.key
            for page in pages
            for entry in page.entries
            if not entry.key.startswith("below/")
        ]
        out = [one for page in pages for one in page.omitted if not one.name.startswith("below/")]

        assert sorted(entries) == sorted(READABLE)
        assert sorted(one.name for one in out if one.code == "bad-name") == sorted(LEFT_OUT)
        assert sorted(one.name for one in out if one.code == FOLDER_MARKER) == sorted(MARKERS)
        assert all(len(page.entries) + len(page.omitted) <= limit for page in pages)
        for key in READABLE:
            assert await read(store, key) == key.encode()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    "prefix", ["t", "odd//", "p/../", "/", "l\n", "\x01", "d/", "a/0", "\U0010ffff"]
)
async def test_a_prefix_selects_among_odd_keys_too(s3: Objects, full: str, prefix: str) -> None:
    """What begins so, and no less."""
    store = ObjectStore(s3.url(full), Budget(64 << 20), s3.options)
    try:
        page = await store.list(prefix)
    finally:
        await store.aclose()

    told = sorted([entry.key for entry in page.entries] + [one.name for one in page.omitted])
    assert page.complete
    assert told == sorted(key for key in [*READABLE, *LEFT_OUT, *MARKERS] if key.startswith(prefix))


async def test_odd_keys_are_named_at_the_start_and_do_not_stop_a_sweep(
    s3: Objects, full: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The check before the first request warns and passes; leftovers are freed beside them."""
    s3.client.put_object(Bucket=full, Key=f".sluiceway/drafts/{'0' * 32}", Body=b"left")
    s3.client.put_object(Bucket=full, Key=f".sluiceway/sha256/{'1' * 32}", Body=b"")
    store = ObjectStore(s3.url(full), Budget(64 << 20), s3.options)
    try:
        with caplog.at_level(logging.WARNING):
            await store.check()
        assert "cannot be served, such as" in caplog.text
        assert await store.sweep(0) == 2
    finally:
        await store.aclose()


@pytest.mark.parametrize("key", ["\x01", "a/\x0bb", "\ufffe"])
async def test_a_key_that_could_not_come_back_is_refused_at_the_write(
    s3: Objects, key: str
) -> None:
    """With the reason, before the first byte; TAB, LF and DEL come back and are taken."""
    bucket = s3.fresh()
    store = ObjectStore(s3.url(bucket), Budget(64 << 20), s3.options)
    try:
        with pytest.raises(BadName, match="XML has no such character"):
            await store_bytes(store, key, b"1")
        for good in ("t\tab", "l\nf", "\x7f", "c\rr"):
            await store_bytes(store, good, good.encode())
            assert await read(store, good) == good.encode()
        assert len((await store.list()).entries) == 4
    finally:
        await store.aclose()
    assert s3.unfinished(bucket) == []


@pytest.mark.parametrize(
    "answer", [b"<html>welcome to the hotel</html>", b"", b"<ListBucketResult/>", b"{}"]
)
async def test_what_is_no_listing_is_an_error_and_no_empty_bucket(answer: bytes) -> None:
    """A portal's page, an empty body: nothing can be concluded from it."""
    with one_answer(200, answer) as url:
        options = {
            "access_key_id": "a",
            "secret_access_key": "b",
            "region": "us-east-1",
            "endpoint": url,
            "attempts": "1",
        }
        store = ObjectStore("s3://bucket", Budget(64 << 20), options)
        try:
            with pytest.raises(PeerFailed):
                await store.list()
        finally:
            await store.aclose()


class TestByObstore:
    """Google and Azure are read by obstore, whose path type cannot spell every key: here it reads the same S3 server."""

    @pytest.fixture
    async def bucket(self, s3: Objects) -> str:
        return s3.fresh()

    @pytest.fixture
    async def store(self, s3: Objects, bucket: str) -> AsyncIterator[ObjectStore]:
        handle = S3Store(
            bucket,
            endpoint=s3.endpoint,
            region="us-east-1",
            access_key_id="test:tester",
            secret_access_key="testing",  # the test server's own
            client_options={"allow_http": True},
        )
        store = ObjectStore(
            "az://container",
            Budget(64 << 20),
            {"account-name": "nobody", "account-key": "bm9ib2R5"},
        )
        budget = store.bucket.budget
        store.bucket = CloudBucket(handle, "azure", "az://container", "", budget)
        yield store
        await store.aclose()

    @pytest.mark.parametrize("odd", ["odd//x", "p/../q", "t\tab"])
    async def test_a_key_it_cannot_spell_breaks_the_listing_off_aloud(
        self,
        s3: Objects,
        store: ObjectStore,
        bucket: str,
        odd: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Never a short list that says it is complete; the check warns, a sweep frees what it can and says the rest."""
        for key in ("a", odd, "z", f".sluiceway/drafts/{'0' * 32}"):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"1")
        with pytest.raises(StoreFailed, match="its listing broke off"):
            await store.list()
        with caplog.at_level(logging.WARNING):
            await store.check()
        assert "its listing broke off" in caplog.text
        with pytest.raises(StoreFailed, match="its listing broke off"):
            await store.sweep(0)
        assert s3.keys(bucket, ".sluiceway/") == []
        with pytest.raises(NotFound):
            await store.stat(odd)
        with pytest.raises(BadName):
            await store_bytes(store, odd, b"2")

    async def test_a_folder_marker_is_told_as_one(
        self, s3: Objects, store: ObjectStore, bucket: str
    ) -> None:
        """It is listed without its slash, and nothing is found under that name; an empty object is an entry."""
        for key in ("photos/", "photos/1", "empty"):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"" if key != "photos/1" else b"1")
        page = await store.list()

        assert [entry.key for entry in page.entries] == ["empty", "photos/1"]
        assert [(one.name, one.code) for one in page.omitted] == [("photos", FOLDER_MARKER)]
        assert page.complete

    async def test_a_prefix_before_a_zero_is_found(
        self, s3: Objects, store: ObjectStore, bucket: str
    ) -> None:
        """The offset asked for to save pages must be a key that can be spelled itself."""
        for key in ("a/0", "a/01", "a/1"):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"1")

        assert [entry.key for entry in (await store.list("a/0")).entries] == ["a/0", "a/01"]
