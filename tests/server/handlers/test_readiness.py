"""Probes arrive often, from any client, and at the same time.

Each destination is checked at most once a second.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rude_peer import Peer
from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.server.handlers.readiness import RESULT_LIFETIME, Readiness
from sluiceway.stores.contract import Draft, Store, UploadRequest
from sluiceway.stores.fanout.store import FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from stores.fanout.destinations import LIMIT, disk, memory, relay

pytestmark = pytest.mark.anyio


class Watched(MemoryStore):
    """A store that counts its drafts, delays each, and can be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.broken = 0, False

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        self.looks += 1
        await asyncio.sleep(0.05)
        if self.broken:
            raise StoreFailed("it is broken").for_everyone()
        return await super().draft(upload, size, upload_request)


def service_of(store: Store) -> UploadService:
    return UploadService(store, Budget(LIMIT), ProgressTable())


async def test_simultaneous_probes_share_one_check() -> None:
    """Simultaneous probes share a check. Its result holds for a second; then a new check runs."""
    store, ready = Watched(), Readiness()
    service = service_of(store)
    assert await asyncio.gather(*(ready.why_not(service) for _ in range(100))) == [None] * 100
    assert await ready.why_not(service) is None
    assert store.looks == 1

    store.broken = True
    assert await ready.why_not(service) is None
    await asyncio.sleep(RESULT_LIFETIME)
    assert (
        await asyncio.gather(*(ready.why_not(service) for _ in range(100)))
        == ["it is broken"] * 100
    )
    assert store.looks == 2


async def test_a_probe_that_leaves_does_not_cancel_the_others() -> None:
    store, ready = Watched(), Readiness()
    service = service_of(store)
    leaving, staying = (
        asyncio.create_task(ready.why_not(service)),
        asyncio.create_task(ready.why_not(service)),
    )
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert await staying is None
    assert store.looks == 1


async def test_each_destination_is_checked_and_a_server_is_asked(
    tmp_path: Path,
) -> None:
    """The byte in a folder is removed again, the other server gets one HEAD, and one broken
    destination makes the whole server unready.
    """
    with Peer(lambda exchange: exchange.reply(404)) as peer:
        budget = Budget(LIMIT)
        destinations = [
            disk(tmp_path / "a", budget),
            relay(f"{peer.url}/x", headers={"authorization": "Bearer operator"}),
            memory(),
        ]
        store = FanoutStore(destinations, budget)
        assert await Readiness().why_not(service_of(store)) is None
        broken = Watched()
        broken.broken = True
        destinations.append(type(destinations[0])(broken, True, "broken"))
        unready = service_of(FanoutStore(destinations, budget))
        assert await Readiness().why_not(unready) == "it is broken"
        await store.aclose()
    heard = [(one.method, one.headers["authorization"]) for one in peer.seen]
    assert heard == [("HEAD", "Bearer operator")] * 2
    assert list((tmp_path / "a" / ".sluiceway" / "drafts").iterdir()) == []
