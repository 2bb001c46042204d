"""The destinations of a service whose place depends on the request: opened when needed, bounded.

A destination stays open while a request uses it. Beyond the bound the one that was used longest
ago is closed. It must not know what a place is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sluiceway.uploads.service import UploadService

__all__ = ["MOST_PLACES", "OpenPlaces"]

MOST_PLACES = 100  # open at a time; each has a few threads, descriptors or connections at most


@dataclass(slots=True)
class _OpenPlace:
    upload_service: UploadService
    users: int = 0  # requests


class OpenPlaces:
    """The open destinations. Used from one event loop only."""

    def __init__(self, open_place: Callable[[tuple[str, ...]], UploadService]) -> None:
        self._open_place = open_place
        self._places: OrderedDict[tuple[str, ...], _OpenPlace] = OrderedDict()

    async def use(self, place: tuple[str, ...]) -> UploadService:
        """Pair with `release`. Raises BadSetting and OSError of a place that cannot be opened."""
        if place not in self._places:
            self._places[place] = _OpenPlace(self._open_place(place))
        found = self._places[place]
        self._places.move_to_end(place)
        found.users += 1
        await self._close_some()
        return found.upload_service

    async def release(self, place: tuple[str, ...]) -> None:
        """A request has ended."""
        if place in self._places:
            self._places[place].users -= 1
            await self._close_some()

    async def aclose(self) -> None:
        """Close all. Running uploads are discarded."""
        while self._places:
            await self._places.popitem()[1].upload_service.aclose()

    async def _close_some(self) -> None:
        unused = [place for place, one in self._places.items() if not one.users]
        for place in unused[: max(0, len(self._places) - MOST_PLACES)]:
            await self._places.pop(place).upload_service.aclose()
