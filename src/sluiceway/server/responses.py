"""What the server answers: entries as JSON, errors as problem+json, another server's response.

Handlers build no headers and no JSON of their own for these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import Refused, SluiceError
from sluiceway.pipe.hashes import named_digests
from sluiceway.pipe.stages import Stages, server_timing, verdict
from sluiceway.server.door.indexed_request import is_ordinary
from sluiceway.server.streaming import raw_headers
from sluiceway.stores.contract import DestinationResult, Entry, Traits
from sluiceway.uploads.progress_record import FOR_BACKEND
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.headers.http_dates import http_date
from sluiceway.wire.headers.object_digests import wanted_digest, wished_headers
from sluiceway.wire.problems import write_problem

__all__ = [
    "INERT_POLICY",
    "entry_json",
    "json_response",
    "object_url",
    "problem_response",
    "receipt",
    "relayed_response",
    "status_url",
    "time_headers",
    "upload_response",
]

# The content security policy of files that users uploaded: a browser shows them and runs nothing.
INERT_POLICY = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)
# Backends repeat what clients sent, also in HTML: under this server's name it must stay inert.
RELAYED_HEADERS = {
    "via": "1.1 sluiceway",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
}

_JSON_HEADERS = raw_headers(
    {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
)
LOOK_AGAIN = "5"  # seconds
LAST_SECOND = 253402300800  # the year 10000: a time that another program wrote may lie behind it
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_PLAIN = re.compile(r"[A-Za-z0-9/._~-]+")  # these stay as they are
_SAFE = "/!$&'()*+,;=:@-._~"  # RFC 3986 pchar and the slash between segments


def object_url(request: Request, key: str) -> str:
    """The absolute path of an object, percent-encoded, below the path the app is mounted at."""
    quoted = key if _PLAIN.fullmatch(key) else quote(key, safe=_SAFE)
    return f"{request.scope.get('root_path', '')}/files/{quoted}"


def entry_json(request: Request, entry: Entry, *, readable: bool = True) -> dict[str, object]:
    """An entry as clients see it.

    `readable`: this server can be asked for the file. Of a file that was sent on to other servers
    the `url` is what they answered.
    """
    reply = entry.reply
    url = object_url(request, entry.key) if readable and reply is None else _location(entry)
    more: dict[str, object] = {} if reply is None else {"status": reply.status}
    if entry.metadata.user:
        more |= _times_json(entry)
    if entry.waits_as:
        more |= {"state": "waiting", **FOR_BACKEND, "upload": status_url(request, entry)}
    if entry.notes:
        more["notes"] = list(entry.notes)
    if entry.copies:
        more["destinations"] = [_result_json(copy) for copy in entry.copies]
    return {
        "key": entry.key,
        # A listing of a bucket knows the key alone.
        "filename": entry.metadata.filename or entry.key.rpartition("/")[2],
        "size": entry.size,
        **named_digests(entry.metadata.digests),
        "type": entry.metadata.type,
        "url": url,
        "etag": entry.etag,
        "modified": datetime.fromtimestamp(entry.modified, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        **more,
    }


def _times_json(entry: Entry) -> dict[str, str]:
    """When the file is deleted, and until when it must stay, where that is so."""
    times = {"expires": entry.metadata.expires, "retained_until": entry.metadata.retained}
    return {
        name: datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
        for name, seconds in times.items()
        if seconds is not None and seconds < LAST_SECOND
    }


def time_headers(entry: Entry) -> dict[str, str]:
    """The same as headers."""
    if not entry.metadata.user:
        return {}
    times = {"X-Expires": entry.metadata.expires, "X-Retained-Until": entry.metadata.retained}
    return {
        name: http_date(seconds)
        for name, seconds in times.items()
        if seconds is not None and seconds < LAST_SECOND
    }


def status_url(request: Request, entry: Entry) -> str:
    """Where the client of a file learns that still waits for its destination."""
    return f"{request.scope.get('root_path', '')}/uploads/{entry.waits_as}"


def _location(entry: Entry) -> str | None:
    """The Location that the destination answered; of several, that of the first required one."""
    if entry.reply is not None:
        return entry.reply.headers.get("location")
    return next(
        (copy.location for copy in entry.copies if copy.required and copy.location is not None),
        None,
    )


def _result_json(copy: DestinationResult) -> dict[str, object]:
    optional = {"status": copy.status, "location": copy.location, "note": copy.note}
    return {
        "to": copy.to,
        "required": copy.required,
        **{name: value for name, value in optional.items() if value is not None},
    }


def json_response(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`content` as JSON that no cache keeps."""
    body = _to_json(content).encode("utf-8", "replace")
    response = Response.__new__(Response)  # whose __init__ would write the headers twice
    response.status_code, response.background, response.body = status, None, body
    response.raw_headers = [
        *_JSON_HEADERS,
        *raw_headers(headers or {}),
        (b"content-length", b"%d" % len(body)),
    ]
    return response


