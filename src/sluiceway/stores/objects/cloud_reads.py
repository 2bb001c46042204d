"""A bucket of Google or Azure read by obstore, in threads: its listing, an object's head and its bytes.

obstore's path type knows no control characters and no empty segments, and drops a slash at either end of a key. A listing that
meets a key it refuses raises; an empty object that cannot be found under the name it is listed with was a folder marker.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import obstore

from sluiceway.errors import BadName, NotFound, SluiceError
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.stores.contract import FOLDER_MARKER, METADATA_HEADERS, Omitted
from sluiceway.stores.objects.bucket import BucketResponse, Found, Unspelled, omitted
from sluiceway.stores.objects.errors import map_error
from sluiceway.wire.names import readable_name

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore as Handle

__all__ = ["CloudReads", "spellable"]

T = TypeVar("T")

THREADS = 64  # calls at once; an upload has one, and the budget lends to far fewer
PIECE = 1 << 20  # bytes read at once; one is with the reader, one is coming


class CloudReads:
    """`handle` sees keys below the place's prefix."""

    def __init__(self, handle: Handle, display_name: str) -> None:
        self._handle, self._display_name = handle, display_name
        self._threads = ThreadPoolExecutor(THREADS, "sluiceway-objects")

    async def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Found]]:
        folder, slash, _ = prefix.rpartition("/")
        if slash and not spellable(folder):  # there may be some; the library cannot ask for them
            raise BadName(
                f"No key of {self._display_name} that can be listed here begins with {readable_name(prefix)!r}"
            )
        start = max(after, _before(prefix))
        start = start if spellable(start) else ""  # what comes before is left out below
        try:
            pages = iter(
                obstore.list(self._handle, folder or None, offset=start or None, chunk_size=size)
            )
            while (page := await self.run(next, pages, None)) is not None:
                names = [meta["path"] for meta in page]
                yield [
                    await self._listed(meta)
                    for meta in page
                    if meta["path"].startswith(prefix) and meta["path"] > after
                ]
                if names and names[-1] > prefix and not names[-1].startswith(prefix):
                    return
        except BadName as error:
            raise Unspelled(
                f"{self._display_name} holds a key that cannot be read here (a control character, or an empty segment, . or ..), "
                f"so its listing broke off: {error.detail}"
            ) from error

    def unreadable(self, key: str) -> str | None:
        return (
            None
            if spellable(key)
            else "the library that reads this cloud refuses control characters"
        )

    async def head(self, key: str) -> Found:
        answer = await self._get(key, {"head": True})
        return _found(key, answer.meta, answer.attributes)

    async def get(
        self, key: str, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> BucketResponse:
        asked: GetOptions = {} if span is None else {"range": span}
        if etag is not None:
            asked["if_match"] = f'"{etag}"'
        answer = await self._get(key, asked)
        least = PIECE if span is None else min(PIECE, span[1] - span[0])
        return BucketResponse(
            _found(key, answer.meta, answer.attributes),
            iter(answer.stream(min_chunk_size=least)),
            _nothing,
        )

    async def delete(self, key: str) -> None:
        try:
            await self.run(obstore.delete, self._handle, key)
        except NotFound:
            pass

    async def run(self, call: Callable[..., T], *told: Any, **more: Any) -> T:
        """In a thread: what obstore does in the event loop outlives it and may break an interpreter that ends."""
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: call(*told, **more)
        )
        try:
            return await finish_then_cancel(work)
        except SluiceError:
            raise
        except Exception as error:
            raise map_error(error, self._display_name) from error

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _get(self, key: str, options: GetOptions) -> Any:
        if not spellable(key):  # the library would refuse it, or look under another key
            raise NotFound(f"There is no object {key!r}")
        return await self.run(obstore.get, self._handle, key, options=options)

    async def _listed(self, meta: ObjectMeta) -> Found:
        key = meta["path"]
        found, why = _found(key, meta, {}), omitted(key, meta["size"])
        if why is None and meta["size"] == 0 and not await self._is_there(key):
            why = Omitted(
                readable_name(key),
                FOLDER_MARKER,
                "It is the empty object that a console makes to show a folder",
            )
        return dataclasses.replace(found, omitted=why)

    async def _is_there(self, key: str) -> bool:
        try:
            await self.head(key)
        except NotFound:
            return False
        return True


def spellable(key: str) -> bool:
    """Whether obstore can ask for exactly this key."""
    plain = not any(
        symbol < " " or symbol == "\x7f" or "\ud800" <= symbol <= "\udfff" for symbol in key
    )
    return plain and not any(segment in ("", ".", "..") for segment in key.split("/"))


def _found(key: str, meta: ObjectMeta, attributes: Mapping[Any, Any]) -> Found:
    told = {str(name).lower(): str(value) for name, value in attributes.items()}
    known = (*METADATA_HEADERS, "content-type")
    headers = {name: value for name, value in told.items() if name in known}
    metadata = {name: value for name, value in told.items() if name not in known}
    modified = math.ceil(meta["last_modified"].timestamp())
    return Found(key, meta["size"], (meta["e_tag"] or "").strip('"'), modified, headers, metadata)


def _nothing() -> None:
    """obstore ends a connection when its stream is let go of."""


def _before(prefix: str) -> str:
    """A text that sorts before all that begin with the prefix, and after nearly all that do not."""
    if not prefix:
        return ""
    last = ord(prefix[-1])
    return prefix[:-1] + (
        chr(last - 1) + "\U0010ffff" if last > 0xE000 or 1 < last < 0xD800 else ""
    )
