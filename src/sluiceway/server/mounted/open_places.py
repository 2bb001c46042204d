"""The destinations of a service whose place depends on the request: opened when needed, bounded.

A destination stays open while a request uses it. Beyond the bound the one that was used longest
ago is closed. It must not know what a place is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sluiceway.errors import SluiceError
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.uploads.service import UploadService

__all__ = ["MOST_PLACES", "OpenPlaces"]

MOST_PLACES = 100  # open at a time; each has a few threads, descriptors or connections at most


@dataclass(slots=True)
class _OpenPlace:
    opening: asyncio.Task[UploadService]
    users: int = 0  # requests


class OpenPlaces:
    """The open destinations. Used from one event loop only."""

    def __init__(self, open_place: Callable[[tuple[str, ...]], UploadService]) -> None:
        """`open_place` runs in threads: a place may be slow, and others are to go on."""
        self._open_place = open_place
        self._places: OrderedDict[tuple[str, ...], _OpenPlace] = OrderedDict()

    async def use(self, place: tuple[str, ...]) -> UploadService:
        """Pair with `release`. Raises BadSetting and OSError of a place that cannot be opened."""
        if place not in self._places:
            work = in_thread(partial(self._open_place, place))
            opening = asyncio.get_running_loop().create_task(work)
            opening.add_done_callback(partial(self._opened, place))
            self._places[place] = _OpenPlace(opening)
        found = self._places[place]
        self._places.move_to_end(place)
        found.users += 1
        try:
            upload_service = await asyncio.shield(found.opening)
            await self._close_some()
        except BaseException:
            found.users -= 1
            raise
        return upload_service

    async def release(self, place: tuple[str, ...]) -> None:
        """A request has ended."""
        if place in self._places:
            self._places[place].users -= 1
            await self._close_some()

    async def aclose(self) -> None:
        """Close all. Running uploads are discarded."""
        while self._places:
            _, one = self._places.popitem()
            with suppress(SluiceError, OSError):  # whoever asked for it has the error
                await (await one.opening).aclose()

    def _opened(self, place: tuple[str, ...], opening: asyncio.Task[UploadService]) -> None:
        """One that cannot be opened is tried again by the next request."""
        if opening.cancelled() or opening.exception() is not None:
            self._places.pop(place, None)

    async def _close_some(self) -> None:
        unused = [
            place for place, one in self._places.items() if not one.users and one.opening.done()
        ]
        for place in unused[: max(0, len(self._places) - MOST_PLACES)]:
            await self._places.pop(place).opening.result().aclose()
