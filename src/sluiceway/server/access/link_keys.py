"""The file of keys for links: the first one signs, each one checks; and what was revoked.

    lk_3q2-7wAA…            # signs
    lk_AAEC…                # still checks what it signed before
    revoked 4k2j9d0s8f7g6h5a

The server reads it again when it changes, as the token file. Only its owner may read it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sluiceway.errors import BadRequest
from sluiceway.server.access.owned_file import WatchedFile, edited_alone, read_owned, write_owned
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.uploads.access.links import LinkKey, SignedLink, new_link_key

__all__ = [
    "LinkKeys",
    "add_key",
    "first_key",
    "link_id",
    "link_keys_file",
    "read_link_keys",
    "revoke_link",
]

REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """Keys, the newest first, and the ids of revoked links."""

    keys: tuple[LinkKey, ...]
    revoked: frozenset[str]

    def read(self, text: str) -> SignedLink | None:
        """A link that one of these keys signed and that was not revoked; else None."""
        found = SignedLink.read(text, self.keys)
        return None if found is None or found.id in self.revoked else found


def read_link_keys(path: str) -> LinkKeys:
    """Raises BadSetting."""
    try:
        return _parsed(read_owned(path))
    except BadSetting as error:
        raise BadSetting(f"--link-key-file {path}: {error.detail}") from None


def link_keys_file(path: str) -> WatchedFile[LinkKeys]:
    """The keys of a file as they are now. Raises BadSetting."""
    return WatchedFile(path, read_link_keys, "the keys for links")


def add_key(path: str) -> str:
    """Put a fresh key in front of the others; the file is made where there is none.

    Returns its name. Raises BadSetting, OSError.
    """
    made = new_link_key()
    with edited_alone(path):
        text = read_owned(path) if os.path.exists(path) else ""
        if text:
            _parsed(text)
        write_owned(path, f"{made}\n{text}")
    return LinkKey.parse(made).name


def first_key(path: str) -> str:
    """The key that signs, as text. Raises BadSetting."""
    return read_link_keys(path).keys[0].text


def link_id(path: str, text: str) -> str:
    """The id of a link, from its URL or from the id itself. Raises BadRequest, BadSetting."""
    if "/" not in text:
        return text
    found = SignedLink.read(text.rstrip("/").rpartition("/")[2], read_link_keys(path).keys)
    if found is None:
        raise BadRequest("no key of the file signed this link")
    return found.id


def revoke_link(path: str, id: str) -> None:
    """From now on the link of this id opens nothing. Raises BadRequest, BadSetting, OSError."""
    if not id.isascii() or not id.isalnum() or len(id) > 64:
        raise BadRequest("the id of a link has letters and digits")
    with edited_alone(path):  # else a new key could replace the file before the line is in it
        _parsed(read_owned(path))
        # Added in one step: its folder may be one in which this server makes no files.
        with open(path, "ab", buffering=0) as file:
            file.write(f"\n{REVOKED} {id}\n".encode())
            os.fsync(file.fileno())


def _parsed(text: str) -> LinkKeys:
    keys: list[LinkKey] = []
    revoked: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 2 and words[0] == REVOKED:
            revoked.add(words[1])
            continue
        try:
            keys.append(LinkKey.parse(words[0] if len(words) == 1 else ""))
        except BadRequest as error:
            raise BadSetting(f"line {number}: {error.detail}") from None
    if not keys:
        raise BadSetting("it has no key; make one with: sluiceway link new-key")
    return LinkKeys(tuple(keys), frozenset(revoked))
