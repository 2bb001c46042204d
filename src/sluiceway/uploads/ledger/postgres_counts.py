"""Counts that many servers share in the database of their ledger: files of links, and downloads.

Each count is one row, and each step one statement: what the row says when it is locked decides.
"""

from __future__ import annotations

import time
from typing import LiteralString

from sluiceway.uploads.access.link_uses import REMEMBERED
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.lifetime.download_counts import RESUMED_FOR, reader_mark

__all__ = ["PostgresDownloads", "PostgresUses"]

FORGET_EVERY = 3600.0  # seconds between two looks for links that ended

ADD: LiteralString = """INSERT INTO {t_uses} VALUES (%s, %s, GREATEST(0, %s), %s)
    ON CONFLICT (place, link) DO UPDATE SET files = GREATEST(0, {t_uses}.files + %s)
    RETURNING files"""
# Counted where there were fewer, unless ranges go on that the reader began within the hour.
BEGIN: LiteralString = """INSERT INTO {t_downloads} AS d VALUES
    (%(place)s, %(number)s, ARRAY[%(mark)s::text], ARRAY[%(now)s::bigint])
    ON CONFLICT (place, number) DO UPDATE SET
        readers = d.readers || EXCLUDED.readers, began = d.began || EXCLUDED.began
    WHERE cardinality(d.readers) < %(most)s AND NOT (%(ranged)s AND EXISTS (
        SELECT 1 FROM unnest(d.readers, d.began) AS one (reader, began)
        WHERE one.reader = %(mark)s AND one.began > %(now)s - %(resumed_for)s))
    RETURNING 1"""
GOES_ON: LiteralString = """SELECT 1 FROM {t_downloads} d,
    unnest(d.readers, d.began) AS one (reader, began) WHERE d.place = %(place)s
    AND d.number = %(number)s AND one.reader = %(mark)s
    AND one.began > %(now)s - %(resumed_for)s LIMIT 1"""


class PostgresUses:
    """See `UseCounts`."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database
        self._next_look = 0.0

    async def add(self, link: str, ends: float | None, files: int) -> int:
        place, now = self._database.place, time.time()
        if now >= self._next_look:
            self._next_look = now + FORGET_EVERY
            forget: LiteralString = "DELETE FROM {t_uses} WHERE place = %s AND ends < %s"
            await self._database.rows(forget, place, now - REMEMBERED)
        ((count,),) = await self._database.rows(ADD, place, link, files, ends, files)
        return int(count)


class PostgresDownloads:
    """See `DownloadCounts`."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    async def begin(self, number: str, most: int, reader: str, *, ranged: bool) -> bool:
        if most < 1:
            return False
        values = {
            "place": self._database.place,
            "number": number,
            "mark": reader_mark(reader),
            "now": round(time.time()),
            "resumed_for": round(RESUMED_FOR),
            "most": most,
            "ranged": ranged,
        }
        async with self._database.transaction() as connection:
            for text in (BEGIN, GOES_ON) if ranged else (BEGIN,):
                found = await connection.execute(self._database.query(text), values)
                if await found.fetchone():
                    return True
        return False

    async def is_used_up(self, number: str, most: int, *, for_good: bool = False) -> bool:
        rows = await self._database.rows(
            "SELECT began FROM {t_downloads} WHERE place = %s AND number = %s",
            *(self._database.place, number),
        )
        began: list[int] = rows[0][0] if rows else []
        if len(began) < most:
            return False
        return not for_good or began[-1] + RESUMED_FOR < time.time()

    async def forget(self, number: str) -> None:
        await self._database.rows(
            "DELETE FROM {t_downloads} WHERE place = %s AND number = %s",
            *(self._database.place, number),
        )