def upload_response(
    request: Request,
    upload_service: UploadService,
    session: UploadSession,
    entries: list[Entry],
    *,
    replaced: bool = False,
    fields: Sequence[tuple[str, str]] = (),
) -> Response:
    """201 (200 if an existing object was replaced) with the entries; Location if there is one.

    One file that was sent on to another server is answered with that server's response, unchanged.
    """
    traits = upload_service.store.traits
    return receipt(
        request, traits, session.id, session.stages, entries, replaced=replaced, fields=fields
    )


def receipt(
    request: Request,
    traits: Traits,
    upload: str,
    stages: Stages,
    entries: list[Entry],
    *,
    replaced: bool = False,
    fields: Sequence[tuple[str, str]] = (),
) -> Response:
    """`upload_response` for an upload that may have come in several requests."""
    spent = stages.spent()
    headers = {"Upload-Id": upload, "Server-Timing": server_timing(spent)}
    if len(entries) == 1 and (reply := entries[0].reply) is not None:
        return relayed_response(reply.status, reply.headers, reply.body, headers)
    files = [entry_json(request, entry, readable=traits.readable) for entry in entries]
    if waiting := [entry for entry in entries if entry.waits_as]:
        headers |= {"Location": status_url(request, waiting[0]), "Retry-After": LOOK_AGAIN}
    if len(entries) == 1:
        if entries[0].metadata.user:
            headers |= time_headers(entries[0])
        if not is_ordinary(request) and (wanted := wanted_digest(request.headers)):
            headers |= wished_headers(entries[0].metadata.digests, request.headers, wanted)
    if len(entries) == 1 and traits.readable:
        headers["Location"] = str(files[0]["url"])
        headers["ETag"] = f'"{entries[0].etag}"'
    elif not waiting and len(entries) == 1 and (location := _location(entries[0])) is not None:
        headers["Location"] = location
    values: dict[str, list[str]] = {}
    for field, value in fields:
        values.setdefault(field, []).append(value)
    content = {
        "files": files,
        "fields": values,
        "seconds": round(sum(spent.values()), 6),
        "stages": {stage: round(seconds, 6) for stage, seconds in spent.items()},
        "verdict": verdict(spent, traits.name),
    }
    return json_response(content, 202 if waiting else 200 if replaced else 201, headers)


def relayed_response(
    status: int, headers: Mapping[str, str], body: bytes, ours: Mapping[str, str]
) -> Response:
    """Another server's response as ours. No browser shows it as a page of this server."""
    response = Response(body, status, {**headers, **ours, **RELAYED_HEADERS})
    if status in (204, 304):
        del response.headers["content-length"]
    return response


def problem_response(error: SluiceError, stages: Stages | None = None) -> Response:
    """The response to any error. A destination's refusal is passed on as it came."""
    timing = {} if stages is None else {"Server-Timing": server_timing(stages.spent())}
    if isinstance(error, Refused):
        return relayed_response(error.status, error.headers, error.body, timing)
    written = write_problem(error)
    response = Response(written.body, written.status, timing)
    for name, value in written.headers:
        response.headers.append(name, value)
    return response
