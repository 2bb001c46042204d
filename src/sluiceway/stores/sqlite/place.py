"""The URL of a SQLite database: its file, the table in it, and the key of an object behind it.

`sqlite:///files.db` is relative to the working folder, `sqlite:////srv/files.db` is absolute, and
`sqlite:///C:/files.db` is Windows's. The file ends at the first name that ends in .db, .sqlite or
.sqlite3; the rest of the path is a key. Pure text, except for the answer to which file it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sluiceway.errors import BadRequest

__all__ = ["SCHEME", "SqlitePlace"]

SCHEME = "sqlite://"
TABLE = "files"  # where the URL names none

# As in PostgreSQL; names that begin with sqlite_ are SQLite's own.
_TABLE_NAME = re.compile(r"(?!sqlite_)[a-z_][a-z0-9_]{0,40}")
_FILE_NAME = re.compile(r".*\.(?:db3?|sqlite3?)", re.IGNORECASE)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_SLASHES = "write sqlite:///FILE.db (relative) or sqlite:////FOLDER/FILE.db (absolute)"


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file, a table, and a key of an object: "" for all, a prefix where it ends in `/`."""

    path: str
    table: str
    key: str
    root: str  # the URL without the key

    @classmethod
    def parse(cls, url: str) -> SqlitePlace:
        """Raises BadRequest, with what to write instead."""
        address, _, query = url[len(SCHEME) :].partition("?")
        if "#" in address:
            raise BadRequest("A # in the path of a database is written as %23")
        # On Windows people write both.
        spelled = address.replace("\\", "/") if os.name == "nt" else address
        if not spelled.startswith("/"):
            raise BadRequest(f"A SQLite database is on no host; {_SLASHES}")
        names = spelled[1:].split("/")
        end = next((at for at, name in enumerate(names, 1) if _FILE_NAME.fullmatch(name)), None)
        file = "/".join(names[:end])
        path, key = _decoded(file), _decoded("/".join(names[end:]) if end is not None else "")
        if not path or path.endswith("/"):
            raise BadRequest(f"The URL names no database file; {_SLASHES}")
        if path.startswith((":memory:", "file:")):
            raise BadRequest(
                "SQLite's names with a colon are not files; write memory: for a store in memory"
            )
        return cls(path, _table(query), key, f"{SCHEME}/{file}" + (f"?{query}" if query else ""))

    @property
    def file(self) -> str:
        """The file that is meant, through links: two spellings of one file are equal. Blocking."""
        return os.path.realpath(self.path)

    @property
    def identity(self) -> str:
        """The same URL for two spellings of one table, with the key."""
        key = f"/{quote(self.key)}" if self.key else ""
        return f"{SCHEME}/{quote(self.file)}{key}?table={self.table}"


def _decoded(text: str) -> str:
    try:
        found = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("The path of a database is written in UTF-8") from None
    if _CONTROL.search(found):
        raise BadRequest("The path of a database holds no control characters")
    return found


def _table(query: str) -> str:
    table = None
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name != "table":  # without the name, which may be a mistyped secret
            raise BadRequest("The URL of a SQLite database takes ?table=NAME and nothing else")
        if table is not None:
            raise BadRequest("The URL names the table twice")
        table = unquote(value)
    if table is None:
        return TABLE
    if not _TABLE_NAME.fullmatch(table):
        raise BadRequest(
            f"{table!r} cannot be the table's name: use lower-case letters, digits and _, "
            "at most 41 of them, and no sqlite_ in front"
        )
    return table
