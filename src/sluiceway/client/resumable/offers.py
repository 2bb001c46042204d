"""Which resumable uploads a server offers: asked once, by OPTIONS, for all uploads of a copy.

IETF resumable uploads show themselves by Upload-Limit, tus by Tus-Version. What a server answers
otherwise means that it offers none. A server that does not know OPTIONS costs one file a moment,
never each file of a folder. Sends no file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects, without_body_headers
from sluiceway.client.http.transport import Transport
from sluiceway.client.retry import BUSY
from sluiceway.errors import SluiceError
from sluiceway.wire.numbers import clipped_uint

__all__ = ["Offer", "Offers"]

# Seconds for the question: a server that does not know it and stays silent costs no more.
ASK_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server takes.

    Args:
        protocol: The dialect.
        max_size: Bytes of a whole upload; None where the server names no limit.
        min_size: Bytes below which an upload is not resumable.
        max_append: Bytes of one request.
        extensions: Of tus.
        checksums: Of tus: the algorithms of one request's bytes.
        joins: Whether uploads of tus can be joined to one, also where `protocol` is another.
        joins_once: Whether a join that is asked for again, with its key, makes no second object.
        joins_named: Whether a join may be a PUT, and its object gets that URL.
    """

    protocol: Literal["tus", "ietf"]
    max_size: int | None = None
    min_size: int = 0
    max_append: int | None = None
    extensions: frozenset[str] = field(default_factory=frozenset)
    checksums: frozenset[str] = field(default_factory=frozenset)
    joins: bool = False
    joins_once: bool = False
    joins_named: bool = False

    def takes(self, size: int) -> bool:
        """Whether an upload of this size can be resumable. One that is too large meets the server's
        own refusal in one request."""
        return size >= self.min_size and (self.max_size is None or size <= self.max_size)


class Offers:
    """The offer of one server. Several uploads may ask at once.

    Of a server that offers both dialects, `only` is the one that counts.
    """

    def __init__(self, transport: Transport, only: str | None = None) -> None:
        self._transport, self._only = transport, only
        self._lock = asyncio.Lock()
        self._asked = False
        self._silent = False  # it was asked, and nothing came that can be read
        self._found: Offer | None = None

    async def ask(
        self, url: str, place: str, headers: Mapping[str, str], broke: bool = False
    ) -> Offer | None:
        """What uploads to `url` may use; None for plain requests only.

        `place` is where the whole copy goes: a server of tus may answer only there. `broke`: a
        request of the file broke off, so it is worth to ask a silent server once more.
        """
        async with self._lock:
            if not self._asked and (broke or not self._silent):
                await self._ask(dict.fromkeys((url, place)), without_body_headers(headers))
            return self._found

    @property
    def is_known(self) -> bool:
        """Whether the server has said it."""
        return self._asked

    async def _ask(self, urls: Iterable[str], headers: Mapping[str, str]) -> None:
        """A server that is busy gets one request, and is asked again for the next file. From one
        that stays silent or breaks off, each file would wait for ASK_TIMEOUT: it is asked again
        only when an upload broke off as well."""
        try:
            self._asked = await self._ask_each(urls, headers)
        except (SluiceError, TimeoutError):
            self._silent = True

    async def _ask_each(self, urls: Iterable[str], headers: Mapping[str, str]) -> bool:
        """Whether the server could say it."""
        for url in urls:
            head = await self._options(url, headers)
            if head.status in BUSY:
                return False
            if (offer := _offer(head, self._only)) is not None:
                self._found = offer
                break
        return True

    async def _options(self, url: str, headers: Mapping[str, str]) -> Head:
        async with (
            asyncio.timeout(ASK_TIMEOUT),
            follow_redirects(self._transport, url, headers, method="OPTIONS") as response,
        ):
            await response.text()  # the connection stays usable
            return response.head


def _offer(head: Head, only: str | None) -> Offer | None:
    if not 200 <= head.status < 300:
        return None
    # Late: a copy of small files asks no server.
    from sluiceway.wire.tus import JOINS_NAMED, JOINS_ONCE, ONCE_KEY
    from sluiceway.wire.tus import VERSION as TUS_VERSION
    from sluiceway.wire.upload_limit import parse_upload_limit

    limits = parse_upload_limit(head.headers.get("upload-limit"))
    extensions = _listed(head, "tus-extension")
    speaks = TUS_VERSION in _listed(head, "tus-version") and "creation" in extensions
    joins = speaks and "concatenation" in extensions
    how = _listed(head, JOINS_ONCE.lower()) if joins else frozenset()
    once, named = ONCE_KEY in how, JOINS_NAMED in how
    if limits is not None and only in (None, "ietf"):
        return Offer(
            "ietf",
            limits.get("max-size"),
            limits.get("min-size", 0),
            limits.get("max-append-size"),
            joins=joins,
            joins_once=once,
            joins_named=named,
        )
    if speaks and only in (None, "tus"):
        most = clipped_uint(head.headers.get("tus-max-size", ""))
        checksums = _listed(head, "tus-checksum-algorithm")
        return Offer(
            "tus",
            most,
            extensions=extensions,
            checksums=checksums,
            joins=joins,
            joins_once=once,
            joins_named=named,
        )
    return None


def _listed(head: Head, name: str) -> frozenset[str]:
    return frozenset(head.headers.get(name, "").replace(" ", "").split(","))
