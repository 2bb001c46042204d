"""A journal in PostgreSQL, for copies whose next run may be on another machine.

One run holds it by a lease, which it renews; an insert counts only while the run holds it. No state
of a session is relied on, so all works behind PgBouncer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.fingerprint_set import fingerprint
from sluiceway.copying.journals.journal import (
    FinishedObject,
    Journal,
    not_alone,
    of_other_sides,
)
from sluiceway.errors import BadRequest, PeerTimeout, SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.stores.postgres.pool import PostgresPool
from sluiceway.wire.urls import redact_url

__all__ = ["PostgresJournal"]

RENEW_EVERY = 3.0  # seconds
LEASE = 15.0  # seconds after which a run that renews nothing is taken for dead
LOOK_EVERY = 0.5  # seconds between two looks whether the run of a lease still renews it
CALL_TIMEOUT = 60.0  # seconds for one statement
PAGE = 10_000  # rows that are read at once; a few MB

# By a fingerprint, because a long key does not fit into an index.
# One transaction, so the lock makes two first runs take turns.
_SCHEMA = """SELECT pg_advisory_xact_lock(6010111);
    CREATE TABLE IF NOT EXISTS {t} (
        id text NOT NULL, sides text NOT NULL, run text NOT NULL, seen timestamptz NOT NULL,
        one boolean PRIMARY KEY DEFAULT true CHECK (one));
    CREATE TABLE IF NOT EXISTS {t_objects} (
        mark bytea PRIMARY KEY, key text NOT NULL, version text NOT NULL, size bigint NOT NULL,
        digest text, location text NOT NULL, finished timestamptz NOT NULL)"""
_BEGIN = """INSERT INTO {t} VALUES (%s, %s, '', now()) ON CONFLICT DO NOTHING"""
_TAKE = """UPDATE {t} SET run = %s, seen = now() WHERE sides = %s
    AND (run = '' OR seen < now() - %s * interval '1 second') RETURNING id"""
_RENEW = "UPDATE {t} SET seen = now() WHERE run = %s RETURNING id"
_RELEASE = "UPDATE {t} SET run = '' WHERE run = %s"
# The shared lock makes another run's `_TAKE` wait for the rows of this one.
_INSERT = """INSERT INTO {t_objects} SELECT r.* FROM unnest(%s::bytea[], %s::text[], %s::text[],
        %s::bigint[], %s::text[], %s::text[], %s::timestamptz[]) AS r
    WHERE EXISTS (SELECT 1 FROM {t} WHERE run = %s FOR SHARE)
    ON CONFLICT (mark) DO UPDATE SET size = excluded.size, digest = excluded.digest,
        location = excluded.location, finished = excluded.finished RETURNING 1"""
_PAGE = """SELECT mark, key, version, size FROM {t_objects} WHERE mark > %s
    ORDER BY mark LIMIT %s"""


class PostgresJournal(Journal):
    """Open, by `opened`. The URL's `?table=` names its tables: `journal`, `journal_objects`."""

    def __init__(self, url: str, retry_policy: RetryPolicy) -> None:
        super().__init__(redact_url(url))
        self._pool = PostgresPool(url, "journal", ("_objects",), ("id",))
        self._retry_policy = retry_policy
        self._run = secrets.token_hex(8)
        self._renewing: asyncio.Task[None] | None = None

    @classmethod
    async def opened(
        cls, url: str, source: str, destination: str, retry_policy: RetryPolicy
    ) -> PostgresJournal:
        """`source` and `destination` name the sides. Waits for the lease of a run that was killed.

        Raises BadRequest for the journal of a run that lives, or of other sides; Unavailable.
        """
        journal = cls(url, retry_policy)
        try:
            async with _within_deadline(), journal._pool.connection() as connection:
                await connection.execute(journal._pool.query(_SCHEMA))
            await journal._take(fingerprint(source, destination).hex())
            journal._renewing = asyncio.create_task(journal._renew())
            await journal._load()
        except BaseException:
            await journal.aclose()
            raise
        return journal

    @classmethod
    async def exists(cls, url: str) -> bool:
        """Whether a run made its tables. Makes none."""
        pool = PostgresPool(url, "journal", (), ("id",))
        try:
            async with _within_deadline():
                return await pool.rows("SELECT to_regclass(%s)", pool.table) != [(None,)]
        finally:
            await pool.aclose()

    async def aclose(self) -> None:
        if self._renewing is not None:
            await end_task(self._renewing)
            self._renewing = None
            with suppress(SluiceError):  # else the next run waits for the end of the lease
                async with _within_deadline():
                    await self._pool.rows(_RELEASE, self._run)
        await self._pool.aclose()

    async def _keep(self, rows: Sequence[FinishedObject]) -> None:
        unique = {_mark(row): dataclasses.astuple(row) for row in rows}
        columns = [list(unique), *(list(column) for column in zip(*unique.values(), strict=True))]

        async def insert() -> None:
            async with _within_deadline():
                if not await self._pool.rows(_INSERT, *columns, self._run):
                    raise BadRequest(
                        f"Another copy took the journal {self.path}, because this one did not "
                        "renew its lease in time; run the same command again when that one ended"
                    )

        await self._retry_policy.run(insert)

    async def _take(self, sides: str) -> None:
        async with _within_deadline():
            await self._pool.rows(_BEGIN, secrets.token_hex(16), sides)
        before: object = None
        while True:
            async with _within_deadline():
                taken = await self._pool.rows(_TAKE, self._run, sides, LEASE)
                if taken:
                    self.id: str = str(taken[0][0])
                    return
                ((others, seen),) = await self._pool.rows("SELECT sides, seen FROM {t}")
            if others != sides:
                raise of_other_sides(self.path)
            if before not in (None, seen):
                raise not_alone(self.path)
            before = seen
            await asyncio.sleep(LOOK_EVERY)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            with suppress(SluiceError):  # the next insert tells whether the lease is lost
                async with _within_deadline():
                    await self._pool.rows(_RENEW, self._run)

    async def _load(self) -> None:
        after = b""
        while True:
            async with _within_deadline():
                rows = await self._pool.rows(_PAGE, after, PAGE)
            for mark, key, version, size in rows:
                self._knows(key, version, size)
                after = mark
            if len(rows) < PAGE:
                return


@asynccontextmanager
async def _within_deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            yield
    except TimeoutError:
        raise PeerTimeout("The journal's database did not answer in time") from None


def _mark(row: FinishedObject) -> bytes:
    return fingerprint(row.key, row.version)
