"""Metadata as JSON, for stores that keep it in a note: a file attribute, a sidecar file, a column.

Another program may have written the note. It is used only when every field is valid.
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

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def metadata_to_json(metadata: Metadata) -> dict[str, object]:
    """The fields of a note. Raises TooLarge for too many headers and user metadata."""
    fields = {
        "filename": metadata.filename,
        "type": metadata.type[:LONGEST_TYPE],
        "sha256": metadata.sha256,
    }
    return {**fields, **extras_to_json(metadata)}


def extras_to_json(metadata: Metadata) -> dict[str, object]:
    """Headers and user metadata alone, {} without any. Raises TooLarge: a note is read at once."""
    pairs = metadata.headers + metadata.user
    size = sum(len(text.encode(errors="replace")) for pair in pairs for text in pair)
    if size > MOST_METADATA:
        raise TooLarge(
            f"The object's headers and metadata have {size} bytes; "
            f"at most {MOST_METADATA} are kept",
            limit=MOST_METADATA,
        )
    fields = {"headers": dict(metadata.headers), "user": dict(metadata.user)}
    return {name: value for name, value in fields.items() if value}


def metadata_from_json(note: object) -> Metadata | None:
    """The metadata of a parsed note, or None for anything else."""
    extras = extras_from_json(note)
    if extras is None or not isinstance(note, Mapping):
        return None
    filename, kind, sha256 = note.get("filename"), note.get("type"), note.get("sha256")
    is_digest = sha256 is None or (
        isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None
    )
    if not _is_text(filename) or not _is_text(kind) or not is_digest:
        return None
    return Metadata(str(filename), str(kind), sha256, *extras)


def extras_from_json(note: object) -> tuple[Pairs, Pairs] | None:
    """Headers and user metadata of a parsed note, or None for anything else."""
    if not isinstance(note, Mapping):
        return None
    headers, user = _pairs(note.get("headers", {})), _pairs(note.get("user", {}))
    if headers is None or user is None:
        return None
    return tuple((name, value) for name, value in headers if name in METADATA_HEADERS), user


def _is_text(value: object) -> bool:
    """Whether it is text in UTF-8.

    JSON also allows halves of surrogate pairs, and a NUL ends a name for many programs.
    """
    return isinstance(value, str) and not _NOT_TEXT.search(value)


def _pairs(fields: object) -> Pairs | None:
    if not isinstance(fields, Mapping):
        return None
    pairs = [(name, value) for name, value in fields.items() if _is_text(name) and _is_text(value)]
    return tuple(sorted(pairs)) if len(pairs) == len(fields) else None
