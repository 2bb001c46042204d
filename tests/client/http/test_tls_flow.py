"""Bodies over TLS, in pieces of every size: no write waits for bytes that need not come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fix_tls import Certificates, TlsPeer
from rude_peer import Exchange
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.request import StreamingRequest
from sluiceway.client.http.tls import Trust
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody
from sluiceway.pipe.source import Buffer, PassingSource


@pytest.mark.parametrize("size", [1, 100, 16 << 10, 64 << 10, 300_000])
async def test_every_body_arrives_over_tls(tls: Certificates, size: int) -> None:
    """From 1 to 12 pieces; the server reads to the end and says nothing before."""

    async def pieces(count: int) -> AsyncIterator[Buffer]:
        for _ in range(count):
            yield b"x" * size

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(201)

    with TlsPeer(act, tls) as peer:
        async with Transport(Deadlines(5, 5, 5), trust=Trust(str(tls.ca))) as transport:
            for count in range(1, 13):
                body = SourceBody(PassingSource(pieces(count), size * count))
                request = StreamingRequest(transport, "PUT", f"{peer.url}/x", {}, body.length)
                assert (await body.send(request)).head.status == 201
                assert body.written
        assert [len(exchange.body) for exchange in peer.seen] == [
            size * count for count in range(1, 13)
        ]
