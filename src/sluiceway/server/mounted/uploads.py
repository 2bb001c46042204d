"""What the functions of an app around the service get of an upload, and their types.

Plain values. It must not know requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sluiceway.server.settings.arguments import Places
from sluiceway.stores.contract import Entry
from sluiceway.uploads.hooks.around import KeptUpload

__all__ = [
    "EndHook",
    "EndedUpload",
    "KeptHook",
    "Outcome",
    "PlaceHook",
    "PublishedHook",
    "StartHook",
    "StartedUpload",
]

R = TypeVar("R")
Outcome = Literal["kept", "refused", "cut", "cancelled", "failed"]


@dataclass(slots=True)
class StartedUpload:
    """A file of which no byte was taken yet. `on_start` may change what is not read-only.

    Attributes:
        id: Of the upload, for its progress. Read-only; all files of a form share it.
        field: The name of the form's field; None for a raw body. Read-only.
        fields: Names and values of the form's fields that came so far. Read-only.
        size: Bytes, None if unknown; of a form's file the most that it can have, and exact if it
            is the form's last part. Read-only.
        filename: The client's name, cleaned.
        type: The media type.
        key: Where it will be; "" where the server makes the key.
        replaces: Whether it may replace an object at the key. None: as the client asked, for the
            key that it named; a key of yours must be free.
        metadata: Kept with the object; names in lower case.
        part: Whether these are only bytes for another upload, which a tus client joins of several
            parts: `on_start` is called for that one, too. Read-only.

    Example:
        def on_start(upload, request):
            if request.user.plan == "free" and (upload.size or 0) > 1 << 30:
                raise UploadRefused("Your plan takes files up to 1 GiB", 402)
            upload.key = f"{request.user.id}/{upload.filename}"
            upload.metadata["owner"] = str(request.user.id)
    """

    id: str
    field: str | None
    fields: Sequence[tuple[str, str]]
    size: int | None
    filename: str
    type: str
    key: str
    replaces: bool | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    part: bool = False


@dataclass(frozen=True, slots=True)
class EndedUpload:
    """How an upload ended.

    Attributes:
        id: Its id; "" if it was refused before it had one.
        outcome: "kept"; "refused", by the app, the server or the destination; "cut", when the
            client left or was too slow; "cancelled"; "failed", by a fault of server or destination.
        error: Why it is not kept.
        entries: The objects that are kept.
        filenames: The names of its files as far as they began, cleaned.
        received: Bytes that came.
        seconds: Time from its (first) request to its end.
    """

    id: str
    outcome: Outcome
    error: BaseException | None
    entries: tuple[Entry, ...]
    filenames: tuple[str, ...]
    received: int
    seconds: float


PlaceHook = Callable[[R], Places | Awaitable[Places]]
StartHook = Callable[[StartedUpload, R], Awaitable[None] | None]
KeptHook = Callable[[KeptUpload, R], Awaitable[None] | None]
PublishedHook = Callable[[Entry, R], Awaitable[None] | None]
EndHook = Callable[[EndedUpload, R], Awaitable[None] | None]
