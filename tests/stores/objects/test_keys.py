"""Keys of other programs in a bucket: each is read by its own name or omitted by name.

A listing that breaks off raises.
"""

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
OMITTED = ["odd//x", "p/../q", "./e", "/x", "d/"]
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
        for key in [*READABLE, *OMITTED]:
            s3.client.put_object(Bucket=bucket, Key=root + key, Body=key.encode())
        for key in MARKERS:
            s3.client.put_object(Bucket=bucket, Key=root + key, Body=b"")
    return bucket


@pytest.mark.parametrize("root", ["", "below"])
@pytest.mark.parametrize("limit", [1, 4, 1000])
async def test_every_key_of_a_bucket_is_an_entry_or_omitted_by_name(
    s3: Objects, full: str, root: str, limit: int
) -> None:
    """With pages of any length no key is listed twice or missing, and each entry has its bytes."""
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
        assert sorted(one.name for one in out if one.code == "bad-name") == sorted(OMITTED)
        assert sorted(one.name for one in out if one.code == FOLDER_MARKER) == sorted(MARKERS)
        assert all(len(page.entries) + len(page.omitted) <= limit for page in pages)
        for key in READABLE:
            assert await read(store, key) == key.encode()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    "prefix", ["t", "odd//", "p/../", "/", "l\n", "\x01", "d/", "a/0", "\U0010ffff"]
)
async def test_a_prefix_selects_odd_keys_as_well(s3: Objects, full: str, prefix: str) -> None:
    """All keys that begin with it, and no others."""
    store = ObjectStore(s3.url(full), Budget(64 << 20), s3.options)
    try:
        page = await store.list(prefix)
    finally:
        await store.aclose()

    listed = sorted([entry.key for entry in page.entries] + [one.name for one in page.omitted])
    assert page.complete
    assert listed == sorted(
        key for key in [*READABLE, *OMITTED, *MARKERS] if key.startswith(prefix)
    )


async def test_check_names_odd_keys_and_a_sweep_passes_them(
    s3: Objects, full: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The check logs a warning and passes; a sweep deletes the leftovers beside them."""
    s3.client.put_object(Bucket=full, Key=f".sluiceway/drafts/{'0' * 32}", Body=b"left")
    s3.client.put_object(Bucket=full, Key=f".sluiceway/digests/{'1' * 32}", Body=b"")
    store = ObjectStore(s3.url(full), Budget(64 << 20), s3.options)
    try:
        with caplog.at_level(logging.WARNING):
            await store.check()
        assert "cannot be served, such as" in caplog.text
        assert await store.sweep(0) == 2
    finally:
        await store.aclose()


@pytest.mark.parametrize("key", ["\x01", "a/\x0bb", "\ufffe"])
async def test_a_write_refuses_a_key_that_could_not_be_read_again(s3: Objects, key: str) -> None:
    """With the reason, before the first byte. TAB, LF and DEL can be read and are accepted."""
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
    "response", [b"<html>welcome to the hotel</html>", b"", b"<ListBucketResult/>", b"{}"]
)
async def test_an_answer_that_is_no_listing_is_an_error(response: bytes) -> None:
    """A portal's page or an empty body does not mean an empty bucket."""
    with one_answer(200, response) as url:
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
    """obstore reads Google and Azure, and cannot spell every key. Here it reads an S3 server."""

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
    async def test_a_key_it_cannot_spell_breaks_the_listing_off(
        self,
        s3: Objects,
        store: ObjectStore,
        bucket: str,
        odd: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The listing raises and never looks complete; check warns, a sweep does what it can."""
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

    async def test_a_folder_marker_is_omitted_as_one(
        self, s3: Objects, store: ObjectStore, bucket: str
    ) -> None:
        """It is listed without its slash and not found under that name."""
        for key in ("photos/", "photos/1", "empty"):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"" if key != "photos/1" else b"1")
        page = await store.list()

        assert [entry.key for entry in page.entries] == ["empty", "photos/1"]
        assert [(one.name, one.code) for one in page.omitted] == [("photos", FOLDER_MARKER)]
        assert page.complete

    async def test_a_prefix_before_a_zero_is_found(
        self, s3: Objects, store: ObjectStore, bucket: str
    ) -> None:
        """The offset that saves pages must be a key that obstore can spell."""
        for key in ("a/0", "a/01", "a/1"):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"1")

        assert [entry.key for entry in (await store.list("a/0")).entries] == ["a/0", "a/01"]
