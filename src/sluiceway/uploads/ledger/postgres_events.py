"""The events of a ledger in PostgreSQL: expected, waiting, in the hands of one server, forgotten.

The database's clock decides what is due: those of the servers may differ. Knows no upload.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, LiteralString, Protocol

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.uploads.ledger.contract import OutboxEvent
from sluiceway.uploads.ledger.postgres_lease import ProcessLease
from sluiceway.uploads.ledger.postgres_tables import ABANDONED, ALIVE_FOR, EXPECT, LEASE, TAKE

__all__ = ["PostgresEvents"]


class _Rows(Protocol):
    async def __call__(self, text: LiteralString, *values: object) -> list[Any]: ...


class PostgresEvents:
    """See `EventQueue`."""

    def __init__(
        self,
        rows: _Rows,
        prepare: Callable[[], Awaitable[None]],
        lease: ProcessLease,
        place: str,
    ) -> None:
        """`rows` runs one statement in a transaction of its own; `prepare` makes the tables."""
        self._rows, self._prepare, self._lease, self._place = rows, prepare, lease, place

    async def expect(self, events: Sequence[OutboxEvent]) -> None:
        await self._be_seen()
        self._lease.hold(*(event.id for event in events))
        try:
            await self._write(events, self._lease.name)
        except SluiceError:
            self._lease.drop(*(event.id for event in events))
            raise

    async def confirm(self, events: Sequence[OutboxEvent]) -> None:
        """Also those that another server took for abandoned, and dropped."""

        async def write() -> None:
            await self._write(events, "")
            self._lease.drop(*(event.id for event in events))

        await finish_then_cancel(write())

    async def drop(self, events: Sequence[OutboxEvent]) -> None:
        ids = [event.id for event in events]

        async def write() -> None:
            await self._rows(
                "DELETE FROM {t_events} WHERE place = %s AND id = ANY(%s)", self._place, ids
            )
            self._lease.drop(*ids)

        await finish_then_cancel(write())

    async def abandoned(self, most: int) -> list[OutboxEvent]:
        await self._be_seen()
        me, place = self._lease.name, self._place
        rows = await self._rows(ABANDONED, me, place, place, me, ALIVE_FOR, LEASE, most)
        return [OutboxEvent(*row) for row in rows]

    async def take(self, most: int, lease: float) -> list[OutboxEvent]:
        rows = await self._rows(TAKE, lease, self._place, self._place, most)
        return [OutboxEvent(*row) for row in rows]

    async def postpone(self, event: OutboxEvent, wait: float, tries: int) -> None:
        await self._rows(
            "UPDATE {t_events} SET tries = %s, due = extract(epoch from now()) + %s "
            "WHERE place = %s AND id = %s",
            tries,
            wait,
            self._place,
            event.id,
        )

    async def _write(self, events: Sequence[OutboxEvent], holder: str) -> None:
        columns = [[getattr(event, name) for event in events] for name in ("id", "upload", "body")]
        await self._rows(EXPECT, self._place, holder, *columns)

    async def _be_seen(self) -> None:
        await self._prepare()  # a process is seen by its row
        await self._lease.be_seen()
