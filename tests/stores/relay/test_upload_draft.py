"""An upload at a backend of tus: pieces of bounded length, repeated where that helps, and never
continued where nobody knows what the backend has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from rude_peer import Exchange, Peer
from sluiceway.client.resumable import offers
from sluiceway.errors import Gone, PeerFailed, Refused, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.relay import backend_upload
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.backend_upload import RETRIES
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.upload_draft import MOST_PIECE, BackendDraft
from sluiceway.stores.relay.upload_state import MOST_URL, UploadState
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.stores.unpublished import SavedDraft
from tus_backend import Act, TusBackend

DATA = bytes(range(256)) * 400
REQUEST = UploadRequest(filename="a.bin")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
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
    store = RelayStore(Backend(RelayUrl(peer.url), resume="auto"), Budget(64 << 20))
    yield store
    await store.aclose()


async def begin(store: RelayStore, size: int | None = len(DATA)) -> BackendDraft:
    draft = await store.begin("one", size, REQUEST)
    assert isinstance(draft, BackendDraft)
    return draft


def status(code: int) -> Act:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(code, {}, b"no")

    return act


def waits(exchange: Exchange) -> None:
    exchange.go.wait(10)


def resets_after(backend: TusBackend, count: int) -> Act:
    """Keeps `count` bytes of a PATCH and breaks off."""

    def act(exchange: Exchange) -> None:
        backend.data += exchange.read_body()[:count]
        exchange.reset()

    return act


async def test_pieces_have_a_known_and_bounded_length(
    store: RelayStore, backend: TusBackend
) -> None:
    """Whatever sizes its client sends; the last byte comes by itself."""
    size = 2 * MOST_PIECE + 12_345
    draft = await begin(store, size)
    chunk = bytes(3_000_000)
    for at in range(0, size, len(chunk)):
        await draft.write(chunk[: size - at])
    assert await draft.sync() == size
    assert (len(backend.data), store.budget.used if store.budget else 0) == (size - 1, 0)
    entry = await draft.publish("key", Metadata("a.bin"))
    assert (entry.size, len(backend.data)) == (size, size)
    sizes = backend.sizes()
    assert max(sizes) <= MOST_PIECE
    assert (sizes[-1], sum(sizes)) == (1, size)


async def test_without_memory_pieces_are_smaller(peer: Peer, backend: TusBackend) -> None:
    store = RelayStore(Backend(RelayUrl(peer.url), resume="auto"), Budget(16 << 20))
    assert store.budget is not None
    assert store.budget.acquire(15 << 20)
    draft = await begin(store)
    for at in range(0, len(DATA), 10_000):
        await draft.write(DATA[at : at + 10_000])
    await draft.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA
    assert len(backend.sizes()) > 10
    await store.aclose()


async def test_a_url_that_is_too_long_is_refused(store: RelayStore, backend: TusBackend) -> None:
    backend.location = "/" + "x" * MOST_URL
    with pytest.raises(PeerFailed):
        await store.begin("one", len(DATA), REQUEST)


@pytest.mark.parametrize("kept", [0, 1, 70_000, len(DATA) - 1])
async def test_a_broken_piece_goes_on_at_the_backends_offset(
    store: RelayStore, backend: TusBackend, kept: int
) -> None:
    """Also when all of it arrived and only the answer was lost."""
    draft = await begin(store)
    backend.odd = {"PATCH": [resets_after(backend, kept)]}
    await draft.write(DATA)
    assert await draft.sync() == len(DATA)
    await draft.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA


async def test_an_answer_to_the_last_byte_that_was_lost_is_asked_for(
    store: RelayStore, backend: TusBackend
) -> None:
    draft = await begin(store)
    await draft.write(DATA)
    await draft.sync()
    backend.odd = {"PATCH": [resets_after(backend, 1)]}
    entry = await draft.publish("key", Metadata("a.bin"))
    assert (entry.size, bytes(backend.data)) == (len(DATA), DATA)


async def test_a_proxy_that_takes_less_gets_smaller_pieces(
    store: RelayStore, backend: TusBackend
) -> None:
    size = 3 << 20
    draft = await begin(store, size)
    backend.odd = {"PATCH": [status(413), status(413)]}
    await draft.write(bytes(size))
    await draft.publish("key", Metadata("a.bin"))
    assert len(backend.data) == size
    assert max(backend.sizes()[2:]) <= size // 4


@pytest.mark.parametrize("code", [404, 410, 409])
async def test_an_upload_that_the_backend_does_not_have_as_it_was_is_gone(
    store: RelayStore, backend: TusBackend, code: int
) -> None:
    draft = await begin(store)
    backend.odd = {"PATCH": [status(code)]}
    await draft.write(DATA)
    with pytest.raises(Gone):
        await draft.sync()
    assert len(backend.sizes()) == 1


async def test_a_refusal_of_a_piece_passes_and_what_was_kept_stays(
    store: RelayStore, backend: TusBackend
) -> None:
    draft = await begin(store)
    await draft.write(DATA[:1000])
    assert await draft.sync() == 1000
    saved = draft.save()
    backend.odd = {"PATCH": [status(403)]}
    await draft.write(DATA[1000:])
    with pytest.raises(Refused) as refused:
        await draft.sync()
    assert (refused.value.status, draft.kept) == (403, 1000)
    again = await store.resume("one", saved, 1000, len(DATA), REQUEST)
    await again.write(DATA[1000:])
    await again.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA


@pytest.mark.parametrize("code", [500, 503, 423, 429])
async def test_a_backend_that_stays_busy_is_unavailable(
    store: RelayStore, backend: TusBackend, code: int
) -> None:
    """Not for ever: its client may come back, and nothing is lost."""
    draft = await begin(store)
    await draft.write(DATA[:1000])
    await draft.sync()
    saved = draft.save()
    await draft.suspend()
    backend.odd = {"HEAD": [status(code)] * 9}
    with pytest.raises(Unavailable) as error:
        await store.resume("one", saved, 1000, len(DATA), REQUEST)
    assert "127.0.0.1" not in (error.value.public or "")
    backend.odd = {}
    assert (await store.resume("one", saved, 1000, len(DATA), REQUEST)).kept == 1000


# What an earlier process left


def state_of(draft: BackendDraft) -> UploadState:
    state = UploadState.read(draft.save().state)
    assert state is not None
    return state


async def left_at(store: RelayStore, offset: int, **changes: object) -> SavedDraft:
    """What the ledger has of an upload of which `offset` bytes were kept."""
    draft = await begin(store)
    await draft.write(DATA[:offset])
    assert await draft.sync() == offset
    state = state_of(draft)
    await draft.suspend()
    return SavedDraft(replace(state, **changes).write())  # type: ignore[arg-type]


async def test_more_bytes_at_the_backend_count(store: RelayStore, backend: TusBackend) -> None:
    saved = await left_at(store, 1000)
    backend.data += DATA[999:5000]
    draft = await store.resume("one", saved, 1000, len(DATA), REQUEST)
    assert (draft.kept, draft.written) == (5000, 5000)
    await draft.write(DATA[5000:])
    await draft.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA


@pytest.mark.parametrize("found", ["fewer", "unchecked", "another length", "complete", "not ours"])
async def test_what_nothing_explains_is_gone(
    store: RelayStore, backend: TusBackend, found: str
) -> None:
    saved = await left_at(store, 1000, unchecked=found == "unchecked")
    if found == "fewer":
        del backend.data[998:]
    elif found == "unchecked":
        backend.data += DATA[999:2000]
    elif found == "another length":
        backend.length = str(len(DATA) + 1)
    elif found == "complete":
        backend.data += DATA[999:]
    else:
        saved = SavedDraft('{"url": 1}')
    with pytest.raises(Gone):
        await store.resume("one", saved, 1000, len(DATA), REQUEST)


async def test_an_unchecked_piece_of_which_nothing_was_sent_is_forgotten(
    store: RelayStore, backend: TusBackend
) -> None:
    saved = await left_at(store, 1000, unchecked=True)
    draft = await store.resume("one", saved, 1000, len(DATA), REQUEST)
    await draft.write(DATA[1000:])
    await draft.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA


async def test_a_published_upload_is_found(store: RelayStore, backend: TusBackend) -> None:
    saved = await left_at(store, len(DATA))
    assert await store.find_published("one", saved, "key") is None
    backend.data += DATA[-1:]
    entry = await store.find_published("one", saved, "key")
    assert entry is not None
    assert (entry.size, entry.metadata.filename) == (len(DATA), "a.bin")


# Wrong bytes


async def test_wrong_bytes_are_not_sent_before_they_were_compared(
    store: RelayStore, backend: TusBackend
) -> None:
    """The right ones go on with a digest of their own."""
    draft = await begin(store)
    await draft.write(DATA[:1000])
    await draft.sync()
    draft.hold_back(True)
    assert state_of(draft).unchecked
    await draft.write(b"wrong" * 1000)
    assert await draft.sync() == 1000  # a watcher asks meanwhile
    assert len(backend.data) == 999
    await draft.truncate(1000)
    draft.hold_back(True)
    await draft.write(DATA[1000:])
    draft.hold_back(False)
    assert await draft.sync() == len(DATA)
    await draft.publish("key", Metadata("a.bin"))
    assert bytes(backend.data) == DATA


async def test_what_was_sent_cannot_be_taken_back(store: RelayStore, backend: TusBackend) -> None:
    """Unless nothing is to stay: then the upload ends there, and the next one is another."""
    for offset in (1000, 0):
        draft = await begin(store)
        await draft.write(DATA[:offset])
        await draft.sync()
        await draft.write(bytes(50_000))
        await draft.sync()
        if offset:
            with pytest.raises(Gone):
                await draft.truncate(offset)
        else:
            await draft.truncate(0)
            assert (draft.kept, draft.save().state) == (0, "")
        assert backend.seen[-1].method == "DELETE"


# Whether the backend takes pieces


async def test_the_backend_is_asked_once(store: RelayStore, backend: TusBackend) -> None:
    for _ in range(3):
        await (await begin(store)).suspend()
    assert [each.method for each in backend.seen].count("OPTIONS") == 1


@pytest.mark.parametrize("pause", [0.0, 5.0])
async def test_a_backend_that_is_silent_gets_a_request_that_is_held_open(
    peer: Peer, backend: TusBackend, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    """Where one may be held; else nobody knows."""
    monkeypatch.setattr(offers, "ASK_TIMEOUT", 0.05)
    backend.odd = {"OPTIONS": [waits]}
    store = RelayStore(Backend(RelayUrl(peer.url), resume="auto", pause=pause), Budget(16 << 20))
    try:
        if not pause:
            with pytest.raises(Unavailable):
                await store.takes_pieces()
            return
        assert await store.takes_pieces()
        draft = await store.begin("one", len(DATA), REQUEST)
        assert not isinstance(draft, BackendDraft)
        await draft.discard()
    finally:
        for exchange in backend.seen:  # none, where the time was over before it was sent
            exchange.go.set()
        await store.aclose()


async def test_what_the_offer_does_not_cover_goes_in_one_request(
    store: RelayStore, backend: TusBackend
) -> None:
    """An empty file is complete at its creation; pieces of a form are no file."""
    form = replace(REQUEST, field="file", fields=(("a", "b"),))
    for size, request in ((0, REQUEST), (5, form)):
        if size:
            with pytest.raises(Gone):
                await store.begin("one", size, request)
        else:
            draft = await store.begin("one", size, request)
            assert not isinstance(draft, BackendDraft)
            await draft.discard()
    assert "POST" not in [each.method for each in backend.seen]


async def test_an_upload_whose_creation_was_interrupted_ends_at_the_backend(
    store: RelayStore, backend: TusBackend
) -> None:
    """Its URL was not written down, so nobody could go on with it."""

    def slow(exchange: Exchange) -> None:
        exchange.go.wait(10)
        backend.do_post(exchange)

    backend.odd = {"POST": [slow]}
    beginning = asyncio.create_task(begin(store))
    while not (found := [each for each in backend.seen if each.method == "POST"]):
        await asyncio.sleep(0.01)
    beginning.cancel()
    found[0].go.set()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert backend.seen[-1].method == "DELETE"


async def test_a_draft_of_a_complete_upload_deletes_nothing(
    store: RelayStore, backend: TusBackend
) -> None:
    """Servers of tus delete the file of an upload that is terminated."""
    saved = await left_at(store, len(DATA))
    backend.data += DATA[-1:]
    draft = await store.resume("one", saved, len(DATA), len(DATA), REQUEST)
    await draft.discard()
    assert "DELETE" not in [each.method for each in backend.seen]
