"""What is known of an object in a bucket: its own metadata, and for one sent in parts a small note.

S3 takes metadata before the first part, when no digest is known yet. Such an object carries the id
of its draft, and `.sluiceway/digests/ID` beside it the digests that S3 does not keep itself. Text
and values only; knows no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from sluiceway.pipe.hashes import CHOICES, SHA256, is_digest
from sluiceway.stores.contract import METADATA_HEADERS, Metadata, Pairs, UploadRequest

__all__ = [
    "DRAFTS",
    "LASTING",
    "MOST_NOTE",
    "OWN_FOLDER",
    "Described",
    "draft_of",
    "format_note",
    "is_lasting",
    "is_own",
    "metadata_from",
    "note_key",
    "parse_note",
    "stored_metadata",
]

OWN_FOLDER = ".sluiceway/"  # keys below it in a place are never listed as objects
DRAFTS = f"{OWN_FOLDER}drafts/"
# Below the object's own folder, so that it is found from any root the place is opened with.
NOTES = f"{OWN_FOLDER}digests/"
# What belongs to a draft that outlives its process, beside the object that it will be.
LASTING = f"{OWN_FOLDER}lasting/"
MOST_NOTE = 8 << 10  # bytes of a note that are read: a key of 1,024 bytes and the digests need less

DIGEST_NAMES = {name.replace("-", ""): name for name in CHOICES}  # in metadata -> algorithm
OUR_NAMES = ("draft", "filename", *DIGEST_NAMES)  # of metadata
# Stands before a user's name that is one of ours. No _ or -: some servers change them.
ESCAPE = "their0"

_OWN = re.compile(r"(?:^|/)\.sluiceway/(?:drafts|digests|lasting)/[^/]*$")
# Characters of a name that stay, besides letters, digits and "_.-". Header values are ASCII, and
# have 2 KiB together.
_PLAIN = "!$&'()+,;=@~"

Described = Metadata | UploadRequest  # what an object is written with


def stored_metadata(draft: str, metadata: Described) -> dict[str, str]:
    """The object's metadata by name, as header values can carry it.

    Azure takes only letters and digits in a name.
    """
    ours = {
        "draft": draft,
        "filename": quote(metadata.filename, safe=_PLAIN),
        **{name.replace("-", ""): digits for name, digits in metadata.digests},
    }
    theirs = {
        (ESCAPE + name if name in OUR_NAMES or name.startswith(ESCAPE) else name): value
        for name, value in metadata.user
    }
    return {**theirs, **{name: value for name, value in ours.items() if value}}


def metadata_from(headers: Mapping[str, str], stored: Mapping[str, str]) -> Metadata:
    """What is known of an object with these headers and this metadata, by names in lower case.

    Of an object that another program put there, all metadata is its user's.
    """
    ours = OUR_NAMES if draft_of(stored) else ()
    digests = [
        (name, stored[short])
        for short, name in DIGEST_NAMES.items()
        if (short in ours or name == SHA256) and is_digest(name, stored.get(short))
    ]
    return Metadata(
        filename=unquote(stored.get("filename", "")),
        type=headers.get("content-type", "application/octet-stream"),
        digests=tuple(sorted(digests)),
        headers=tuple((name, headers[name]) for name in METADATA_HEADERS if headers.get(name)),
        user=tuple(
            sorted(
                (name.removeprefix(ESCAPE) if ours else name, stored[name])
                for name in stored
                if name not in ours
            )
        ),
    )


def draft_of(stored: Mapping[str, str]) -> str:
    """The id of the draft an object was, "" for one that another program put there."""
    return stored.get("draft", "")


def note_key(key: str, draft: str) -> str:
    """The key of an object's note. `draft` comes from its metadata, which any program may write."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + NOTES + (draft if re.fullmatch(r"[0-9a-f]{32}", draft) else "none")


def is_own(key: str) -> bool:
    """Whether it is the key of a draft, of something that belongs to one, or of a note."""
    return _OWN.search(key) is not None


def is_lasting(key: str) -> bool:
    """Of the keys of our own: whether it belongs to a draft that outlives its process."""
    return key.rpartition("/")[0].endswith(LASTING.rstrip("/"))


def format_note(key: str, digests: Pairs) -> bytes:
    return json.dumps({"key": key, "digests": dict(digests)}).encode()


def parse_note(data: bytes) -> tuple[str, Pairs]:
    """The key of the object and its digests; "" and () where it is not a note."""
    try:
        note = json.loads(data)
        key, digests = str(note["key"]), dict(note["digests"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ()
    return key, tuple(sorted(pair for pair in digests.items() if is_digest(*pair)))
