"""Errors of SQLite as errors of ours. Paths are for operators only.

By SQLite's result codes; a text decides nothing.
"""

from __future__ import annotations

import os
import sqlite3

from sluiceway.errors import NoSpace, SluiceError, StoreFailed, Unavailable

__all__ = ["MissingTable", "ReadOnlyFile", "map_error"]

PRIMARY = 0xFF  # an extended result code holds its primary code in the lowest byte
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# The index of the WAL could not grow.
NO_SHARED_MEMORY = sqlite3.SQLITE_IOERR_SHMSIZE


class MissingTable(StoreFailed):
    """There is no such database, or no such table in it."""


class ReadOnlyFile(StoreFailed):
    """The work would have written where this process may only read."""


def map_error(error: sqlite3.Error, path: str) -> SluiceError:
    """The error to raise for one of the driver's. `path` is the file of the database."""
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & PRIMARY
    if primary == sqlite3.SQLITE_FULL or code == NO_SHARED_MEMORY:
        full = NoSpace("The database's disk is full; nothing was changed. Make room there")
        return full.for_everyone()
    if primary in LOCKED:
        return Unavailable("Another program has locked the database for too long; try again later")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return ReadOnlyFile(f"{path} can be read and not written here").for_operator()
    if primary in DAMAGED:
        return StoreFailed(
            f"{path} is damaged, or no SQLite database; "
            "see what `sqlite3 FILE 'PRAGMA integrity_check'` says, and restore a backup"
        ).for_operator()
    if primary == sqlite3.SQLITE_CANTOPEN:
        if os.access(path, os.R_OK):  # its folder takes no journal
            return ReadOnlyFile(f"{path} can be read and not written here").for_operator()
        return StoreFailed(
            f"{path} cannot be opened: its folder is missing, or this process may not read it"
        ).for_operator()
    return StoreFailed(f"SQLite failed at {path}: {error}").for_operator()
