"""From a URL such as `s3://bucket/key` to a store and a key. Drivers are loaded when first needed.

`open_root` opens everything that the URL names as one store, for a server. `open_place` splits the
key of an object off, for a copy. Knows which class serves which scheme and nothing else of stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.wire.urls import is_place, join_url, redact_url

if TYPE_CHECKING:
    from sluiceway.stores.sqlite.place import SqlitePlace

__all__ = ["FSSPEC", "Place", "open_place", "open_root", "place_identity", "split_place"]

FSSPEC = "fsspec+"
NO_OPTIONS: Mapping[str, str] = {}
EXTRAS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "s3": "s3",
    "gs": "objects",
    "az": "objects",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A store and the part of it that is meant: a key, a prefix that ends in `/`, or "" for all."""

    store: Store
    key: str
    display_name: str  # for people, without passwords


def open_place(text: str, budget: Budget, options: Mapping[str, str] = NO_OPTIONS) -> Place:
    """Open nothing but the driver: no connection yet.

    Raises BadRequest for another kind of URL, and when the driver is not installed.
    """
    key, root = split_place(text)
    return Place(open_root(root, budget, options), key, redact_url(text))


def open_root(text: str, budget: Budget, options: Mapping[str, str] = NO_OPTIONS) -> Store:
    """The store of everything that the URL names. `options` are those of `--store-option`.

    Raises BadRequest.
    """
    if not is_place(text):
        raise BadRequest(f"{redact_url(text)} is not a URL of a store")
    scheme = _scheme(text)
    try:
        if scheme in ("postgresql", "postgres"):
            from sluiceway.stores.postgres.store import PostgresStore

            return PostgresStore(text, budget)
        if scheme == "sqlite":
            from sluiceway.stores.sqlite.store import SqliteStore

            return SqliteStore(text, budget)
        if scheme.startswith(FSSPEC):
            from sluiceway.stores.fsspec.store import FsspecStore

            return FsspecStore(text, budget, options)
        from sluiceway.stores.objects.store import ObjectStore

        return ObjectStore(text, budget, options)
    except ImportError:
        if scheme == "sqlite":
            raise BadRequest("This Python was built without SQLite (the module sqlite3)") from None
        raise BadRequest(
            f"{redact_url(text)} needs a driver: "
            f"pip install 'sluiceway[{EXTRAS.get(scheme, 'fsspec')}]'"
        ) from None


def split_place(text: str) -> tuple[str, str]:
    """The key in the URL's path, decoded, and the URL of the store without it.

    The key is the path behind a database's name or file, the whole path of a bucket, and the last
    segment of a path behind fsspec. Raises BadRequest for a database file that is none.
    """
    if _scheme(text) == "sqlite":
        place = _sqlite_place(text)
        return place.key, place.root
    if _scheme(text).startswith(FSSPEC):
        address, mark, query = text.partition("?")
        scheme, _, rest = address.partition("://")
        folder, slash, key = rest.rpartition("/")
        return (unquote(key), f"{scheme}://{folder}/{mark}{query}") if slash else ("", text)
    parts = urlsplit(text)
    if _scheme(text) in ("s3", "gs", "az"):
        return unquote(parts.path.removeprefix("/")), join_url(parts._replace(path=""))
    database, _, key = parts.path.removeprefix("/").partition("/")
    return unquote(key), join_url(parts._replace(path=f"/{database}"))


def place_identity(text: str) -> str:
    """The same URL for two spellings of one place, where the spelling can show it. Blocking.

    Raises BadRequest for a database file that is none.
    """
    return _sqlite_place(text).identity if _scheme(text) == "sqlite" else text


def _sqlite_place(text: str) -> SqlitePlace:
    from sluiceway.stores.sqlite.place import SqlitePlace

    return SqlitePlace.parse(text)


def _scheme(text: str) -> str:
    return text.partition("://")[0].lower()
