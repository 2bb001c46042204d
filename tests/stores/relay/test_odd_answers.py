"""Answers of a destination that are no success although they begin like one."""

from __future__ import annotations

import pytest

from rude_peer import Exchange, Peer
from sluiceway.errors import PeerFailed
from sluiceway.stores.contract import Metadata
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl


async def test_a_truncated_2xx_is_not_a_success() -> None:
    """200 and then a broken connection: nothing is certain, so nothing is published."""

    def half(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.head(200, {"Content-Length": "100"})
        exchange.send(b"part")
        exchange.reset()

    with Peer(half) as peer:
        store = RelayStore(Backend(RelayUrl(f"{peer.url}/in")))
        draft = await store.draft("u1", 5)
        try:
            await draft.write(b"12345")
            with pytest.raises(PeerFailed):
                await draft.publish("key", Metadata(""))
        finally:
            await draft.discard()
            await store.aclose()
