"""Pieces for a backend of tus that threads fill from a sender's connection, and send from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from lent_sender import LentSender
from lent_ways import ON, RANDOM
from rude_peer import Exchange, Peer
from sluiceway.errors import BodyCut, Unavailable
from sluiceway.pipe import lending
from sluiceway.pipe.budget import BLOCK, MINIMUM, Budget
from sluiceway.pipe.pump import pump
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.relay import backend_upload
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.backend_upload import RETRIES
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.upload_draft import MOST_PIECE, BackendDraft
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.testing.store_suite import pattern
from tus_backend import TusBackend

DATA = pattern(MOST_PIECE + BLOCK + 70_001)
REQUEST = UploadRequest(filename="a.bin")
META = Metadata("a.bin")


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is lent after each chunk."""
    monkeypatch.setattr(lending, "FAST_CHUNK", 1)
    monkeypatch.setattr(lending, "APART", 0)
    monkeypatch.setattr(backend_upload, "RETRIES", replace(RETRIES, first_wait=0.01))


@pytest.fixture
def backend() -> TusBackend:
    return TusBackend()


@pytest.fixture
def peer(backend: TusBackend) -> Iterator[Peer]:
    with Peer(backend) as peer:
        yield peer


@pytest.fixture
async def store(peer: Peer) -> AsyncIterator[RelayStore]:
    """Its memory is all given back in the end."""
    budget = Budget(64 << 20)
    store = RelayStore(Backend(RelayUrl(peer.url), resume="auto"), budget)
    yield store
    await store.aclose()
    assert (budget.used, budget.share) == (0, Budget(64 << 20).share)


async def begin(store: RelayStore, size: int | None = len(DATA)) -> BackendDraft:
    draft = await store.begin("one", size, REQUEST)
    assert isinstance(draft, BackendDraft)
    return draft


async def take(store: RelayStore, sender: LentSender, draft: BackendDraft) -> None:
    try:
        await pump(sender, draft, budget=store.budget)
    finally:
        sender.close()


@pytest.mark.parametrize("way", [ON, RANDOM])
@pytest.mark.parametrize("size", [len(DATA), None])
async def test_all_bytes_arrive_in_pieces_of_bounded_length(
    store: RelayStore, backend: TusBackend, way: str, size: int | None
) -> None:
    draft, sender = await begin(store, size), LentSender(DATA, way)
    await take(store, sender, draft)
    assert (draft.written, sender.lent > BLOCK) == (len(DATA), True)
    assert await draft.sync() == len(DATA)
    await draft.publish("key", META)
    assert bytes(backend.data) == DATA
    assert max(backend.sizes()) <= MOST_PIECE
    if way == ON and size:
        assert len(backend.sizes()) <= 4


@pytest.mark.parametrize("kept", [0, 1, BLOCK, MOST_PIECE - 1])
async def test_a_piece_of_unknown_fate_goes_on_from_its_blocks(
    store: RelayStore, backend: TusBackend, kept: int
) -> None:
    """The backend keeps some of it and hangs up."""

    def breaks(exchange: Exchange) -> None:
        backend.data += exchange.read_body()[:kept]
        exchange.reset()

    draft = await begin(store)
    backend.odd = {"PATCH": [breaks]}
    await take(store, LentSender(DATA, ON), draft)
    await draft.publish("key", META)
    assert bytes(backend.data) == DATA


async def test_a_refusal_in_the_middle_of_a_piece_is_no_success(
    store: RelayStore, backend: TusBackend
) -> None:
    """Nothing is sent from a block behind it: the next upload may fill that block already."""

    def refuses(exchange: Exchange) -> None:
        exchange.recv(BLOCK)
        exchange.reply(503)

    draft = await begin(store)
    backend.odd = {"PATCH": [refuses] * RETRIES.attempts}
    with pytest.raises(Unavailable):
        await take(store, LentSender(DATA, ON), draft)
    await draft.suspend()


async def test_a_sender_that_leaves_loses_nothing_that_arrived(
    store: RelayStore, backend: TusBackend
) -> None:
    draft = await begin(store)
    with pytest.raises(BodyCut):
        await take(store, LentSender(DATA, ON, size=BLOCK + 5), draft)
    assert await draft.sync() == BLOCK + 5
    assert bytes(backend.data) == DATA[: BLOCK + 4]
    await take(store, LentSender(DATA[BLOCK + 5 :], RANDOM), draft)
    await draft.publish("key", META)
    assert bytes(backend.data) == DATA


async def test_a_sender_that_pauses_holds_no_memory(store: RelayStore, backend: TusBackend) -> None:
    draft = await begin(store)
    backend.data.clear()
    sender = LentSender(DATA, ON, size=BLOCK + 5, stays=True)
    taking = asyncio.create_task(pump(sender, draft, budget=store.budget))
    async with asyncio.timeout(20):
        while len(backend.data) < BLOCK + 4 or (store.budget and store.budget.used):
            await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    sender.close()
    assert await draft.sync() == BLOCK + 5
    await draft.suspend()


async def test_bytes_that_may_be_wrong_wait_and_are_forgotten(
    store: RelayStore, backend: TusBackend
) -> None:
    """As much of them as one piece has."""
    draft = await begin(store)
    draft.hold_back(True)
    await take(store, LentSender(bytes(2 * BLOCK), RANDOM), draft)
    assert (await draft.sync(), len(backend.data)) == (0, 0)
    await draft.truncate(1000)
    assert draft.written == 1000
    await draft.truncate(0)
    await take(store, LentSender(DATA, RANDOM), draft)
    await draft.publish("key", META)
    assert bytes(backend.data) == DATA


async def test_a_budget_of_few_blocks_is_enough(peer: Peer, backend: TusBackend) -> None:
    store = RelayStore(Backend(RelayUrl(peer.url), resume="auto"), Budget(MINIMUM))
    draft = await begin(store)
    await take(store, LentSender(DATA, ON), draft)
    await draft.publish("key", META)
    assert bytes(backend.data) == DATA
    await store.aclose()
