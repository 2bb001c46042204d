"""Registers our bodies with aiohttp: its own wrapper for iterables sends an empty body the second
time.

Loads no aiohttp: a program that sends with it has loaded it already.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from typing import Any

__all__ = ["register_with_aiohttp"]

_known: set[type] = set()


def register_with_aiohttp(kind: type) -> None:
    """Let aiohttp ask bodies of this class for their bytes anew with each request.

    Cheap enough to be called for each new body.
    """
    if kind in _known or "aiohttp" not in sys.modules:
        return
    import aiohttp

    class StreamPayload(aiohttp.Payload):
        _default_content_type = "application/octet-stream"

        def __init__(self, value: AsyncIterable[bytes], *args: Any, **named: Any) -> None:
            super().__init__(value, *args, **named)
            self._body = value

        def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
            raise TypeError("A streamed body has no text")

        async def write(self, writer: Any) -> None:
            async for piece in self._body:
                await writer.write(piece)

        async def write_with_length(self, writer: Any, content_length: int | None) -> None:
            await self.write(
                writer
            )  # the body's own length, where it has one, is kept to and checked by itself

    aiohttp.payload.PAYLOAD_REGISTRY.register(
        StreamPayload, kind, order=aiohttp.payload.Order.try_first
    )
    _known.add(kind)
