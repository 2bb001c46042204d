"""The relay passes the store suite as far as a store without objects can.

The objects it publishes are looked for in the folder of the next server.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from killed_writer import writer
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.testing.store_suite import StoreSuite


@pytest.fixture(scope="module")
def next_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("next") / "root")
    yield server
    server.stop()


class TestRelayToOurOwnServer(StoreSuite):
    """PUT to a server in a process of its own."""

    resumes = False
    large = 128 << 20  # it is written to a disk, too
    next: RunningServer

    @pytest.fixture(autouse=True)
    def _empty_server(self, next_server: RunningServer) -> Iterator[None]:
        self.next = next_server
        yield
        for name in next_server.stored():
            (next_server.root / name).unlink()

    async def make_store(self, tmp_path: Path) -> Store:
        return RelayStore(Backend(RelayUrl(f"{self.next.url}/files/")))

    async def read_back(self, store: Store) -> Store:
        return DiskStore(str(self.next.root), Budget(64 << 20))

    def leftovers(self, store: Store) -> Collection[str]:
        return self.next.drafts()

    def named(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)  # the server normalises names

    def command(self, tmp_path: Path) -> list[str]:
        return writer("relay", f"{self.next.url}/files/")
