"""The account of one machine: a `QuotaBook` in a folder, whose calls run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sluiceway.errors import StoreFailed
from sluiceway.uploads.quota.account import Amount, Limits
from sluiceway.uploads.quota.book import QuotaBook

__all__ = ["LocalAccount"]

T = TypeVar("T")


class LocalAccount:
    """See `Account`. The folder is made at the first use."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._book: QuotaBook | None = None

    async def counts(self) -> bool | None:
        if self._book is None:
            self._book = await self._thread(QuotaBook, self._folder)
        return await self._thread(self._open.counts)

    async def counted(
        self, stored: Sequence[Amount], lasting: Sequence[tuple[str, Amount, str]]
    ) -> None:
        await self._thread(self._open.counted, stored, lasting)

    async def usage(self) -> dict[str, int]:
        return await self._thread(self._open.usage)

    async def hold(
        self, id: str, wanted: Amount, limits: Limits, replaced: Amount | None = None
    ) -> None:
        await self._thread(self._open.hold, id, wanted, limits, replaced)

    async def hold_part(self, id: str, wanted: Amount, whole: str) -> bool:
        return await self._thread(self._open.hold_part, id, wanted, whole)

    async def keep(self, id: str) -> None:
        await self._thread(self._open.keep, id)

    async def join(self, parts: Sequence[str], id: str) -> None:
        await self._thread(self._open.join, parts, id)

    async def release(self, ids: Iterable[str]) -> None:
        await self._thread(self._open.release, ids)

    async def unsure(self) -> list[str]:
        return await self._thread(self._open.unsure)

    async def is_uncertain(self) -> bool:
        return False  # the lock of a process is free the moment it ends

    async def claim(self, key: str) -> Amount | bool:
        return await self._thread(self._open.claim, key)

    async def abandoned(self) -> list[str]:
        return await self._thread(self._open.abandoned)

    async def begin(self, key: str, before: Amount) -> None:
        await self._thread(self._open.begin, key, before)

    async def end(self, key: str, after: Amount, id: str = "") -> None:
        await self._thread(self._open.end, key, after, id)

    async def leave(self, key: str) -> None:
        await self._thread(self._open.leave, key)

    async def aclose(self) -> None:
        book, self._book = self._book, None
        if book is not None:
            await asyncio.to_thread(book.close)

    @property
    def _open(self) -> QuotaBook:
        if self._book is None:
            raise StoreFailed("The account of quotas is closed").for_operator()
        return self._book

    async def _thread(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise StoreFailed(f"The account of quotas failed: {error}").for_operator() from None
