"""Metadata as JSON, for stores that keep it in a note: a file attribute, a sidecar file, a column.

Another program may have written the note. It is used only when every field is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.errors import TooLarge
from sluiceway.pipe.hashes import SHA256, is_digest
from sluiceway.stores.contract import METADATA_HEADERS, MOST_METADATA, Metadata, Pairs

__all__ = [
    "LONGEST_TYPE",
    "extras_from_json",
    "extras_to_json",
    "metadata_from_json",
    "metadata_to_json",
    "with_sha256",
]

LONGEST_TYPE = 255  # characters of a media type that are kept

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def metadata_to_json(metadata: Metadata) -> dict[str, object]:
    """The fields of a note. Raises TooLarge for too many headers and user metadata."""
    fields = {
        "filename": metadata.filename,
        "type": metadata.type[:LONGEST_TYPE],
        "sha256": metadata.sha256,
    }
    return {**fields, **extras_to_json(metadata)}


def extras_to_json(metadata: Metadata) -> dict[str, object]:
    """Headers, user metadata and digests besides sha-256; {} without any.

    Raises TooLarge: a note is read at once.
    """
    if not (metadata.headers or metadata.user or metadata.digests):
        return {}
    pairs = metadata.headers + metadata.user
    size = sum(len(text.encode(errors="replace")) for pair in pairs for text in pair)
    if size > MOST_METADATA:
        raise TooLarge(
            f"The object's headers and metadata have {size} bytes; "
            f"at most {MOST_METADATA} are kept",
            limit=MOST_METADATA,
        )
    others = {name: digits for name, digits in metadata.digests if name != SHA256}
    fields = {"headers": dict(metadata.headers), "user": dict(metadata.user), "digests": others}
    return {name: value for name, value in fields.items() if value}


def metadata_from_json(note: object) -> Metadata | None:
    """The metadata of a parsed note, or None for anything else."""
    extras = extras_from_json(note)
    if extras is None or not isinstance(note, Mapping):
        return None
    filename, kind, sha256 = note.get("filename"), note.get("type"), note.get("sha256")
    is_right = sha256 is None or is_digest(SHA256, sha256)
    if not _is_text(filename) or not _is_text(kind) or not is_right:
        return None
    others, headers, user = extras
    return Metadata(str(filename), str(kind), with_sha256(sha256, others), headers, user)


def extras_from_json(note: object) -> tuple[Pairs, Pairs, Pairs] | None:
    """Digests besides sha-256, headers and user metadata of a parsed note; else None.

    A digest by an algorithm that is not known here is left out.
    """
    if not isinstance(note, Mapping):
        return None
    headers, user = _pairs(note.get("headers", {})), _pairs(note.get("user", {}))
    others = _pairs(note.get("digests", {}))
    if headers is None or user is None or others is None:
        return None
    others = tuple(pair for pair in others if pair[0] != SHA256 and is_digest(*pair))
    headers = tuple((name, value) for name, value in headers if name in METADATA_HEADERS)
    return others, headers, user


def with_sha256(sha256: str | None, others: Pairs) -> Pairs:
    """All digests of an object. What is not a sha-256 is left out."""
    return tuple(sorted((*others, (SHA256, str(sha256))))) if is_digest(SHA256, sha256) else others


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
