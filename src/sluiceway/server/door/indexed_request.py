"""A request whose headers are found by a dictionary, and the question whether its head is ordinary.

A small upload asks forty times for a header, mostly for one that is not there. Starlette's headers
walk through all fields for each question: that was a tenth of the upload's time. Most heads have
nothing but fields that no such question is about, and one look says so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar, overload

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request, empty_receive
from starlette.types import Receive, Scope

__all__ = ["IndexedRequest", "is_bare", "is_ordinary"]

# The fields of an ordinary head. None of them is a condition, a digest, an expectation, an encoding
# of the body, a piece of a file, a name, another protocol, or what only browsers' pages send. One
# that is not listed here is not a mistake: it costs a few questions more.
ORDINARY = frozenset(
    [
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-request-id",
    ]
)

T = TypeVar("T")


class _IndexedHeaders(Headers):
    """As Starlette's; of a field that was sent twice it gives the first, too."""

    def __init__(self, scope: Scope) -> None:
        self._list = scope["headers"] = list(scope["headers"])  # as Starlette's does
        # The bytes of the scope: copies of them as text would be memory of each slow upload.
        self.first: dict[bytes, bytes] = dict(reversed(self._list))
        self.ordinary: bool = len(self.first) == len(self._list) and self.first.keys() <= ORDINARY

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: str | T) -> str | T: ...
    def get(self, key: str, /, default: object = None) -> object:
        value = self.first.get(_field_name(key))
        return default if value is None else value.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        if (first := self.first.get(_field_name(key))) is None:
            return []
        once = len(self.first) == len(self._list)
        return [first.decode("latin-1")] if once else super().getlist(key)

    def __getitem__(self, key: str) -> str:
        return self.first[_field_name(key)].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and _field_name(key) in self.first


@lru_cache(256)
def _field_name(key: str) -> bytes:
    return key.lower().encode("latin-1")


class _Query(QueryParams):
    """As Starlette's, whose `get` raises and catches an error for each parameter that is absent."""

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: str | T) -> str | T: ...
    def get(self, key: str, /, default: object = None) -> object:
        return self._dict.get(key, default)


_NO_QUERY = _Query()
_NO_HEADERS = Headers()


def is_ordinary(request: Request) -> bool:
    """Whether each field of the head is an ordinary one, and was sent once."""
    return getattr(request.headers, "ordinary", False)


def is_bare(request: Request) -> bool:
    """Whether the head is ordinary, and there is no query."""
    return not request.scope.get("query_string") and getattr(request.headers, "ordinary", False)


class IndexedRequest(Request):
    """A request with such headers and such a query."""

    _found_query: _Query | None = None
    # Each request has its own; properties would be called.
    headers: Headers = _NO_HEADERS
    method: str = ""

    def __init__(self, scope: Scope, receive: Receive = empty_receive) -> None:
        super().__init__(scope, receive)
        self.method = scope["method"]
        self.headers = indexed = _IndexedHeaders(scope)
        self._fields = indexed.first

    def has_any(self, fields: frozenset[bytes]) -> bool:
        """Whether the head has one of these fields, which are in lower case."""
        return not fields.isdisjoint(self._fields)

    @property
    def query_params(self) -> QueryParams:
        if self._found_query is None:
            query = self.scope["query_string"]
            self._found_query = _Query(query) if query else _NO_QUERY
        return self._found_query
