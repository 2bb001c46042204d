"""CRC64NVME at S3: the server checks the whole object and keeps its checksum, or does without."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import sluiceway
from fix_s3 import Objects
from s3_crc64nvme import CRC64NVME, ChecksumKeeper
from s3_faults import S3Faults
from sluiceway.errors import DigestMismatch
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import digest_of
from sluiceway.stores.contract import Entry, Metadata, Pairs, UploadRequest
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.testing.store_suite import pattern, read

LARGE = pattern((11 << 20) + 7)  # three parts
SMALL = pattern(70_000)
CRC = digest_of("crc64nvme", LARGE).hex()
SHA = hashlib.sha256(LARGE).hexdigest()
BLAKE3 = "b3" * 32  # a bucket takes the server's word for it
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>no</Message></Error>"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def proxy(s3: Objects) -> Iterator[S3Faults]:
    """In front of a server that checks a CRC64NVME and keeps none."""
    proxy = S3Faults(s3.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def keeper(proxy: S3Faults) -> ChecksumKeeper:
    """Makes of it one that keeps them, as Amazon's does."""
    proxy.keeper = ChecksumKeeper()
    return proxy.keeper


def options_at(proxy: S3Faults, s3: Objects) -> dict[str, str]:
    return {**s3.options, "endpoint": proxy.url, "attempts": "2", "addressing": "path"}


def store_at(proxy: S3Faults, s3: Objects, bucket: str) -> ObjectStore:
    return ObjectStore(s3.url(bucket), Budget(32 << 20), options_at(proxy, s3))


async def put(
    store: ObjectStore, key: str, data: bytes, promised: Pairs = (), **digests: str
) -> Entry:
    """With digests that are known at the end only, as an upload counts them, or `promised`."""
    found = tuple(sorted((name.replace("_", "-"), digits) for name, digits in digests.items()))
    expected = {name: bytes.fromhex(digits) for name, digits in promised}
    draft = await store.draft("one", len(data), UploadRequest(key, key, expected=expected))
    try:
        for at in range(0, len(data), 1 << 20):
            await draft.write(data[at : at + (1 << 20)])
        return await draft.publish(key, Metadata(key, digests=found))
    finally:
        await draft.discard()


def stored_keys(s3: Objects, bucket: str) -> list[str]:
    page = s3.client.list_objects_v2(Bucket=bucket)
    return [one["Key"] for one in page.get("Contents", ())]


async def test_the_server_checks_the_whole_and_keeps_its_checksum(
    s3: Objects, proxy: S3Faults, keeper: ChecksumKeeper
) -> None:
    """Of an upload in parts nothing is noted beside it; sha-256, which S3 does not keep, is."""
    bucket = s3.fresh()
    store = store_at(proxy, s3, bucket)
    try:
        entry = await put(store, "alone", LARGE, crc64nvme=CRC)
        assert entry.metadata.digests == (("crc64nvme", CRC),)
        assert keeper.completed == 1
        assert stored_keys(s3, bucket) == ["alone"]
        assert await read(store, "alone") == LARGE
        both = await put(store, "both", LARGE, crc64nvme=CRC, sha_256=SHA)
        assert both.metadata.digests == (("crc64nvme", CRC), ("sha-256", SHA))
        assert len(stored_keys(s3, bucket)) == 3
        promised = await put(
            store, "promised", LARGE, (("sha-256", SHA),), crc64nvme=CRC, sha_256=SHA, blake3=BLAKE3
        )
        assert dict(promised.metadata.digests) == {
            "blake3": BLAKE3,
            "crc64nvme": CRC,
            "sha-256": SHA,
        }
        assert (await store.stat("promised")).metadata.digests == promised.metadata.digests
        none = await put(store, "none", LARGE)
        assert none.metadata.digests == (("crc64nvme", CRC),)
        small = digest_of("crc64nvme", SMALL).hex()
        assert (await put(store, "small", SMALL, crc64nvme=small)).metadata.digests == (
            ("crc64nvme", small),
        )
        assert len(keeper.objects) == 5
    finally:
        await store.aclose()


