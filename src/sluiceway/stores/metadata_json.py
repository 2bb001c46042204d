"""What is known of an object as JSON, for stores that keep it in a note: attributes of a file, a sidecar, a column.

What is read back was perhaps written by somebody else: it is taken whole where every field is what it should be, else not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.errors import TooLarge
from sluiceway.stores.contract import METADATA_HEADERS, MOST_METADATA, Metadata, Pairs

__all__ = [
    "LONGEST_TYPE",
    "extras_from_json",
    "extras_to_json",
    "metadata_from_json",
    "metadata_to_json",
]

LONGEST_TYPE = 255  # characters of a media type that are kept

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def metadata_to_json(metadata: Metadata) -> dict[str, object]:
    told = {
        "filename": metadata.filename,
        "type": metadata.type[:LONGEST_TYPE],
        "sha256": metadata.sha256,
    }
    return {**told, **extras_to_json(metadata)}


def extras_to_json(metadata: Metadata) -> dict[str, object]:
    """Headers and the user's metadata alone; {} where there are none. Raises TooLarge, for a note is read whole."""
    pairs = metadata.headers + metadata.user
    size = sum(len(text.encode(errors="replace")) for pair in pairs for text in pair)
    if size > MOST_METADATA:
        many = (
            f"The object's headers and metadata have {size} bytes; at most {MOST_METADATA} are kept"
        )
        raise TooLarge(many, limit=MOST_METADATA)
    told = {"headers": dict(metadata.headers), "user": dict(metadata.user)}
    return {name: value for name, value in told.items() if value}


def metadata_from_json(told: object) -> Metadata | None:
    """None for what is no such note."""
    extras = extras_from_json(told)
    if extras is None or not isinstance(told, Mapping):
        return None
    filename, kind, sha256 = told.get("filename"), told.get("type"), told.get("sha256")
    is_digest = sha256 is None or (
        isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None
    )
    if not _is_text(filename) or not _is_text(kind) or not is_digest:
        return None
    return Metadata(str(filename), str(kind), sha256, *extras)


def extras_from_json(told: object) -> tuple[Pairs, Pairs] | None:
    """Headers and user metadata. None for what is no such note."""
    if not isinstance(told, Mapping):
        return None
    headers, user = _pairs(told.get("headers", {})), _pairs(told.get("user", {}))
    if headers is None or user is None:
        return None
    return tuple((name, value) for name, value in headers if name in METADATA_HEADERS), user


def _is_text(told: object) -> bool:
    """Text that UTF-8 can carry: JSON can also write halves of surrogate pairs, and a NUL ends a name for many readers."""
    return isinstance(told, str) and not _NO_TEXT.search(told)


def _pairs(told: object) -> Pairs | None:
    if not isinstance(told, Mapping):
        return None
    pairs = [(name, value) for name, value in told.items() if _is_text(name) and _is_text(value)]
    return tuple(sorted(pairs)) if len(pairs) == len(told) else None
