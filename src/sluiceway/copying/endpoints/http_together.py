"""Small files of a server of this kind that are copied at the same time come in one response.

An addition: what does not come this way, for whatever reason, is asked for alone, and then fails or
is retried by itself. Knows no target.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from sluiceway.client.http.redirects import follow_redirects
from sluiceway.copying.contract import SMALL, CopyItem
from sluiceway.copying.servers import RemoteServer
from sluiceway.wire.together import (
    MOST_EACH,
    MOST_FILES,
    MOST_QUERY,
    MOST_TOGETHER,
    TOGETHER_TYPE,
    parse_together,
)

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import Transport

__all__ = ["FilesTogether", "TogetherFile"]

AT_ONCE = 2  # requests: while one is answered, what came by the other is stored
MOST_LINES = MOST_FILES * (16 << 10)  # bytes beside the files' own

TogetherFile = tuple[dict[str, object], bytes]  # what a listing says of a file, and its bytes


@dataclass(slots=True, eq=False)
class _Wanted:
    key: str
    size: int
    query: str
    file: asyncio.Future[TogetherFile | None]


class FilesTogether:
    """Used from one event loop. Close it with its source."""

    def __init__(self, transport: Transport, server: RemoteServer, base: str) -> None:
        """`base`: the URL of the server's files."""
        self._transport, self._server, self._base = transport, server, base
        self._waiting = list[_Wanted]()
        self._requests = set[asyncio.Task[None]]()
        self._working = 0  # of them: a task that has ended is in the set for a moment more
        self._known = True  # the server has not shown that it knows no such request

    async def get(self, key: str, item: CopyItem) -> TogetherFile | None:
        """The file in exactly the item's version; None where it has to be asked for alone."""
        if not self._known or not item.version or item.size is None or item.size > SMALL:
            return None
        query = f"&key={quote(key, safe='')}"
        if item.size > MOST_EACH or len(query) > MOST_QUERY:
            return None
        wanted = _Wanted(key, item.size, query, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if self._working < AT_ONCE:
            self._working += 1
            request = asyncio.create_task(self._work())
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)
        found = await wanted.file
        return found if found is not None and found[0].get("etag") == item.version else None

    async def aclose(self) -> None:
        self._known = False
        requests = list(self._requests)
        for request in requests:
            request.cancel()
        if requests:
            await asyncio.wait(requests)
        _give(self._waiting, {})  # one that was cancelled before its first step took none

    async def _work(self) -> None:
        """Ask for those that wait, again and again until there are none."""
        try:
            while group := self._next():
                found: dict[str, TogetherFile] = {}
                try:
                    if self._known:
                        found = await self._ask(group)
                finally:
                    _give(group, found)
        finally:
            self._working -= 1  # in the step that found none waiting

    def _next(self) -> list[_Wanted]:
        count, size, query = 0, 0, 0
        for one in self._waiting[:MOST_FILES]:
            size, query = size + one.size, query + len(one.query)
            if count and (size > MOST_TOGETHER or query > MOST_QUERY):
                break
            count += 1
        group = self._waiting[:count]
        del self._waiting[:count]
        return group

    async def _ask(self, group: list[_Wanted]) -> dict[str, TogetherFile]:
        url = f"{self._base}?as=objects{''.join(one.query for one in group)}"
        try:
            async with follow_redirects(self._transport, url, self._server.headers) as response:
                status, headers = response.head.status, response.head.headers
                ours = status == 200 and headers.get("content-type") == TOGETHER_TYPE
                if not ours:
                    # An overloaded server may know it later; every other one does not.
                    self._known = status in (401, 408, 429) or status >= 500
                    return {}
                body = await response.whole(MOST_TOGETHER + MOST_LINES)
            return {} if body is None else parse_together(body)
        except Exception:  # also a library's own
            return {}  # asked for alone, each of them says why


def _give(group: Iterable[_Wanted], found: Mapping[str, TogetherFile]) -> None:
    for one in group:
        if not one.file.done():
            one.file.set_result(found.get(one.key))