async def test_other_bytes_than_those_that_arrived_are_not_stored(
    s3: Objects, proxy: S3Faults, keeper: ChecksumKeeper
) -> None:
    """The parts are compared with the digest of the upload before they become an object."""
    bucket = s3.fresh()
    store = store_at(proxy, s3, bucket)
    try:
        with pytest.raises(DigestMismatch):
            await put(store, "wrong", LARGE, crc64nvme="0" * 16)
    finally:
        await store.aclose()
    assert stored_keys(s3, bucket) == []


@pytest.mark.parametrize("answer", ["400 InvalidArgument", "501 NotImplemented", "ignored"])
async def test_a_server_that_does_not_know_it_goes_on_without(
    s3: Objects, proxy: S3Faults, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    """It is said once in the log, and not sent again; the digest is in a note beside the object."""
    if answer != "ignored":
        status, code = answer.split()
        proxy.unknown_crc64nvme = (int(status), ERROR.format(code).encode())
    bucket = s3.fresh()
    store = store_at(proxy, s3, bucket)
    try:
        with caplog.at_level(logging.WARNING, "sluiceway"):
            entry = await put(store, "one", LARGE, crc64nvme=CRC)
            sent = proxy.checksums
            again = await put(store, "two", LARGE, crc64nvme=CRC)
        assert entry.metadata.digests == again.metadata.digests == (("crc64nvme", CRC),)
        assert await read(store, "one") == LARGE
        small = digest_of("crc64nvme", SMALL).hex()
        assert (await put(store, "small", SMALL, crc64nvme=small)).metadata.digests == (
            ("crc64nvme", small),
        )
        assert proxy.checksums == sent
    finally:
        await store.aclose()
    assert caplog.text.count("does not keep CRC64NVME") == 1
    assert len(stored_keys(s3, bucket)) == 5


@pytest.mark.parametrize("algorithm", ["crc64nvme", "sha-256"])
def test_a_copy_from_s3_is_checked_by_the_stored_checksum(
    s3: Objects, proxy: S3Faults, keeper: ChecksumKeeper, tmp_path: Path, algorithm: str
) -> None:
    """Of an object that another program put there; a wrong one is an error, and nothing is kept."""
    bucket = s3.fresh()
    s3.client.put_object(Bucket=bucket, Key="theirs", Body=SMALL)
    header = f"x-amz-checksum-{algorithm.replace('-256', '256')}"
    kept = {"x-amz-checksum-type": "FULL_OBJECT"}
    keeper.objects[f"/{bucket}/theirs"] = kept
    options = options_at(proxy, s3)

    kept[header] = base64.b64encode(digest_of(algorithm, SMALL)).decode()
    receipt = sluiceway.copy(
        f"s3://{bucket}/theirs", str(tmp_path / "right"), store_option=options, digest="none"
    )
    assert receipt.digests == ((algorithm, digest_of(algorithm, SMALL).hex()),)
    assert (tmp_path / "right").read_bytes() == SMALL

    kept[header] = base64.b64encode(digest_of(algorithm, b"other")).decode()
    with pytest.raises(DigestMismatch, match=algorithm):
        sluiceway.copy(f"s3://{bucket}/theirs", str(tmp_path / "wrong"), store_option=options)
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


def test_a_checksum_of_checksums_is_not_taken_for_that_of_the_object(
    s3: Objects, proxy: S3Faults, keeper: ChecksumKeeper, tmp_path: Path
) -> None:
    """A COMPOSITE one, and one with the number of parts behind it."""
    bucket = s3.fresh()
    s3.client.put_object(Bucket=bucket, Key="theirs", Body=SMALL)
    value = base64.b64encode(bytes(8)).decode()
    for number, kept in enumerate(
        [
            {CRC64NVME: value, "x-amz-checksum-type": "COMPOSITE"},
            {"x-amz-checksum-sha256": f"{base64.b64encode(bytes(32)).decode()}-3"},
        ]
    ):
        keeper.objects[f"/{bucket}/theirs"] = kept
        store = store_at(proxy, s3, bucket)
        entry = asyncio.run(store.stat("theirs"))
        assert entry.metadata.digests == (), number
