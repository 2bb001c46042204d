"""Errors of psycopg and its pool as errors of ours, without the database's address.

By exception types, which stand for SQLSTATE codes; a text decides nothing.
"""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolTimeout

from sluiceway.errors import NoSpace, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.descriptors import out_of_descriptors

__all__ = ["ReadOnlyDatabase", "map_error"]

# A role without the right, a read-only transaction, and a standby, which has no unlogged tables.
READ_ONLY = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.FeatureNotSupported,
)


class ReadOnlyDatabase(StoreFailed):
    """The statement would have written where this session may only read."""


def map_error(error: Exception, table: str) -> SluiceError:
    """The error to raise for one of the driver's. `table` is the table that holds the objects."""
    if isinstance(error, psycopg.errors.DiskFull):
        return NoSpace("The database's disk is full; nothing was stored").for_everyone()
    if isinstance(error, psycopg.errors.UndefinedTable):
        return StoreFailed(f"The table {table!r} does not exist; make it with: sluiceway init URL")
    if isinstance(error, psycopg.errors.UndefinedColumn):
        return StoreFailed(
            f"The table {table!r} was made by an earlier version; run: sluiceway init URL"
        )
    if isinstance(error, READ_ONLY):
        return ReadOnlyDatabase(
            "The database lets this role read and not write; "
            "use another role, or the primary server"
        )
    if (busy := out_of_descriptors(error)) is not None:
        return busy
    if isinstance(error, PoolTimeout | psycopg.OperationalError):
        return Unavailable(
            "The database cannot be reached, or has no free connection; try again later"
        )
    return StoreFailed(f"The database refused: {str(error).partition(chr(10))[0]}")
