"""What an app around the service says of its files, at the moments that the operator's hooks have.

Values and one protocol, which the requests of such an app fulfil. Knows no request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sluiceway.stores.contract import Draft, Entry, Metadata, UploadRequest
from sluiceway.stores.unpublished import FileBackedDraft

__all__ = ["AppAround", "KeptUpload", "ask_app"]


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """A file whose bytes are all kept and checked, and which no reader can see yet.

    Attributes:
        id: Of the upload; all files of a form share it.
        key: Where it is going to be.
        size: Its bytes.
        metadata: Its name, type, digests and what `on_start` has set.
        path: The file on this machine, to be read only, where the destination is one folder; else
            None.
    """

    id: str
    key: str
    size: int
    metadata: Metadata
    path: str | None


class AppAround(Protocol):
    """An app around the service, as an upload knows it. Each method may raise what refuses."""

    asks_kept: bool  # whether `kept` decides
    asks_published: bool  # whether `published` does

    async def start(
        self, upload: str, request: UploadRequest, size: int | None, part: bool = False
    ) -> UploadRequest:
        """What is stored, before its first byte. `part`: only bytes of another upload."""
        ...

    async def kept(self, kept: KeptUpload) -> None:
        """A file is about to be published."""
        ...

    async def published(self, entry: Entry) -> None:
        """A file was published, and is not answered yet; an error takes it back."""
        ...


async def ask_app(
    app: AppAround | None, upload: str, key: str, metadata: Metadata, draft: Draft
) -> None:
    """Before a file is published. Raises what the app's function raises, NoSpace, StoreFailed."""
    if app is not None and app.asks_kept:
        path = await draft.file_path() if isinstance(draft, FileBackedDraft) else None
        await app.kept(KeptUpload(upload, key, draft.written, metadata, path))
