"""The file of tokens, as a server reads it."""

from __future__ import annotations

from sluiceway.server.access.named_tokens import NamedToken, parse_tokens
from sluiceway.server.access.owned_file import WatchedFile, read_owned
from sluiceway.server.settings.guarded import BadSetting

__all__ = ["read_tokens", "watched_tokens"]


def read_tokens(path: str) -> list[NamedToken]:
    """The tokens of a file that only its owner may read. Raises BadSetting.

    One without names is a mistake, such as a disk that was full: it would lock everybody out.
    """
    try:
        if not (tokens := parse_tokens(read_owned(path))):
            raise BadSetting("it has no name; add one with: sluiceway token add NAME")
        return tokens
    except BadSetting as error:
        raise BadSetting(f"--token-file {path}: {error.detail}") from None


def watched_tokens(path: str) -> WatchedFile[list[NamedToken]]:
    """The tokens of a file as they are now. Raises BadSetting."""
    return WatchedFile(path, read_tokens, "the tokens")
