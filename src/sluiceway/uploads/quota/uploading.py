"""What uploads ask of the quotas: room before the bytes come, and a count when they are published.

Without quotas nothing is asked and nothing is counted. A file whose length is not known reserves
each chunk before it is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from sluiceway.errors import Forbidden
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source
from sluiceway.stores.contract import Entry, UploadRequest
from sluiceway.uploads.access.grant import Grant
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import ADOPTED, UploadRecord
from sluiceway.uploads.quota.quotas import KeyChange, Quotas

__all__ = ["MeteredSource", "UploadQuota"]


class MeteredSource:
    """A source whose chunks are asked for room before they go on. `start`: bytes before it."""

    reopenable = False

    def __init__(
        self, source: Source, start: int, ask: Callable[[int, int], Awaitable[None]]
    ) -> None:
        """`ask` gets the bytes with the next chunk, and those of the chunk alone."""
        self._source, self._start, self._ask = source, start, ask

    @property
    def length(self) -> int | None:
        return self._source.length

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        total, chunks = self._start + start, self._source.open(start, stop)
        try:
            async for chunk in chunks:
                total += len(chunk)
                await self._ask(total, len(chunk))
                yield chunk
                del chunk  # before the source makes the next one
        finally:
            await close_stream(chunks)


class _UncountedChange(KeyChange):
    """A change that nobody counts: its block and `has` do nothing."""

    def has(self, key: str, entry: Entry | None) -> None: ...

    async def __aenter__(self) -> KeyChange:
        return self

    async def __aexit__(self, *_: object) -> None: ...


_UNCOUNTED = _UncountedChange()


@dataclass(frozen=True, slots=True)
class UploadQuota:
    """The quotas as the uploads of one name ask them; `quotas` None asks nothing."""

    quotas: Quotas | None
    grant: Grant

    async def hold(self, id: str, request: UploadRequest, size: int, key: str = "") -> None:
        """Reserve so many bytes in all for a file. Raises OverQuota, NoSpace, Forbidden."""
        if self.quotas is None:
            if self.grant.quota is not None:
                raise Forbidden("--quota is needed for quotas of names and links").for_operator(
                    "This server counts no quotas; nothing was stored"
                )
            return
        key = request.key or key
        before = await self.quotas.replaced(key) if key and request.replace.allowed else None
        await self.quotas.hold(id, request.owner, size, self._limit(request), before)

    def metered(
        self, id: str, request: UploadRequest, source: Source, length: int | None, start: int = 0
    ) -> Source:
        """The source of a file, which reserves what comes where its `length` is not known."""
        quotas = self.quotas
        if quotas is None or (length is not None and not quotas.has_floor):
            return source

        async def ask(total: int, chunk: int) -> None:
            if length is None or total > length:
                await self.hold(id, request, total)
            await quotas.check_floor(chunk)

        return MeteredSource(source, start, ask)

    @asynccontextmanager
    async def begun(self, record: UploadRecord, ledger: Ledger) -> AsyncIterator[None]:
        """Reserve the bytes of a new upload; the ledger gets its row in this block.

        Raises OverQuota, NoSpace.
        """
        # The bytes are those of its parts, or of a PUT that has reserved them.
        joins = "parts" in record.details or ADOPTED in record.details
        if self.quotas is None:
            await self.hold(record.id, record.request, 0)
            yield
            return
        if joins or await ledger.find(record.id) is not None:
            yield
            return
        size = record.length or 0
        try:
            if record.whole:
                await self.quotas.hold_part(record.id, record.request.owner, size, record.whole)
            else:
                await self.hold(record.id, record.request, size)
            yield
        finally:  # also after an error: the ledger is compared before a quota refuses anybody
            await self.quotas.keep(record.id)

    async def restarted(self, id: str, request: UploadRequest, length: int | None) -> None:
        """As `begun`, of one that is written down."""
        if self.quotas is not None:
            await self.hold(id, request, length or 0)
            await self.quotas.keep(id)

    async def move(self, reserved: str, id: str) -> None:
        """The reservation of a request is that of the upload `id`, which is written down."""
        if self.quotas is not None and reserved:
            await self.quotas.join([reserved], id)

    async def join(self, parts: Sequence[UploadRecord], record: UploadRecord, size: int) -> None:
        """The bytes of the parts are those of this upload now. Raises OverQuota, NoSpace."""
        if self.quotas is not None:
            await self.quotas.join([part.id for part in parts], record.id)
            await self.hold(record.id, record.request, size)

    def publishing(
        self, id: str, key: str, request: UploadRequest, size: int
    ) -> AbstractAsyncContextManager[KeyChange]:
        """The file with this reservation gets its key in this block."""
        if self.quotas is None:
            return _UNCOUNTED
        limit, replaces = self._limit(request), request.replace.allowed
        return self.quotas.publishing(id, key, request.owner, size, limit, replaces)

    def changing(self, *keys: str) -> AbstractAsyncContextManager[KeyChange]:
        """These keys are deleted or renamed in this block."""
        return _UNCOUNTED if self.quotas is None else self.quotas.changing(keys)

    async def release(self, ids: Iterable[str]) -> None:
        """Give reservations back."""
        if self.quotas is not None:
            await self.quotas.release(*ids)

    def _limit(self, request: UploadRequest) -> int | None:
        """That of the name itself: others may go on with its upload."""
        return self.grant.quota if request.owner == self.grant.owner else None
