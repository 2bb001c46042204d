"""A draft whose destination fails in the background says so while its sender pauses.

`failure` is set although nothing more is written; `write` then raises the same error. A fault that
the store retries is not a failure.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psycopg
import pytest

from fix_clouds import KEY
from fix_postgres import Database
from fix_s3 import Objects
from fix_sftp import SftpServer
from s3_faults import Fault, S3Faults, one_answer
from sluiceway.errors import PeerFailed, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, EarlyFailure, Metadata, UploadRequest
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.stores.objects.part_sizes import default_part_size
from sluiceway.stores.objects.staged_draft import PARTS_IN_FLIGHT
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite import pattern

BUDGET = 32 << 20  # bytes: parts of 8 MiB
PART = default_part_size(BUDGET, 1)
DEADLINE = 20.0  # seconds until a failure is there

pytestmark = pytest.mark.anyio


async def failure_of(draft: Draft) -> SluiceError:
    """Wait for the failure while nothing is written. `write` has to raise the same."""
    assert isinstance(draft, EarlyFailure)
    async with asyncio.timeout(DEADLINE):
        while (failure := draft.failure) is None:
            await asyncio.sleep(0.01)
    with pytest.raises(SluiceError) as raised:
        await draft.write(b"x")
    assert raised.value is failure
    await draft.discard()
    assert draft.failure is None
    return failure


class TestS3:
    @pytest.fixture(autouse=True)
    def _bucket(self, s3: Objects) -> Iterator[None]:
        self.s3, self.bucket, self.faults = s3, s3.fresh(), S3Faults(s3.endpoint)
        yield
        self.faults.close()
        assert s3.unfinished(self.bucket) == []

    def store(self) -> ObjectStore:
        options = {**self.s3.options, "endpoint": self.faults.url, "timeout": "2", "attempts": "3"}
        return ObjectStore(self.s3.url(self.bucket), Budget(BUDGET), options)

    @pytest.mark.parametrize("kind", ["refuse", "500"])
    async def test_a_refused_part(self, kind: str) -> None:
        store = self.store()
        async with aclosing(store):
            self.faults.script["key"] = Fault(kind, "part", times=99)
            draft = await store.draft("one", 2 * PART, UploadRequest(key="key", filename="key"))
            await draft.write(pattern(PART + 1))

            assert isinstance(await failure_of(draft), PeerFailed | StoreFailed)

    async def test_a_part_that_is_retried_is_no_failure(self) -> None:
        store = self.store()
        async with aclosing(store):
            fault = self.faults.script["key"] = Fault("refuse", "part", times=1)
            draft = await store.draft("one", PART + 1, UploadRequest(key="key", filename="key"))
            await draft.write(pattern(PART))
            assert isinstance(draft, EarlyFailure)
            async with asyncio.timeout(DEADLINE):
                while draft.kept < PART:
                    assert draft.failure is None
                    await asyncio.sleep(0.01)
            await draft.write(b"x")

            assert (await draft.publish("key", Metadata("key"))).size == PART + 1
            assert fault.met == 1


class TestClouds:
    """Every request is refused, as by a container in which the account may only read."""

    async def test_refused_parts(self) -> None:
        """As many as travel at once: obstore looks at fewer with the next part only."""
        with one_answer(403, b"") as endpoint:
            options = {"endpoint": endpoint, "account-name": "nobody", "account-key": KEY}
            store = ObjectStore("az://container", Budget(BUDGET), options)
            async with aclosing(store):
                draft = await store.draft("one", 8 * PART)
                for _ in range(PARTS_IN_FLIGHT):
                    await draft.write(pattern(PART))

                assert isinstance(await failure_of(draft), StoreFailed)


class TestPostgres:
    @pytest.fixture(autouse=True)
    def _fresh_tables(self, database: Database) -> Iterator[None]:
        self.database, self.table = database, database.fresh()
        yield
        database.drop(self.table)

    async def store(self) -> PostgresStore:
        store = PostgresStore(f"{self.database.url}&table={self.table}", Budget(BUDGET))
        await store.init()
        return store

    async def test_a_refused_row(self) -> None:
        store = await self.store()
        async with aclosing(store):
            self.database.rows(f"ALTER TABLE {self.table}_chunks ADD CHECK (start < 0)")
            draft = await store.draft("one", None)
            await draft.write(pattern(256 << 10))

            assert isinstance(await failure_of(draft), StoreFailed)
            assert self.database.leftovers(self.table) == []

    async def test_a_terminated_connection(self) -> None:
        """The row waits for a lock of another session when the server ends its connection."""
        store = await self.store()
        async with aclosing(store):
            draft = await store.draft("one", None)
            with psycopg.connect(self.database.url) as other:
                other.execute(f"LOCK TABLE {self.table}_chunks".encode())
                await draft.write(pattern(256 << 10))
                terminate = (
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO%{self.table}_%'"
                )
                async with asyncio.timeout(DEADLINE):
                    while not self.database.rows(terminate):
                        await asyncio.sleep(0.01)
            assert isinstance(await failure_of(draft), Unavailable)
            assert self.database.leftovers(self.table) == []


class TestSftp:
    @pytest.fixture(autouse=True)
    def _limited(self, tmp_path: Path, sftp: SftpServer) -> Iterator[None]:
        """A server whose process may write no larger file than 1 MiB."""
        self.sftp = SftpServer(tmp_path / "limited")
        resource.prlimit(self.sftp.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        yield
        self.sftp.stop()

    async def test_a_refused_block(self) -> None:
        store = FsspecStore(self.sftp.url("place"), Budget(BUDGET))
        async with aclosing(store):
            draft = await store.draft("one", None)
            await draft.write(pattern(2 << 20))

            assert isinstance(await failure_of(draft), StoreFailed)
            assert self.sftp.drafts("place") == []
