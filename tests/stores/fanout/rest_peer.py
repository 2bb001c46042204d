"""A destination that stores what is PUT there, and sizes, for the tests of fan-out."""

from __future__ import annotations

from rude_peer import Exchange
from sluiceway.stores.contract import Replace

__all__ = ["ALLOWED", "MIB", "SIZE", "takes"]
MIB = 1 << 20
SIZE = 3 * MIB
ALLOWED = Replace(allowed=True)


def takes(exchange: Exchange) -> None:
    """Accepts every upload and every DELETE."""
    exchange.read_body()
    if exchange.method == "DELETE":
        exchange.reply(204)
    elif not exchange.cut:
        exchange.reply(201, {"Location": f"/made{exchange.target}", "ETag": '"e1"'})
