"""The keys of a provider in a file, as the file is now."""

from __future__ import annotations

import os

from sluiceway.errors import BadRequest
from sluiceway.server.access.owned_file import LARGEST_FILE, WatchedFile
from sluiceway.server.access.web_tokens.keys import KeySet, parse_keys
from sluiceway.server.settings.guarded import BadSetting, readable_by_others, writable_by_others

__all__ = ["KeyFile", "read_keys"]


def read_keys(path: str) -> KeySet:
    """The keys of a file that only its owner may change. Raises BadSetting.

    One that others may read holds public keys alone; its secrets are left out.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadSetting(f"--jwt-keys {path} cannot be read: {error.strerror}") from None
    try:
        if writable_by_others(status):
            raise BadRequest("other users can change it; run chmod go-w on it")
        if len(content) > LARGEST_FILE:
            raise BadRequest(f"it has more than {LARGEST_FILE >> 20} MiB")
        text = content.decode("utf-8", "replace")
        return parse_keys(text, secrets=not readable_by_others(status))
    except BadRequest as error:
        raise BadSetting(f"--jwt-keys {path}: {error.detail}") from None


class KeyFile:
    """Read again when it changes. Raises BadSetting when it is made."""

    def __init__(self, path: str) -> None:
        self._file = WatchedFile(path, read_keys, "the keys of tokens")

    def reload(self) -> None:
        """Read it again at the next request."""
        self._file.look_again()

    async def keys_for(self, kid: str | None) -> KeySet:
        """The keys; the id is for a source that could have more."""
        self._file.changed()
        return self._file.value

    async def newer(self, keys: KeySet) -> KeySet:
        """The keys, after these verified nothing."""
        return self._file.value
