"""How equal servers talk to each other about uploads under way: what one says, all hear.

Nothing is kept, and a word may be lost: each is said again while somebody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

__all__ = ["Channel", "Word"]

Word = Mapping[str, Any]


class Channel(Protocol):
    """See the head of this file."""

    def start(self, hear: Callable[[Word], None]) -> None:
        """Begin to listen, once. `hear` may also get what this process says."""

    async def say(self, words: Iterable[Word]) -> None:
        """Raises Unavailable, StoreFailed."""

    async def is_heard(self) -> bool:
        """Whether servers hear each other, tried once. Raises Unavailable, StoreFailed."""

    async def aclose(self) -> None:
        """Listen no more."""
