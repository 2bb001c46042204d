"""What a store of buckets asks of a cloud's library: pages of a listing, what is known of an object, its bytes, its end.

Two answer it: boto3 for S3 (`objects_s3_reads`), obstore for Google and Azure (`objects_cloud`). A listing gives every object
of the bucket, under the key it really has, or tells of it as omitted, or raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sluiceway.errors import StoreFailed
from sluiceway.stores.contract import FOLDER_MARKER, Omitted
from sluiceway.stores.objects.metadata import is_own
from sluiceway.wire.names import readable_name, stays_inside

__all__ = ["BucketReads", "BucketResponse", "Found", "Unspelled", "omitted"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a listing tells of it (without headers and metadata), or as its own head does."""

    key: str
    size: int
    etag: str
    modified: float  # seconds since the epoch
    headers: Mapping[str, str] = field(default_factory=dict)  # by lower-case names
    metadata: Mapping[str, str] = field(
        default_factory=dict
    )  # ours and the user's, by lower-case names
    omitted: Omitted | None = None  # why it is no entry; its key is "" where it is no text


@dataclass(frozen=True, slots=True)
class BucketResponse:
    """An object's head and its bytes, which are still coming. `pieces` blocks: it is stepped in a thread."""

    found: Found
    pieces: Iterator[bytes]
    close: Callable[[], object]  # ends the connection where bytes are left on it


class BucketReads(Protocol):
    """Keys are below the place's prefix. All raise SluiceError for what the cloud says."""

    def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Found]]:
        """All whose key begins so and sorts after `after`, in key order, `size` at once. It ends when the cloud says so."""
        ...

    def unreadable(self, key: str) -> str | None:
        """Why what is written under this key could not be listed or read again; None where it could."""
        ...

    async def head(self, key: str) -> Found:
        """Raises NotFound."""
        ...

    async def get(
        self, key: str, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> BucketResponse:
        """The bytes of a span, or all. Raises NotFound, and PreconditionFailed for an object with another tag."""
        ...

    async def delete(self, key: str) -> None:
        """Nothing happens where nothing is."""
        ...

    async def run(self, call: Callable[..., T], *told: Any, **more: Any) -> T:
        """A blocking step, in a thread. A caller that is cancelled waits for its end."""
        ...

    def close(self) -> None: ...


class Unspelled(StoreFailed):
    """A listing met a key that the cloud's library refuses to read, and broke off there."""


def omitted(key: str, size: int, root: str = "") -> Omitted | None:
    """Why a key of the bucket is no entry; None where it is one, or ours. `root` names the place where the key is ""."""
    if stays_inside(key) or is_own(key):
        return None
    name = readable_name(key or root)
    if size == 0 and (key == "" or key.endswith("/")):
        return Omitted(
            name, FOLDER_MARKER, "It is the empty object that a console makes to show a folder"
        )
    return Omitted(
        name,
        "bad-name",
        "Its key has an empty segment, . or .., or is one of .sluiceway; nobody can ask for it here",
    )
