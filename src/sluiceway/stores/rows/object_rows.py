"""Objects as rows of a table, for the stores that are databases: columns, values, prefixes of keys.

Knows no database and no driver.
"""

from __future__ import annotations

import json
from typing import Any

from sluiceway.stores.contract import Entry, Metadata, Pairs
from sluiceway.stores.metadata_json import extras_from_json, extras_to_json, with_sha256

__all__ = ["COLUMNS", "end_of_prefix", "entry_from_row", "row_from_entry"]

COLUMNS = ("key", "id", "size", "etag", "modified", "filename", "type", "sha256", "more")


def entry_from_row(row: Any) -> Entry:
    """The object in a row of COLUMNS."""
    key, _, size, etag, modified, filename, media_type, sha256, extras = row
    others, headers, user = _read_extras(extras)
    metadata = Metadata(filename, media_type, with_sha256(sha256, others), headers, user)
    return Entry(key, size, etag, modified, metadata)


def row_from_entry(entry: Entry, chunks: object) -> tuple[object, ...]:
    """The values of COLUMNS; `chunks` is the id of the bytes.

    HTTP headers, user metadata and digests besides sha-256 are JSON in the column `more`, "" for
    none. Raises TooLarge.
    """
    metadata = entry.metadata
    extras = extras_to_json(metadata)
    return (
        entry.key,
        chunks,
        entry.size,
        entry.etag,
        entry.modified,
        metadata.filename,
        metadata.type,
        metadata.sha256,
        json.dumps(extras) if extras else "",
    )


def end_of_prefix(prefix: str) -> str | None:
    """The least text above all that begin with `prefix`; None where there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            # Half of a surrogate pair is not text.
            return prefix[:at] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return None


def _read_extras(text: str) -> tuple[Pairs, Pairs, Pairs]:
    try:
        return (extras_from_json(json.loads(text)) if text else None) or ((), (), ())
    except (ValueError, RecursionError):
        return (), (), ()  # written by another program
