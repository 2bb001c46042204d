"""A process of a server as far as uploads are concerned, and what its clients do.

Two of them over one ledger and one store are two processes to each other.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import DEFAULT_CHOICE
from sluiceway.pipe.source import BytesSource, PassingSource
from sluiceway.stores.contract import Entry, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import FinalResponse
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.outbox.outbox import Outbox
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules

__all__ = [
    "MIB",
    "REQUEST",
    "Process",
    "Start",
    "append",
    "endless",
    "hang",
    "respond",
    "start_process",
]

REQUEST = UploadRequest(key="book", filename="book", wanted="sha-256")
MIB = 1 << 20


@dataclasses.dataclass
class Process:
    """A process of a server, as far as uploads are concerned."""

    uploads: ResumableUploads
    store: DiskStore
    table: ProgressTable
    closed: bool = False

    async def aclose(self) -> None:
        await self.uploads.aclose()
        await self.uploads.ledger.aclose()
        await self.store.aclose()


Start = Callable[..., Process]


def start_process(
    folder: Path,
    max_size: int | None = None,
    expiry: Expiry = Expiry(),
    template: KeyTemplate = KeyTemplate(),
) -> Process:
    budget = Budget(16 << 20)
    store = DiskStore(str(folder / "root"), budget)
    ledger, table = SqliteLedger(str(folder / "ledger")), ProgressTable()
    outbox = Outbox(ledger.events, store)
    rules = UploadRules(store, budget, template, DEFAULT_CHOICE, max_size, False, outbox)
    return Process(ResumableUploads(ledger, rules, budget, table, expiry), store, table)


def respond(outcome: Entry | SluiceError) -> FinalResponse:
    if isinstance(outcome, SluiceError):
        return FinalResponse(outcome.status, (), outcome.code)
    return FinalResponse(201, (), str(outcome.metadata.sha256))


async def append(process: Process, upload: str, data: bytes, **expected: bytes) -> int:
    async with process.uploads.hold(upload) as held:
        return await held.append(BytesSource(data), expected)


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    """A sender that never ends, and counts what was taken of it."""
    while True:
        yield pattern(100_000, sent[0] % (4 * MIB))
        sent[0] += 100_000
        await asyncio.sleep(0.01)


async def hang(process: Process, upload: str, sent: list[int]) -> None:
    async with process.uploads.hold(upload) as held:
        await held.append(PassingSource(endless(sent), None))
