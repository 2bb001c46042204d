"""What a copy with `unpack="tar"` reads: a path, a pipe, a server's file or an object of a store, opened as a tar's origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sluiceway.client.http.transport import Transport
from sluiceway.client.local.files import open_local
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.endpoints.tar_source import TarLimits, TarSource
from sluiceway.copying.options import Side
from sluiceway.copying.store_copies import opened_at
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import is_place, redact_url

__all__ = ["tar_opened"]


@asynccontextmanager
async def tar_opened(
    text: str,
    reads: Side | None,
    transport: Transport,
    attempts: int,
    limits: TarLimits = TarLimits(),
    meant: Callable[[str], bool] = lambda key: True,
) -> AsyncIterator[TarSource]:
    """Raises what opening raises: SourceFailed, NotFound, the server's refusal."""
    if reads is not None:
        source = RemoteSource(
            transport, reads.url, reads.headers, retry_policy=RetryPolicy(attempts)
        )
        try:
            await source.meet()
            yield TarSource(source, redact_url(reads.url), limits, meant)
        finally:
            await source.aclose()
    elif is_place(text):
        async with opened_at(text) as opened:
            yield TarSource(opened, redact_url(text), limits, meant)
    else:
        if text.endswith("/"):
            raise BadRequest(f"{text} is a folder, and a tar is one file")
        local = await asyncio.to_thread(open_local, text)
        yield TarSource(local, "Standard input" if text == "-" else text, limits, meant)
