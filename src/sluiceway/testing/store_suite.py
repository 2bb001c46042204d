"""What every store must do, as tests. A store passes when a class of five lines below `StoreSuite` is green.

    class TestMyStore(StoreSuite):
        async def make_store(self, tmp_path: Path) -> Store:
            return MyStore(tmp_path)

The tests stand by subject in the files beside this one; `suite_hooks` says what else a class may tell of its store.
"""

from __future__ import annotations

from sluiceway.testing.suite_bytes import EDGES, BytesSuite
from sluiceway.testing.suite_cut import CutSuite
from sluiceway.testing.suite_endings import EndingsSuite
from sluiceway.testing.suite_hooks import pattern, read, store_bytes
from sluiceway.testing.suite_keys import ODD_KEYS, KeysSuite
from sluiceway.testing.suite_reading import ReadingSuite
from sluiceway.testing.suite_size import SizeSuite

__all__ = ["EDGES", "ODD_KEYS", "StoreSuite", "pattern", "read", "store_bytes"]


class StoreSuite(BytesSuite, EndingsSuite, CutSuite, KeysSuite, ReadingSuite, SizeSuite):
    """All of it."""
