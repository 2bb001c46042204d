"""What is known of a file lives in a note beside the tree: `.sluiceway/about/HASH.json`, the hash being the key's.

A note names the version it describes: a file that was replaced by other means does not inherit it. While a file is replaced
the note describes both versions, so that whichever is there keeps its own. Blocking calls only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sluiceway.stores.contract import MOST_METADATA, Metadata
from sluiceway.stores.fsspec.errors import Version
from sluiceway.stores.metadata_json import metadata_from_json, metadata_to_json

__all__ = ["Note", "drop_notes", "note_for", "note_path", "read_notes", "write_notes"]

LARGEST = 8192 + 4 * MOST_METADATA  # bytes of a note, which holds two descriptions


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of one version."""

    etag: str  # of the file itself
    metadata: Metadata


def note_for(notes: Sequence[Note], version: Version) -> Metadata:
    """What is known of this version; of none, nothing."""
    return next(
        (note.metadata for note in notes if note.etag == version.etag), Metadata(filename="")
    )


def read_notes(fs: Any, folder: str, key: str) -> list[Note]:
    """Nothing where there is no note, or one that was not written by us."""
    try:
        told = json.loads(fs.cat_file(note_path(folder, key), 0, LARGEST))
        return [
            Note(one["etag"], metadata)
            for one in told["versions"]
            if (metadata := metadata_from_json(one)) is not None
        ]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError):  # torn, or somebody else's
        return []


def write_notes(fs: Any, path: str, key: str, notes: Sequence[Note]) -> None:
    """Into a file nobody reads yet. Raises FileNotFoundError where its folder is missing."""
    versions = [{"etag": note.etag, **metadata_to_json(note.metadata)} for note in notes]
    told = json.dumps({"key": key, "versions": versions}).encode()
    with fs.open(path, "wb") as file:
        file.write(told)


def drop_notes(fs: Any, folder: str, key: str) -> None:
    with suppress(FileNotFoundError):
        fs.rm_file(note_path(folder, key))


def note_path(folder: str, key: str) -> str:
    """The hash of the key, never the key, names the file."""
    return f"{folder}/{hashlib.sha256(key.encode()).hexdigest()[:48]}.json"
