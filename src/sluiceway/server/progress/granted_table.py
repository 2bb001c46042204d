"""The table of running uploads as a name may see it: those of others do not exist."""

from __future__ import annotations

from sluiceway.server.progress.watch import WatchedTable
from sluiceway.uploads.access.grant import Grant
from sluiceway.uploads.progress_record import ProgressRecord

__all__ = ["GrantedTable"]


class GrantedTable:
    """See `WatchedTable`."""

    def __init__(self, table: WatchedTable, grant: Grant) -> None:
        self._table, self._grant = table, grant

    def find(self, upload: str) -> ProgressRecord | None:
        record = self._table.find(upload)
        return record if record is not None and self._grant.owns_mark(record.owner) else None

    def end_if_orphan(self, record: ProgressRecord) -> None:
        self._table.end_if_orphan(record)

    def is_here(self, record: ProgressRecord) -> bool:
        return self._table.is_here(record)
