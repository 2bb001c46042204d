"""A sweep compares times of the server, which may be rounded, with its own clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fix_s3 import Objects
from sluiceway.pipe.budget import Budget
from sluiceway.stores.objects.store import ObjectStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def bucket(s3: Objects) -> str:
    return s3.fresh()


@pytest.fixture
async def store(s3: Objects, bucket: str) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(s3.url(bucket), Budget(64 << 20), s3.options)
    yield store
    await store.aclose()


@pytest.mark.parametrize("part", [False, True], ids=["without a part", "with a part"])
async def test_an_age_of_zero_means_every_upload(
    s3: Objects, bucket: str, store: ObjectStore, part: bool
) -> None:
    """Also one that began in this second: Swift rounds its times up to the next second."""
    for _ in range(3):
        upload = s3.client.create_multipart_upload(Bucket=bucket, Key="left")["UploadId"]
        if part:
            s3.client.upload_part(
                Bucket=bucket, Key="left", UploadId=upload, PartNumber=1, Body=b"x"
            )

        assert await store.sweep(0) == 1
        assert s3.unfinished(bucket) == []


async def test_an_upload_younger_than_the_age_is_kept(
    s3: Objects, bucket: str, store: ObjectStore
) -> None:
    upload = s3.client.create_multipart_upload(Bucket=bucket, Key="left")["UploadId"]

    assert await store.sweep(60) == 0
    assert s3.unfinished(bucket) == ["left"]
    s3.client.abort_multipart_upload(Bucket=bucket, Key="left", UploadId=upload)
