"""Places that have a URL of their own kind: which store it is, and which key in it. Drivers are loaded when one is opened."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from sluiceway.client.address import is_place, shown
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store

__all__ = ["Place", "open_place", "place_key"]


@dataclass(frozen=True, slots=True)
class Place:
    """A store and what in it is meant: a key, the beginning of one that ends in `/`, or "" for all of it."""

    store: Store
    key: str
    called: str  # for people: without passwords


def open_place(text: str, budget: Budget) -> Place:
    """Nothing is connected yet. Raises BadRequest for what is no such place, or whose driver is missing."""
    if not is_place(text):
        raise BadRequest(f"{shown(text)} is no place that files can be kept in")
    key, root = place_key(text)
    try:
        from sluiceway.stores.postgres import PostgresStore
    except ImportError:
        raise BadRequest(f"{shown(text)} needs the PostgreSQL driver: pip install 'sluiceway[postgresql]'") from None
    return Place(PostgresStore(root, budget), key, shown(text))


def place_key(text: str) -> tuple[str, str]:
    """The key in the URL's path behind the database's name, decoded, and the URL without it."""
    parts = urlsplit(text)
    database, _, key = parts.path.removeprefix("/").partition("/")
    return unquote(key), urlunsplit(parts._replace(path=f"/{database}"))
