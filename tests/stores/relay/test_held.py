"""Requests that wait for their clients are bounded in number, and leave nothing open."""

from __future__ import annotations

import pytest

from fix_gateway import takes
from rude_peer import Peer
from sluiceway.errors import Gone, NotFound
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.relay import held
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.stores.unpublished import SavedDraft

OPEN = SavedDraft("open")


async def test_the_one_that_waits_longest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many; the others go on."""
    monkeypatch.setattr(held, "MOST_WAITING", 2)
    with Peer(takes) as peer:
        store = RelayStore(Backend(RelayUrl(peer.url), pause=60.0), Budget(16 << 20))
        for upload in ("a", "b", "c"):
            draft = await store.begin(upload, 10)
            await draft.write(b"12345")
            assert await draft.sync() == 5
            await draft.suspend()
        assert [store.holds(upload) for upload in ("a", "b", "c")] == [False, True, True]
        with pytest.raises(NotFound):
            await store.resume("a", OPEN, 5, 10)
        with pytest.raises(NotFound):  # not where it is said to be: never continued wrongly
            await store.resume("b", OPEN, 4, 10)
        assert not store.holds("b")
        draft = await store.resume("c", OPEN, 5, 10)
        await draft.write(b"67890")
        entry = await draft.publish("key", Metadata("c"))
        assert (entry.size, store.holds("c")) == (10, False)
        with pytest.raises(Gone):
            await draft.write(b"x")
        assert [each.body for each in peer.seen if not each.was_cut()] == [b"1234567890"]
        await store.aclose()
