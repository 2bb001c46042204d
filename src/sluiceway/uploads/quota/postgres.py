"""The account of many servers, in the database of their ledger.

Reservations are made one after the other, under an advisory lock of the place; what is counted at
the end of a change needs no lock, because one statement sees a reservation become a file. Works
behind PgBouncer.

A reservation need not survive a crash of the database: a file reserves again before it is
published. What a key had before its change, and what it has behind it, must: those commits wait
for the disk.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from sluiceway.errors import SluiceError
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.quota.account import Amount, Limits, NotCounted, QuotaRefusal

__all__ = ["PostgresAccount"]

log: logging.Logger = logging.getLogger("sluiceway")

HELD = "account of quotas"  # keeps the lease of this process
ONE_AFTER_ANOTHER: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
# Sent with the statement that they are for: a lock that is held while an answer travels holds up
# all other servers.
NOT_FOR_THE_DISK: LiteralString = "SET LOCAL synchronous_commit = off; "
IN_TURN: LiteralString = NOT_FOR_THE_DISK + "SELECT pg_advisory_xact_lock(%(lock)s); "

HOLD: LiteralString = """WITH
    own AS (SELECT * FROM {t_reserved} WHERE place = %(place)s AND id = %(id)s),
    others AS (SELECT * FROM {t_reserved} r WHERE place = %(place)s AND id <> %(id)s
        AND NOT EXISTS (SELECT 1 FROM {t_reserved} w WHERE w.place = r.place AND w.id = r.whole)),
    found AS (SELECT
        COALESCE((SELECT sum(stored) FROM {t_usage} WHERE place = %(place)s), 0)
            + COALESCE((SELECT sum(GREATEST(0, bytes - total_credit)) FROM others), 0) AS total,
        COALESCE((SELECT stored FROM {t_usage} WHERE place = %(place)s AND name = %(name)s), 0)
            + COALESCE((SELECT sum(GREATEST(0, bytes - name_credit)) FROM others
                WHERE name = %(name)s), 0) AS of_name,
        COALESCE((SELECT GREATEST(0, bytes - total_credit) FROM own), 0) AS own_total,
        COALESCE((SELECT GREATEST(0, bytes - name_credit) FROM own), 0) AS own_name,
        EXISTS (SELECT 1 FROM {t_counting} WHERE place = %(place)s AND done)
            AND EXISTS (SELECT 1 FROM {t_members} WHERE place = %(place)s AND process = %(me)s)
            AS is_counted),
    fitting AS (SELECT *,
        %(most)s::bigint IS NULL OR %(need)s <= own_total OR %(need)s <= %(most)s - total
            AS total_fits,
        %(most_name)s::bigint IS NULL OR %(need_name)s <= own_name
            OR %(need_name)s <= %(most_name)s - of_name AS name_fits
        FROM found),
    held AS (INSERT INTO {t_reserved}
        SELECT %(place)s, %(id)s, %(name)s, %(bytes)s, %(credit)s, %(credit_name)s, %(me)s, ''
        FROM fitting WHERE is_counted AND total_fits AND name_fits
        ON CONFLICT (place, id) DO UPDATE SET name = EXCLUDED.name, bytes = EXCLUDED.bytes,
            total_credit = EXCLUDED.total_credit, name_credit = EXCLUDED.name_credit,
            holder = CASE {t_reserved}.holder WHEN '' THEN '' ELSE EXCLUDED.holder END)
    SELECT is_counted, total_fits, name_fits, total::bigint, of_name::bigint FROM fitting"""
HOLD_PART: LiteralString = """WITH
    spare AS (SELECT
        COALESCE((SELECT bytes FROM {t_reserved} WHERE place = %(place)s AND id = %(whole)s), 0)
            - COALESCE((SELECT sum(bytes) FROM {t_reserved}
                WHERE place = %(place)s AND whole = %(whole)s), 0) AS bytes)
    INSERT INTO {t_reserved}
    SELECT %(place)s, %(id)s, %(name)s, %(bytes)s, 0, 0, %(me)s, %(whole)s
    FROM spare WHERE %(bytes)s <= spare.bytes RETURNING id"""
JOIN: LiteralString = """WITH gone AS (DELETE FROM {t_reserved}
        WHERE place = %(place)s AND id = ANY(%(parts)s) RETURNING name, bytes)
    INSERT INTO {t_reserved}
    SELECT %(place)s, %(id)s, COALESCE((SELECT name FROM gone LIMIT 1), ''),
        COALESCE((SELECT sum(bytes) FROM gone), 0), 0, 0, '', ''
    ON CONFLICT (place, id) DO UPDATE SET bytes = {t_reserved}.bytes + EXCLUDED.bytes,
        name = CASE WHEN EXISTS (SELECT 1 FROM gone) THEN EXCLUDED.name
            ELSE {t_reserved}.name END,
        total_credit = 0, name_credit = 0, holder = ''"""
UNSURE: LiteralString = """SELECT r.id FROM {t_reserved} r WHERE r.place = %s AND CASE r.holder
    WHEN '' THEN NOT EXISTS (SELECT 1 FROM {t} u WHERE u.place = r.place AND u.id = r.id
        AND u.state IN ('open', 'finishing'))
    ELSE r.holder NOT IN {living} END"""
# The lock of a session that ended is free; the process may have another one in a moment.
UNCERTAIN: LiteralString = """SELECT EXISTS (SELECT 1 FROM {t_processes} p WHERE p.name IN
        (SELECT holder FROM {t_reserved} WHERE place = %s
        UNION SELECT holder FROM {t_changes} WHERE place = %s)
    AND CASE WHEN p.lock IS NULL OR p.seen < now() - interval '4 seconds' THEN false
        ELSE pg_try_advisory_xact_lock(p.lock) END)"""
CLAIM_KEY: LiteralString = """INSERT INTO {t_changes} (place, key, holder)
    VALUES (%(place)s, %(key)s, %(me)s)
    ON CONFLICT (place, key) DO UPDATE SET holder = EXCLUDED.holder
    WHERE {t_changes}.holder NOT IN {living} RETURNING name, bytes"""
ABANDONED_KEYS: LiteralString = """SELECT key FROM {t_changes}
    WHERE place = %s AND holder NOT IN {living}"""
END: LiteralString = """WITH gone AS (DELETE FROM {t_changes}
        WHERE place = %(place)s AND key = %(key)s AND holder = %(me)s RETURNING name, bytes),
    deltas AS (SELECT name, -bytes AS bytes FROM gone WHERE name IS NOT NULL
        UNION ALL SELECT %(name)s::bytea, %(bytes)s::bigint FROM gone WHERE name IS NOT NULL),
    counted AS (INSERT INTO {t_usage}
        SELECT %(place)s, name, sum(bytes) FROM deltas GROUP BY name HAVING sum(bytes) <> 0
        ORDER BY name -- two that count at once wait for each other in one order
        ON CONFLICT (place, name) DO UPDATE SET stored = {t_usage}.stored + EXCLUDED.stored),
    freed AS (DELETE FROM {t_reserved} WHERE place = %(place)s AND id = %(id)s)
    SELECT count(*) FROM gone"""


class PostgresAccount:
    """See `Account`."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database, self._rows = database, database.rows
        self._place, self._me = database.place, database.process
        mark = hashlib.sha256(f"quotas {database.pool.table} {self._place}".encode()).digest()
        self._lock = int.from_bytes(mark[:8], "big", signed=True)
        self._is_member = False

    async def counts(self) -> bool | None:
        """The first of all living servers begins anew."""
        await self._be_seen()
        async with self._database.transaction() as connection:

            async def rows(text: LiteralString, *values: object) -> list[Any]:
                found = await connection.execute(self._database.query(text), values)
                return await found.fetchall() if found.description else []

            await rows(ONE_AFTER_ANOTHER, self._lock)
            await rows(
                "DELETE FROM {t_members} WHERE place = %s AND process <> %s "
                "AND process NOT IN {living}",
                *(self._place, self._me),
            )
            members = await rows("SELECT process FROM {t_members} WHERE place = %s", self._place)
            state = await rows(
                "SELECT done, holder, holder IN {living} FROM {t_counting} WHERE place = %s",
                self._place,
            )
            self._is_member = True
            if not members or not state:
                await self._begin_anew(rows)
                return True
            await rows(
                "INSERT INTO {t_members} VALUES (%s, %s) ON CONFLICT DO NOTHING",
                *(self._place, self._me),
            )
            done, holder, is_alive = state[0]
            if done:
                return None
            if holder != self._me and is_alive:
                return False
            await rows(
                "UPDATE {t_counting} SET holder = %s WHERE place = %s", self._me, self._place
            )
            return True

    async def counted(
        self, stored: Sequence[Amount], lasting: Sequence[tuple[str, Amount, str]]
    ) -> None:
        """Nothing is written where another server has taken the count over."""
        query = self._database.query
        async with self._database.transaction() as connection:
            done = await connection.execute(
                query("UPDATE {t_counting} SET done = true WHERE place = %s AND holder = %s"),
                (self._place, self._me),
            )
            if not done.rowcount:
                return
            await connection.execute(
                query("INSERT INTO {t_usage} SELECT %s, * FROM unnest(%s::bytea[], %s::bigint[])"),
                (self._place, [_bytes(one.name) for one in stored], [one.bytes for one in stored]),
            )
            await connection.execute(
                query(
                    "INSERT INTO {t_reserved} SELECT %s, id, name, bytes, 0, 0, '', whole FROM "
                    "unnest(%s::text[], %s::bytea[], %s::bigint[], %s::text[]) "
                    "AS one (id, name, bytes, whole)"
                ),
                (
                    self._place,
                    [upload for upload, _, _ in lasting],
                    [_bytes(one.name) for _, one, _ in lasting],
                    [one.bytes for _, one, _ in lasting],
                    [whole for _, _, whole in lasting],
                ),
            )

    async def usage(self) -> dict[str, int]:
        rows = await self._rows(
            "SELECT name, stored FROM {t_usage} WHERE place = %s AND stored <> 0", self._place
        )
        return {_text(name): stored for name, stored in rows}

    async def hold(
        self, id: str, wanted: Amount, limits: Limits, replaced: Amount | None = None
    ) -> None:
        await self._be_seen()
        credit = 0 if replaced is None else replaced.bytes
        credit_name = credit if replaced and replaced.name == wanted.name else 0
        values = {
            "id": id,
            "name": _bytes(wanted.name),
            "bytes": wanted.bytes,
            "credit": credit,
            "credit_name": credit_name,
            "most": limits.total,
            "most_name": limits.of_name,
            "need": max(0, wanted.bytes - credit),
            "need_name": max(0, wanted.bytes - credit_name),
        }
        rows = await self._named(IN_TURN + HOLD, **values)
        ((is_counted, total_fits, name_fits, total, of_name),) = rows
        if not is_counted:
            raise NotCounted
        if not total_fits:
            raise QuotaRefusal((limits.total or 0) - total + credit, is_total=True)
        if not name_fits:
            raise QuotaRefusal((limits.of_name or 0) - of_name + credit_name, is_total=False)

    async def hold_part(self, id: str, wanted: Amount, whole: str) -> bool:
        name, size = _bytes(wanted.name), wanted.bytes
        found = await self._named(IN_TURN + HOLD_PART, id=id, whole=whole, name=name, bytes=size)
        return bool(found)

    async def keep(self, id: str) -> None:
        await self._rows(
            "UPDATE {t_reserved} SET holder = '' WHERE place = %s AND id = %s", self._place, id
        )

    async def join(self, parts: Sequence[str], id: str) -> None:
        await self._named(JOIN, parts=[*parts], id=id)

    async def release(self, ids: Iterable[str]) -> None:
        await self._rows(
            "DELETE FROM {t_reserved} WHERE place = %s AND id = ANY(%s)", self._place, [*ids]
        )

    async def unsure(self) -> list[str]:
        return [upload for (upload,) in await self._rows(UNSURE, self._place)]

    async def is_uncertain(self) -> bool:
        ((found,),) = await self._rows(UNCERTAIN, self._place, self._place)
        return bool(found)

    async def claim(self, key: str) -> Amount | bool:
        await self._be_seen()
        # On the disk with the next commit that waits for it, which is that of `begin`.
        rows = await self._named(NOT_FOR_THE_DISK + CLAIM_KEY, key=_bytes(key))
        if not rows:
            return False
        ((name, size),) = rows
        return True if name is None else Amount(_text(name), size)

    async def abandoned(self) -> list[str]:
        return [_text(key) for (key,) in await self._rows(ABANDONED_KEYS, self._place)]

    async def begin(self, key: str, before: Amount) -> None:
        await self._rows(
            "UPDATE {t_changes} SET name = %s, bytes = %s "
            "WHERE place = %s AND key = %s AND holder = %s",
            *(_bytes(before.name), before.bytes, self._place, _bytes(key), self._me),
        )

    async def end(self, key: str, after: Amount, id: str = "") -> None:
        name = _bytes(after.name)
        rows = await self._named(END, key=_bytes(key), name=name, bytes=after.bytes, id=id)
        if rows == [(0,)]:
            log.warning(
                "The ledger took this server for dead while it changed a file; quotas may be off "
                "by that file until all servers have been stopped"
            )

    async def leave(self, key: str) -> None:
        await self._rows(
            "UPDATE {t_changes} SET holder = '' WHERE place = %s AND key = %s AND holder = %s",
            *(self._place, _bytes(key), self._me),
        )

    async def aclose(self) -> None:
        """This process is not a member any more; the ledger closes the database."""
        if self._is_member:
            self._database.lease.drop(HELD)
            try:
                await self._rows(
                    "DELETE FROM {t_members} WHERE place = %s AND process = %s",
                    *(self._place, self._me),
                )
            except SluiceError:
                pass  # others see that this process ends

    async def _be_seen(self) -> None:
        """Others know that this process lives, for as long as it does."""
        await self._database.prepare()
        await self._database.lease.be_seen()
        self._database.lease.hold(HELD)

    async def _begin_anew(self, rows: Any) -> None:
        for text in (
            "DELETE FROM {t_usage} WHERE place = %s",
            "DELETE FROM {t_reserved} WHERE place = %s",
            "DELETE FROM {t_changes} WHERE place = %s",
            "DELETE FROM {t_counting} WHERE place = %s",
            "DELETE FROM {t_members} WHERE place = %s",
        ):
            await rows(text, self._place)
        await rows("INSERT INTO {t_counting} VALUES (%s, %s, false)", self._place, self._me)
        await rows("INSERT INTO {t_members} VALUES (%s, %s)", self._place, self._me)

    async def _named(self, text: LiteralString, **values: object) -> list[Any]:
        """As `rows`, of one statement or several, with names in them."""
        own = {"place": self._place, "me": self._me, "lock": self._lock}
        return await self._database.together(text, **own, **values)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return bytes(data).decode("utf-8", "surrogatepass")
