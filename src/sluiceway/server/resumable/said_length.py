"""The length of an upload that a request tells: it counts if something of the request does.

A refused request changes nothing, or its client could never say the right length. Knows no dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress

from sluiceway.errors import BodyCut, SluiceError, TooSlow, Unavailable
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload

__all__ = ["said_length"]

# What ends a request that was not wrong: its client says the same once more.
INTERRUPTED = (BodyCut, TooSlow, Unavailable)


def said_length(held: HeldUpload, length: int | None) -> AbstractAsyncContextManager[None]:
    """In this block the request is taken that tells the length, None for none.

    Raises what `set_length` raises.
    """
    if length is None or length == held.record.length:
        return nullcontext()  # a generator would last as long as a slow body
    return _said(held, length)


@asynccontextmanager
async def _said(held: HeldUpload, length: int) -> AsyncIterator[None]:
    offset, before = held.record.offset, held.record.length
    await held.set_length(length)
    try:
        yield
    except INTERRUPTED:
        raise
    except SluiceError:
        if held.record.state is LedgerState.OPEN and held.record.offset == offset:
            with suppress(SluiceError):  # the error that refused the request says more
                await held.set_length(before)
        raise
