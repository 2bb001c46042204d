"""Places that have a URL of their own kind: which store it is, and which key in it. Drivers are loaded when one is opened.

`open_root` takes all a URL names as the store, as a server does; `open_place` splits an object's key off, as a copy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.wire.urls import is_place, redact_url

__all__ = ["FSSPEC", "Place", "open_place", "open_root", "split_place"]

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
    """A store and what in it is meant: a key, the beginning of one that ends in `/`, or "" for all of it."""

    store: Store
    key: str
    display_name: str  # for people: without passwords


def open_place(text: str, budget: Budget, options: Mapping[str, str] = NO_OPTIONS) -> Place:
    """Nothing is connected yet. Raises BadRequest for what is no such place, or whose driver is missing."""
    key, root = split_place(text)
    return Place(open_root(root, budget, options), key, redact_url(text))


def open_root(text: str, budget: Budget, options: Mapping[str, str] = NO_OPTIONS) -> Store:
    """The store of all that the URL names. `options`: what people said with `--store-option`. Raises BadRequest."""
    if not is_place(text):
        raise BadRequest(f"{redact_url(text)} is no place that files can be kept in")
    scheme = _scheme(text)
    try:
        if scheme in ("postgresql", "postgres"):
            from sluiceway.stores.postgres.store import PostgresStore

            return PostgresStore(text, budget)
        if scheme.startswith(FSSPEC):
            from sluiceway.stores.fsspec.store import FsspecStore

            return FsspecStore(text, budget, options)
        from sluiceway.stores.objects.store import ObjectStore

        return ObjectStore(text, budget, options)
    except ImportError:
        raise BadRequest(
            f"{redact_url(text)} needs a driver: pip install 'sluiceway[{EXTRAS.get(scheme, 'fsspec')}]'"
        ) from None


def split_place(text: str) -> tuple[str, str]:
    """The key in the URL's path, decoded, and the URL without it.

    It stands behind the database's name, is all of a bucket's path, or what follows the last `/` of a path behind fsspec.
    """
    if _scheme(text).startswith(FSSPEC):
        address, mark, query = text.partition("?")
        scheme, _, rest = address.partition("://")
        folder, slash, key = rest.rpartition("/")
        return (unquote(key), f"{scheme}://{folder}/{mark}{query}") if slash else ("", text)
    parts = urlsplit(text)
    if _scheme(text) in ("s3", "gs", "az"):
        return unquote(parts.path.removeprefix("/")), urlunsplit(parts._replace(path=""))
    database, _, key = parts.path.removeprefix("/").partition("/")
    return unquote(key), urlunsplit(parts._replace(path=f"/{database}"))


def _scheme(text: str) -> str:
    return text.partition("://")[0].lower()
