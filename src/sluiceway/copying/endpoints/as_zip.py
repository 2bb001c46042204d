"""All objects of a source as one zip, made while it is copied and stored nowhere on the way.

The zip is complete or it is not begun: an object that was meant and cannot be in it is an error.
Knows no kind of source.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from sluiceway.archives.zip_writer import ZipContents, ZipMember
from sluiceway.copying.contract import CopyItem, CopySource, Reading, by_rule
from sluiceway.errors import SourceFailed
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.receipt import OnProgress, Progress
from sluiceway.pipe.source import Source
from sluiceway.stores.contract import FOLDER_MARKER, Metadata, Omitted
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["ZipOfSource", "zip_name"]

ZIP_TYPE = "application/zip"


class ZipOfSource:
    """One object: the zip of another source, which it closes."""

    def __init__(
        self,
        source: CopySource,
        text: str,
        name: str,
        type: str | None,
        on_progress: OnProgress | None,
    ) -> None:
        """`text`: the path or URL of the source. `on_progress` gets objects that are left out."""
        self._source, self._name, self._type = source, name, type or ZIP_TYPE
        self._on_progress = on_progress
        self.rereadable: bool = source.rereadable
        self.display_name: str = redact_url(text)

    async def items(self) -> AsyncIterator[CopyItem]:
        yield CopyItem(self._name, None)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        """Raises SourceFailed where there is no object or one is missing, TooLarge."""
        contents = await self._contents()
        zip_source = await contents.source(self._open_member, self.rereadable)
        if not zip_source.members:
            raise SourceFailed(f"{self._source.display_name} holds no file")
        found = CopyItem(self._name, zip_source.length)
        yield Reading(found, zip_source, Metadata(self._name, self._type), self.display_name)

    async def aclose(self) -> None:
        await self._source.aclose()

    async def _contents(self) -> ZipContents:
        contents, missing = ZipContents(), list[str]()
        items = self._source.items()
        try:
            async for item in items:
                if (omitted := _omitted(contents, item)) is None:
                    continue
                if not by_rule(omitted):
                    missing.append(f"{omitted.name!r}: {omitted.detail}")
                    continue
                if omitted.code != FOLDER_MARKER:
                    contents.leave_out(omitted.name, omitted.detail)
                if self._on_progress is not None:
                    self._on_progress(Progress(omitted.name, "left-out", 0, None, omitted.detail))
        finally:
            await close_stream(items)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise SourceFailed(
                f"{missing[0]}{more} cannot be in the zip, and nothing was sent: "
                "it would be incomplete"
            )
        return contents

    @asynccontextmanager
    async def _open_member(self, member: ZipMember) -> AsyncIterator[Source]:
        item = CopyItem(member.name, member.size, member.version, member.modified)
        async with self._source.open(item) as reading:
            yield reading.source


def _omitted(contents: ZipContents, item: CopyItem) -> Omitted | None:
    """Why the item is not in the zip; None where it was added."""
    if item.omitted is not None:
        return item.omitted
    reason = contents.add(ZipMember(item.key, item.size, item.modified, item.version))
    return None if reason is None else Omitted(item.key, "bad-name", reason)


def zip_name(source: str) -> str:
    """The zip's name where none is given: after the folder, or the last part of the prefix."""
    if is_url(source) or is_place(source):
        last = unquote(urlsplit(source).path).rstrip("/").rpartition("/")[2]
    else:
        last = os.path.basename(os.path.abspath(source))
    return f"{clean_name(last) if last else 'files'}.zip"
