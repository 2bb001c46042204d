"""What a request says beside its body: conditions, digests, the name of its file, query parameters.

Reads headers and the query only. Handlers share these functions; no handler imports another one.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from sluiceway.errors import BadRequest, PreconditionFailed
from sluiceway.server.door.indexed_request import is_bare
from sluiceway.stores.browsing import ORDERS, View
from sluiceway.stores.contract import Entry, Replace
from sluiceway.uploads.lifetime.lifetimes import (
    DOWNLOADS_HEADER,
    EXPIRES_HEADER,
    RETAIN_HEADER,
)
from sluiceway.wire.headers.checksums import expected_of, promises_digest
from sluiceway.wire.headers.conditions import PutTerms, Verdict, evaluate, join_fields, put_replace
from sluiceway.wire.headers.disposition import parse_disposition
from sluiceway.wire.headers.media_types import essence
from sluiceway.wire.names import clean_name
from sluiceway.wire.resumable import PARTIAL_UPLOAD, is_creation
from sluiceway.wire.tus import OFFSET_STREAM, name_in, parse_metadata, type_in

__all__ = [
    "clean_file_name",
    "conflict_terms",
    "content_digests",
    "expected_digests",
    "file_digests",
    "file_name",
    "file_type",
    "is_view",
    "joined_headers",
    "query_values",
    "relayed_replace",
    "replace_for",
    "view_asked",
]

# The digests of a file, however many requests bring it (RFC 9530 3; RFC 3230 4.3.2)
_OF_FILES = ("repr-digest", "digest")
_OF_VIEWS = frozenset(["folder", "search", "sort"])  # query parameters of the list
OUR_PARAMETERS = frozenset(["upload", "name"])  # query parameters that this server reads itself


def joined_headers(request: Request) -> dict[str, str]:
    """The headers by name; header lines sent twice are joined with commas (RFC 9110 5.2)."""
    return join_fields(request.headers.raw)


def query_values(request: Request) -> dict[str, str]:
    """Query parameters that this server does not read itself: a relay puts them into its URL.

    Beside them, what the client asks in headers about how long the file lasts.
    """
    values = {
        name: value for name, value in request.query_params.items() if name not in OUR_PARAMETERS
    }
    for name in (EXPIRES_HEADER, RETAIN_HEADER, DOWNLOADS_HEADER):
        if name in request.headers:
            values[name] = request.headers[name]
    return values


def expected_digests(request: Request) -> dict[str, bytes]:
    """The digests that the whole body must have, by algorithm. Raises BadDigest, BadRequest."""
    lines = request.headers.raw
    return expected_of(join_fields(lines)) if promises_digest(lines) else {}


def file_digests(request: Request) -> dict[str, bytes]:
    """Of a request that brings a piece: the digests of the whole file. Raises BadDigest."""
    if not promises_digest(request.headers.raw):
        return {}
    fields = joined_headers(request)
    return expected_of({name: fields[name] for name in _OF_FILES if name in fields})


def content_digests(request: Request, read: str = "") -> dict[str, bytes]:
    """The digests of this piece, but that of the field `read`, which its caller reads itself, also
    as a trailer. Raises BadDigest, BadRequest."""
    if not promises_digest(request.headers.raw):
        return {}
    fields = joined_headers(request)
    if read and "trailer" in fields:
        names = fields["trailer"].split(",")
        fields["trailer"] = ",".join(name for name in names if name.strip().lower() != read)
    return expected_of(
        {name: fields[name] for name in fields if name not in _OF_FILES and name != read}
    )


def clean_file_name(request: Request) -> str | None:
    """The file's name from ?name=, else from Content-Disposition, made safe."""
    name = None if is_bare(request) else file_name(request)
    return clean_name(name) if name else None


def file_name(request: Request) -> str | None:
    """The same as the client sent it, perhaps with folders."""
    name = request.query_params.get("name")
    if not name and "content-disposition" in request.headers:
        name = parse_disposition(request.headers["content-disposition"]).filename
    return name or name_in(_tus_metadata(request))


def file_type(request: Request) -> str:
    """The media type of the file, "" for none: that of a creation may be about its bytes alone."""
    kind = request.headers.get("content-type", "")
    if essence(kind) not in (PARTIAL_UPLOAD, OFFSET_STREAM):
        return kind
    return type_in(_tus_metadata(request))


def _tus_metadata(request: Request) -> Mapping[str, str]:
    """What tus-js-client says of the file in its IETF modes, too; {} where it cannot be read."""
    text = request.headers.get("upload-metadata", "")
    if not text or not is_creation(request.headers):
        return {}
    try:
        return parse_metadata(text)
    except BadRequest:
        return {}


def is_view(request: Request) -> bool:
    """Whether the list is asked for by folder, by words, or in another order than that of keys."""
    return not _OF_VIEWS.isdisjoint(request.query_params)


def view_asked(request: Request) -> View:
    """What the query asks to look at. Raises BadRequest."""
    query = request.query_params
    sort = query.get("sort", "-modified")
    order = ORDERS.get(sort.removeprefix("-"))
    if order is None:
        raise BadRequest("sort is name, size or modified; with - in front the other way round")
    return View(query.get("folder"), query.get("search", ""), order, sort.startswith("-"))


def replace_for(request: Request, existing: Entry | None) -> Replace:
    """What the request's conditions allow to replace.

    They are checked against `existing` now; the store checks the result again when it publishes.
    Raises PreconditionFailed.
    """
    headers = joined_headers(request)
    etag, modified = (existing.etag, existing.modified) if existing else (None, None)
    if evaluate(request.method, headers, etag, modified, existing is not None) is not Verdict.GO:
        state = "exists already" if existing else "does not exist"
        raise PreconditionFailed(
            f"The object {state}, or is not the version you named; nothing was changed"
        )
    terms: PutTerms = put_replace(headers)
    if terms.create_only:
        return Replace()
    if existing and (terms.any_existing or terms.etags is not None):
        return Replace(allowed=True, etag=existing.etag)
    return Replace(allowed=True)


def conflict_terms(request: Request) -> tuple[Replace, bool]:
    """What ?conflict= asks for where the server makes the key and it is taken.

    `fail` (the default) refuses, `replace` replaces, `rename` keeps both: then the second value is
    true, and the new file gets a name with a number. Raises BadRequest.
    """
    asked = request.query_params.get("conflict", "fail")
    if asked not in ("fail", "replace", "rename"):
        raise BadRequest("conflict is fail, replace or rename")
    return Replace(allowed=asked == "replace"), asked == "rename"


def relayed_replace(request: Request) -> Replace:
    """The conditions for a destination that alone knows which objects exist. Raises BadRequest."""
    terms = put_replace(joined_headers(request))
    if terms.create_only:
        return Replace()
    if terms.any_existing or (terms.etags is not None and len(terms.etags) != 1):
        raise BadRequest(
            "This server sends files on to another one: it can pass on If-None-Match: * or an "
            "If-Match with one tag"
        )
    return Replace(allowed=True, etag=terms.etags[0] if terms.etags else None)
