"""What a ledger keeps of an upload to S3: its parts, and where the rest of its bytes is.

The keys beside the object that belong to such an upload, too. Text and values only; a text that is
none of ours raises StoreFailed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sluiceway.errors import StoreFailed
from sluiceway.stores.objects.full_checksum import SentPart
from sluiceway.stores.objects.metadata import LASTING, is_lasting
from sluiceway.stores.unpublished import COPY_KEPT
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "LastingState",
    "Piece",
    "draft_id",
    "format_life",
    "format_marker",
    "format_part",
    "is_marker",
    "is_marker_of",
    "is_over",
    "lasting_folder",
    "lasting_prefix",
    "marker_key",
    "parse_marker",
    "parse_parts",
    "staged_key",
]

# Seconds that what stands beside the parts stays for longer than its upload lives. It is written
# again while the upload moves, but not with every byte; a request may hold the upload at its end;
# and the server's clock is not ours.
MARGIN = 24 * 3600.0
FOR_EVER = "ever"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes behind the last part, in an object of their own.

    Args:
        name: The end of its key.
        start: The offset of its first byte in the upload.
        size: Its bytes that count; the object may have more.
    """

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class LastingState:
    """How an upload stood when its offset was written down.

    Args:
        key: Where the parts go.
        upload: S3's id of the multipart upload; "" before the first part.
        part: Bytes of a part, if its number and its length need no more.
        next: The number of the next part.
        at_rest: Nothing was on its way to S3: the next number was never used.
        touched: When what stands beside the parts was written; seconds since the epoch.
        pieces: In the order of their bytes, without a gap.
    """

    key: str = ""
    upload: str = ""
    part: int = 0
    next: int = 1
    at_rest: bool = False
    touched: float = 0.0
    pieces: tuple[Piece, ...] = ()

    def format(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def parse(cls, text: str) -> LastingState:
        if not text:  # it was written down before its first byte
            return cls()
        try:
            values = json.loads(text)
            pieces = tuple(Piece(**one) for one in values.pop("pieces"))
            return cls(**values, pieces=pieces)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _unreadable() from error


def format_part(part: SentPart) -> str:
    crcs = [None if crc is None else crc.hex() for crc in (part.crc64nvme, part.counted)]
    return json.dumps([part.number, part.tag, part.size, *crcs])


def parse_parts(texts: Iterable[str]) -> list[SentPart]:
    """In the order of their bytes. A part that was written down twice counts once."""
    parts: dict[int, SentPart] = {}
    try:
        for text in texts:
            number, tag, size, *crcs = json.loads(text)
            values = [None if crc is None else bytes.fromhex(crc) for crc in crcs]
            parts[number] = SentPart(number, tag, size, *values)
    except (ValueError, TypeError) as error:
        raise _unreadable() from error
    return list(parts.values())


def draft_id(upload: str) -> str:
    """The id that the object will carry. It hides the upload's id: with it anyone may cancel."""
    return hashlib.sha256(upload.encode()).hexdigest()[:32]


def lasting_prefix(key: str, draft: str) -> str:
    """Where the keys begin that belong to a draft: found from any root of the place."""
    return f"{lasting_folder(key)}{draft}."


def lasting_folder(key: str) -> str:
    """Where the keys of all drafts begin whose objects will be beside this one."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + ("" if is_lasting(key) else LASTING)


def staged_key(draft: str, life: str = FOR_EVER) -> str:
    """Where the parts go of an upload whose object must not be seen yet when it is made."""
    return f"{LASTING}{draft}.{life}.staged"


def marker_key(key: str, draft: str, life: str, upload: str) -> str:
    """The key of the object that says whose a multipart upload is."""
    return f"{lasting_prefix(key, draft)}{life}.{_marker_end(upload)}"


def format_marker(key: str, upload: str) -> bytes:
    """What a marker says: whoever cleans up may know neither."""
    return json.dumps([key, upload]).encode()


def parse_marker(data: bytes) -> tuple[str, str]:
    try:
        key, upload = json.loads(data)
    except (ValueError, TypeError):
        raise _unreadable() from None
    return str(key), str(upload)


def is_marker(key: str) -> bool:
    """Of the keys with a draft's prefix."""
    return re.fullmatch("[0-9a-f]{32}", key.rpartition(".")[2]) is not None


def is_marker_of(key: str, upload: str) -> bool:
    """Of the keys of all drafts: whether it is a marker of this multipart upload."""
    return key.endswith(f".{_marker_end(upload)}")


def format_life(seconds: float | None) -> str:
    """As a part of a key: a listing then tells what is over, and asks no ledger. None: for ever."""
    return FOR_EVER if seconds is None else str(math.ceil(seconds))


def is_over(key: str, modified: float, now: float) -> bool:
    """Of the keys of all drafts: whether no upload can need what was written then any more."""
    life = key.rpartition("/")[2].partition(".")[2].partition(".")[0]
    if life == FOR_EVER:
        return False
    seconds = clipped_uint(life)
    return modified + (COPY_KEPT if seconds is None else seconds) + MARGIN <= now


def _marker_end(upload: str) -> str:
    return hashlib.sha256(upload.encode()).hexdigest()[:32]


def _unreadable() -> StoreFailed:
    return StoreFailed("The ledger has something about an upload to S3 that cannot be read")
