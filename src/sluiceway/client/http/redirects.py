"""A GET or HEAD with its redirects followed, hop by hop, credentials staying with their origin. One place for all who read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sluiceway.client.download_plan import headers_across, redirected
from sluiceway.client.http.cookies import ChainCookies

if TYPE_CHECKING:
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["followed"]


@asynccontextmanager
async def followed(
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    more: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    allow: Callable[[str], None] = lambda url: None,
    cookies: ChainCookies | None = None,
) -> AsyncIterator[OpenResponse]:
    """The first answer that is no redirect. `more` goes to every hop: what the plan asks for, such as a range.

    `cookies` are those of a chain that goes on here. `allow` is shown the URL of each hop and raises to refuse it.

    Raises PeerFailed and its kinds, also for a redirect that must not be followed.
    """
    kept, hops, cookies = dict(headers), 0, cookies or ChainCookies()
    proven = False
    while True:
        allow(url)
        async with transport.ask(
            method, url, cookies.added({**kept, **(more or {})}, url)
        ) as answer:
            cookies.learn(answer.head)
            if not proven and transport.challenged(answer.head):
                proven = True
                continue
            target = redirected(answer.head, hops, sends=False, again=True)
            if target is None:
                yield answer
                return
        url, kept, hops = target, headers_across(kept, url, target), hops + 1
