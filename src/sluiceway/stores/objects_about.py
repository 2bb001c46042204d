"""What is known of an object in a bucket: metadata of its own, and for one sent in parts a small note beside it.

S3 takes metadata before the first part, when nobody knows the sha-256 yet; such an object carries the id of its draft, and
`.sluiceway/sha256/ID` the digest. Text and values only; knows no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from sluiceway.stores.contract import About

__all__ = ["DRAFTS", "MOST_NOTE", "about_of", "draft_of", "format_metadata", "format_note", "is_own", "note_key", "read_note"]

OWN = ".sluiceway/"  # what lies below it in a place is never listed as an object
DRAFTS = f"{OWN}drafts/"
NOTES = f"{OWN}sha256/"  # in the object's own folder, so that it is found from whatever root the place is opened
MOST_NOTE = 8 << 10  # bytes of a note that are read: a key of 1,024 bytes and a digest are far below

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN = "!$&'()+,;=@~"  # of a name, besides letters, digits and "_.-": header values are ASCII, and 2 KiB together


def format_metadata(draft: str, filename: str, sha256: str | None) -> dict[str, str]:
    """As header values can carry it. Azure takes letters and digits only in a name."""
    told = {"draft": draft, "filename": quote(filename, safe=_PLAIN)}
    if sha256 is not None:
        told["sha256"] = sha256
    return {name: value for name, value in told.items() if value}


def about_of(attributes: Mapping[str, str], sha256: str | None = None) -> About:
    """Of an object put there by other means: its type, and nothing else."""
    told = {name.lower(): value for name, value in attributes.items()}
    found = told.get("sha256", sha256 or "")
    return About(
        filename=unquote(told.get("filename", "")),
        type=told.get("content-type", "application/octet-stream"),
        sha256=found if _SHA256.fullmatch(found) else None,
    )


def draft_of(attributes: Mapping[str, str]) -> str:
    """The id of the draft an object was, "" for one put there by other means."""
    return next((value for name, value in attributes.items() if name.lower() == "draft"), "")


def note_key(key: str, draft: str) -> str:
    """Where the note of an object lies, by what its metadata says: anybody may have written that, so no way out of here."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash + NOTES + (draft if re.fullmatch(r"[0-9a-f]{32}", draft) else "none")


def is_own(key: str) -> bool:
    """Whether it is a draft or a note, and no object."""
    return key.startswith(OWN) or f"/{OWN}" in key


def format_note(key: str, sha256: str) -> bytes:
    return json.dumps({"key": key, "sha256": sha256}).encode()


def read_note(data: bytes) -> tuple[str, str]:
    """The key it was written for, and the sha-256; "" for what is no note."""
    try:
        told = json.loads(data)
        return str(told["key"]), str(told["sha256"])
    except (ValueError, KeyError, TypeError):
        return "", ""
