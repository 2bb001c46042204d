"""A request whose headers are found by a dictionary.

A small upload asks forty times for a header, mostly for one that is not there. Starlette's headers
walk through all fields for each question: that was a tenth of the upload's time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar, overload

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

__all__ = ["IndexedRequest"]

T = TypeVar("T")

HEADERS = "sluiceway.headers"  # in a request's scope: its _IndexedHeaders, for all its requests


class _IndexedHeaders(Headers):
    """As Starlette's; of a field that was sent twice it gives the first, too."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        # The bytes of the scope: copies of them as text would be memory of each slow upload.
        self._first: dict[bytes, bytes] = dict(reversed(self._list))

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: str | T) -> str | T: ...
    def get(self, key: str, /, default: object = None) -> object:
        value = self._first.get(_field_name(key))
        return default if value is None else value.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        return super().getlist(key) if key in self else []

    def __getitem__(self, key: str) -> str:
        return self._first[_field_name(key)].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and _field_name(key) in self._first


@lru_cache(256)
def _field_name(key: str) -> bytes:
    return key.lower().encode("latin-1")


class IndexedRequest(Request):
    """A request with such headers."""

    @property
    def headers(self) -> Headers:
        found: _IndexedHeaders | None = self.scope.get(HEADERS)
        if found is None:
            found = self.scope[HEADERS] = _IndexedHeaders(self.scope)
        return found
