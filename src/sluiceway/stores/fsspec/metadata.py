"""What is known of a file, in a note beside the tree: `.sluiceway/about/HASH.json`.

The hash is the key's. A note names the version it describes, so a file that was replaced by other
means does not inherit it. While a file is being replaced its note describes both versions.
Blocking calls only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sluiceway.stores.contract import MOST_METADATA, Metadata
from sluiceway.stores.metadata_json import metadata_from_json, metadata_to_json

__all__ = ["Note", "delete_notes", "note_path", "read_notes", "write_notes"]

LARGEST_NOTE = 8192 + 4 * MOST_METADATA  # bytes of a note, which holds two descriptions


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of one version."""

    etag: str  # of the file itself
    metadata: Metadata


def read_notes(fs: Any, folder: str, key: str) -> list[Note]:
    """[] without a note, and for one that this package did not write."""
    try:
        document = json.loads(fs.cat_file(note_path(folder, key), 0, LARGEST_NOTE))
        return [
            Note(version["etag"], metadata)
            for version in document["versions"]
            if (metadata := metadata_from_json(version)) is not None
        ]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError):  # torn, or another program's
        return []


def write_notes(fs: Any, path: str, key: str, notes: Sequence[Note]) -> None:
    """Into a file that no reader knows yet. Raises FileNotFoundError without its folder."""
    versions = [{"etag": note.etag, **metadata_to_json(note.metadata)} for note in notes]
    with fs.open(path, "wb") as file:
        file.write(json.dumps({"key": key, "versions": versions}).encode())


def delete_notes(fs: Any, folder: str, key: str) -> None:
    with suppress(FileNotFoundError):
        fs.rm_file(note_path(folder, key))


def note_path(folder: str, key: str) -> str:
    """The hash of the key names the file, never the key itself."""
    return f"{folder}/{hashlib.sha256(key.encode()).hexdigest()[:48]}.json"
