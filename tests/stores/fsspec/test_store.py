"""The store behind fsspec passes the suite, in memory and on a real SFTP server.

The tests look into the server's folder from outside.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from fix_sftp import SftpServer
from killed_writer import writer
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.testing.store_suite import StoreSuite

MIB = 1 << 20
_places = itertools.count()


class TestOverSftp(StoreSuite):
    resumes = False
    large, many = 36 * MIB, 40  # more in the long proofs
    budget: Budget
    place: str

    @pytest.fixture(autouse=True)
    def _fresh_place(self, sftp: SftpServer) -> None:
        self.sftp, self.budget, self.place = sftp, Budget(64 << 20), sftp.fresh()

    async def make_store(self, tmp_path: Path) -> Store:
        return FsspecStore(self.sftp.url(self.place), self.budget)

    def leftovers(self, store: Store) -> Collection[str]:
        return self.sftp.drafts(self.place)

    def command(self, tmp_path: Path) -> list[str]:
        return writer("filesystem", self.sftp.url(self.place))

    async def sweep(self, store: Store) -> None:
        await self._wait_until_drafts_rest()
        for name in self.sftp.drafts(self.place):
            path = self.sftp.folder / self.place / ".sluiceway" / "drafts" / name
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 7200))
        await super().sweep(store)

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0
        assert self.sftp.drafts(self.place) == []

    async def _wait_until_drafts_rest(self) -> None:
        """The server may still write bytes that it received from a killed client."""
        looks: list[list[tuple[str, int, int]]] = []
        async with asyncio.timeout(30):
            while len(looks) < 3 or looks[-1] != looks[-2] or looks[-2] != looks[-3]:
                looks.append(self._draft_files())
                await asyncio.sleep(0.1)

    def _draft_files(self) -> list[tuple[str, int, int]]:
        folder = self.sftp.folder / self.place / ".sluiceway" / "drafts"
        stats = [(name, (folder / name).stat()) for name in self.sftp.drafts(self.place)]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


class TestInMemory(StoreSuite):
    variant, resumes, many = True, False, 120
    flat = None
    large = 64 * MIB
    budget: Budget
    place: str

    @pytest.fixture(autouse=True)
    def _fresh_place(self) -> None:
        self.budget, self.place = Budget(64 << 20), f"/memory{next(_places)}"

    async def make_store(self, tmp_path: Path) -> Store:
        return FsspecStore(f"fsspec+memory://{self.place}", self.budget)

    def leftovers(self, store: Store) -> Collection[str]:
        from fsspec.implementations.memory import MemoryFileSystem

        return [
            name
            for name in tuple(MemoryFileSystem.store)
            if name.startswith(f"{self.place}/.sluiceway/drafts/")
        ]

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0
        assert list(self.leftovers(store)) == []
