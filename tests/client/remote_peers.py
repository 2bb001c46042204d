"""Sources that break off or change, and a destination that takes a file."""

from __future__ import annotations

from collections.abc import Callable

from fix_taking import noise
from rude_peer import Exchange, Peer, ranged

__all__ = ["DATA", "Act", "changed", "cutting", "nothing_whole", "taking", "uploads"]
DATA = noise(3_000_000)
Act = Callable[[Exchange], object]


def taking(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(201)


def cutting(
    *cuts: int, etag: str | None = '"v1"', then: Act | None = None, digest: str | None = None
) -> Act:
    """An honest server whose first answers end after so many bytes each."""
    left, data = list(cuts), DATA
    more = {} if digest is None else {"Repr-Digest": digest}

    def act(exchange: Exchange) -> None:
        if not left:
            (then or ranged(data, etag or '"v1"', **more))(exchange)
            return
        cut, start = left.pop(0), exchange.first_byte()
        headers = {
            "Content-Length": str(len(data) - start),
            **({"ETag": etag} if etag else {}),
            **more,
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        exchange.head(206 if start else 200, headers)
        exchange.send(data[start : start + cut])

    return act


def uploads(destination: Peer) -> list[Exchange]:
    """The requests that bring files: without the one that asks what the server takes."""
    return [asked for asked in destination.seen if asked.method != "OPTIONS"]


def nothing_whole(destination: Peer) -> bool:
    """No request over there was ever complete."""
    return all(asked.was_cut() for asked in destination.seen)


def changed(exchange: Exchange) -> None:
    ranged(bytes(len(DATA)), '"v2"')(exchange)
