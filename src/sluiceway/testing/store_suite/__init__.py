"""The tests that every store must pass, as a class to derive from.

    class TestMyStore(StoreSuite):
        async def make_store(self, tmp_path: Path) -> Store:
            return MyStore(tmp_path)

The files beside this one have the tests by subject; `hooks` has what else a class may define.
"""

from __future__ import annotations

from sluiceway.testing.store_suite.bytes_suite import EDGES, BytesSuite
from sluiceway.testing.store_suite.cut_suite import CutSuite
from sluiceway.testing.store_suite.endings_suite import EndingsSuite
from sluiceway.testing.store_suite.hooks import pattern, read, store_bytes
from sluiceway.testing.store_suite.keys_suite import ODD_KEYS, KeysSuite
from sluiceway.testing.store_suite.reading_suite import ReadingSuite
from sluiceway.testing.store_suite.renaming_suite import RenamingSuite
from sluiceway.testing.store_suite.resuming_suite import ResumingSuite
from sluiceway.testing.store_suite.size_suite import SizeSuite

__all__ = ["EDGES", "ODD_KEYS", "StoreSuite", "pattern", "read", "store_bytes"]


class StoreSuite(
    BytesSuite,
    EndingsSuite,
    CutSuite,
    KeysSuite,
    ReadingSuite,
    RenamingSuite,
    ResumingSuite,
    SizeSuite,
):
    """All tests of a store, for pytest with anyio's plugin.

    Example:
        >>> class TestMyStore(StoreSuite):
        ...     async def make_store(self, tmp_path: Path) -> Store:
        ...         return MyStore(tmp_path)
    """
