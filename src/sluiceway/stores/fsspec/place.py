"""The place behind fsspec that a store, its drafts and its readers share.

Connections, the folder's tree, the budget, one lock per key, and the versions of the last second.
Knows no draft's or reader's class.
"""

from __future__ import annotations

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, Entry, Metadata
from sluiceway.stores.fsspec.config import FsspecUrl
from sluiceway.stores.fsspec.connections import ConnectionPool
from sluiceway.stores.fsspec.errors import map_error
from sluiceway.stores.fsspec.tree import FsspecTree
from sluiceway.stores.fsspec.versions import RecentVersions, Version
from sluiceway.stores.keys.locks import KeyLocks

__all__ = ["FsspecPlace", "entry_of"]


class FsspecPlace:
    """Nothing is connected before the first call."""

    def __init__(self, url: FsspecUrl, budget: Budget) -> None:
        self.budget: Budget = budget
        self.tree: FsspecTree = FsspecTree(url)
        self.reads_ranges: bool = url.reads_ranges
        self.connections: ConnectionPool = ConnectionPool(
            url.connect, lambda error: map_error(error, url.display_name, url.secrets)
        )
        self.locks: KeyLocks = KeyLocks()  # fsspec has none, so they hold in this process only
        self.recent: RecentVersions = RecentVersions()
        self.drafts: dict[str, Draft] = {}  # under way in this process, by the names of their files

    async def version(self, key: str) -> Version | None:
        """The version of the object there, None for none. Raises Exists, Forbidden."""
        return await self.connections.call(
            lambda fs: self.tree.object_version(fs, key), repeatable=True
        )


def entry_of(key: str, version: Version, metadata: Metadata = Metadata(filename="")) -> Entry:
    return Entry(key, version.size, version.etag, version.modified or 0.0, metadata)
