"""Keys of uploads whose client named none: a template such as `{id}/{path}`, and fresh ids.

Name and folders arrive cleaned. Knows nothing of HTTP or of the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import string
from datetime import UTC, datetime

from sluiceway.errors import BadName, BadRequest
from sluiceway.wire.names import check_key

__all__ = [
    "DEFAULT_TEMPLATE",
    "KeyTemplate",
    "checked_id",
    "id_from",
    "is_id",
    "new_id",
    "shown_path",
]

DEFAULT_TEMPLATE = "{id}/{path}"
FIELDS = ("id", "path", "filename", "year", "month", "day")

ID_SYMBOLS = string.ascii_lowercase + string.digits
ID_LENGTH = 25  # symbols of 36: 129 bits cannot be guessed
_MADE_FOLDER = re.compile(rf"[a-z0-9]{{{ID_LENGTH}}}/")
SHORTEST_ID, LONGEST_ID = 22, 64  # 22 symbols of 64 are 132 bits; longer ids only cost memory
_CHOSEN = frozenset(string.ascii_letters + string.digits + "-_")


# Each random byte is a symbol, each symbol is as likely as every other one: the 4 bytes that would
# make the first ones likelier are left out.
_SYMBOL_OF_BYTE = bytes(ord(ID_SYMBOLS[byte % len(ID_SYMBOLS)]) for byte in range(256))
_LEFT_OUT = bytes(range(256 - 256 % len(ID_SYMBOLS), 256))


# Ids that nobody has yet: to ask the system for each one alone took a fiftieth of a small upload.
_fresh: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh.clear)  # no two processes give out the same


def new_id() -> str:
    """Return a fresh id. It has no leading dash, so no command line takes it for an option."""
    while True:
        try:
            return _fresh.pop()  # one step: several threads ask
        except IndexError:
            symbols = os.urandom(1 << 10).translate(_SYMBOL_OF_BYTE, _LEFT_OUT).decode()
            last = len(symbols) - ID_LENGTH
            _fresh.extend(symbols[at : at + ID_LENGTH] for at in range(0, last + 1, ID_LENGTH))


def id_from(*secrets: str) -> str:
    """Return the id that follows from these texts, one of them a secret: always the same one."""
    found = hashlib.sha512("\n".join(secrets).encode("utf-8", "surrogatepass")).digest()
    return found.translate(_SYMBOL_OF_BYTE, _LEFT_OUT).decode()[:ID_LENGTH]


def is_id(upload: str) -> bool:
    """Whether an upload can have this id."""
    return SHORTEST_ID <= len(upload) <= LONGEST_ID and _CHOSEN.issuperset(upload)


def checked_id(upload: str) -> str:
    """Return an id that a client chose. Raises BadRequest for one that could be guessed."""
    if not is_id(upload):
        raise BadRequest(
            f"An upload id has {SHORTEST_ID} to {LONGEST_ID} letters, digits, '-' or '_', and is"
            " random: a client that knows it can watch and cancel the upload"
        )
    return upload


def shown_path(key: str) -> str:
    """Return the key as people know the file: without the id that was made in front of it."""
    made = _MADE_FOLDER.match(key)
    return key if made is None or made.end() == len(key) else key[made.end() :]


class KeyTemplate:
    """A checked template.

    `{id}` is fresh for every file, `{path}` is `{filename}` with the folders in front of it that
    the client named, the date is UTC.
    """

    def __init__(self, text: str = DEFAULT_TEMPLATE) -> None:
        try:
            names = [
                name
                for _, name, spec, conversion in string.Formatter().parse(text)
                if name is not None
            ]
        except ValueError as error:
            raise BadName(f"The key template {text!r} cannot be read: {error}") from None
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise BadName(f"The key template names {{{unknown[0]}}}; known are {known}")
        if not {"id", "path", "filename"}.intersection(names):
            raise BadName(
                "The key template needs {id}, {path} or {filename}, or every upload would get the "
                "same key"
            )
        self.text: str = text
        self.has_id: bool = "id" in names  # then no two uploads get one key
        try:
            check_key(self.key("name"))
        except BadName as error:
            raise BadName(f"The key template {text!r} makes no safe key: {error.detail}") from None

    def key(self, filename: str, folders: str = "") -> str:
        """Return the key for a file whose name and folders ("album/a/") are clean."""
        now = datetime.now(UTC)
        return self.text.format(
            id=new_id(),
            path=folders + filename,
            filename=filename,
            year=f"{now:%Y}",
            month=f"{now:%m}",
            day=f"{now:%d}",
        )
