"""What is known of an object in a bucket: metadata of its own, and for one sent in parts a small note beside it.

S3 takes metadata before the first part, when nobody knows the sha-256 yet; such an object carries the id of its draft, and
`.sluiceway/sha256/ID` the digest. Text and values only; knows no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sluiceway.stores.contract import METADATA_HEADERS, Metadata, Pairs, UploadRequest

__all__ = [
    "DRAFTS",
    "MOST_NOTE",
    "OWN",
    "Description",
    "about_of",
    "described",
    "draft_of",
    "format_note",
    "is_own",
    "note_key",
    "read_note",
]

OWN = ".sluiceway/"  # what lies below it in a place is never listed as an object
DRAFTS = f"{OWN}drafts/"
NOTES = f"{OWN}sha256/"  # in the object's own folder, so that it is found from whatever root the place is opened
MOST_NOTE = (
    8 << 10
)  # bytes of a note that are read: a key of 1,024 bytes and a digest are far below

OURS = ("draft", "filename", "sha256")  # names of our metadata
_THEIRS = "their0"  # stands before a user's name that is one of ours; some servers make another thing of _ or -

_OWN = re.compile(r"(?:^|/)\.sluiceway/(?:drafts|sha256)/[^/]*$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN = "!$&'()+,;=@~"  # of a name, besides letters, digits and "_.-": header values are ASCII, and 2 KiB together


@dataclass(frozen=True, slots=True)
class Description:
    """What is written of an object before, or with, its bytes."""

    type: str
    headers: Pairs
    metadata: Mapping[str, str]


def described(draft: str, metadata: Metadata | UploadRequest) -> Description:
    """As header values can carry it. Azure takes letters and digits only in a name."""
    told = {
        "draft": draft,
        "filename": quote(metadata.filename, safe=_PLAIN),
        "sha256": metadata.sha256 or "",
    }
    ours = {name: value for name, value in told.items() if value}
    theirs = {
        (_THEIRS + name if name in OURS or name.startswith(_THEIRS) else name): value
        for name, value in metadata.user
    }
    return Description(metadata.type, metadata.headers, {**theirs, **ours})


def about_of(
    headers: Mapping[str, str], metadata: Mapping[str, str], sha256: str | None = None
) -> Metadata:
    """Of an object put there by other means all metadata is its user's."""
    found, ours = metadata.get("sha256", sha256 or ""), OURS if draft_of(metadata) else ()
    return Metadata(
        filename=unquote(metadata.get("filename", "")),
        type=headers.get("content-type", "application/octet-stream"),
        sha256=found if _SHA256.fullmatch(found) else None,
        headers=tuple((name, headers[name]) for name in METADATA_HEADERS if headers.get(name)),
        user=tuple(
            sorted(
                (name.removeprefix(_THEIRS) if ours else name, metadata[name])
                for name in metadata
                if name not in ours
            )
        ),
    )


def draft_of(metadata: Mapping[str, str]) -> str:
    """The id of the draft an object was, "" for one put there by other means."""
    return metadata.get("draft", "")


def note_key(key: str, draft: str) -> str:
    """Where the note of an object lies, by what its metadata says: anybody may have written that, so no way out of here."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + NOTES + (draft if re.fullmatch(r"[0-9a-f]{32}", draft) else "none")


def is_own(key: str) -> bool:
    """Whether it is a draft or a note, and no object."""
    return _OWN.search(key) is not None


def format_note(key: str, sha256: str) -> bytes:
    return json.dumps({"key": key, "sha256": sha256}).encode()


def read_note(data: bytes) -> tuple[str, str]:
    """The key it was written for, and the sha-256; "" for what is no note."""
    try:
        told = json.loads(data)
        return str(told["key"]), str(told["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""
