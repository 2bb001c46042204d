"""What the server says: entries as JSON, errors as problem+json, headers of answers. No handler writes these by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import (
    Refused,
    SluiceError,
)
from sluiceway.pipe.stages import Stages, server_timing, verdict
from sluiceway.stores.contract import DestinationResult, Entry
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.problems import write_problem

__all__ = [
    "entry_json",
    "json_answer",
    "object_url",
    "passed_on",
    "problem_answer",
    "upload_answer",
]

# Backends repeat what clients sent, also in HTML: under this server's name it must stay inert.
FOREIGN = {
    "via": "1.1 sluiceway",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
}

_SAFE = "/!$&'()*+,;=:@-._~"  # RFC 3986 pchar and the slash between segments


def object_url(request: Request, key: str) -> str:
    """The absolute path of an object, percent-encoded, with the prefix the app is mounted under."""
    return f"{request.scope.get('root_path', '')}/files/{quote(key, safe=_SAFE)}"


def entry_json(request: Request, entry: Entry, *, here: bool = True) -> dict[str, object]:
    """An entry as clients see it; of a file that was passed on, where the destination says it is, and what it answered.

    `here` is whether this server can be asked for it.
    """
    reply = entry.reply
    url = object_url(request, entry.key) if here and reply is None else _elsewhere(entry)
    more: dict[str, object] = {} if reply is None else {"status": reply.status}
    if entry.notes:
        more["notes"] = list(entry.notes)
    if entry.copies:
        more["destinations"] = [_copy_json(copy) for copy in entry.copies]
    return {
        "key": entry.key,
        "filename": entry.metadata.filename,
        "size": entry.size,
        "sha-256": entry.metadata.sha256,
        "type": entry.metadata.type,
        "url": url,
        "etag": entry.etag,
        "modified": datetime.fromtimestamp(entry.modified, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        **more,
    }


def _elsewhere(entry: Entry) -> str | None:
    """Where the destination says the file is; of several, the first required one that does."""
    if entry.reply is not None:
        return entry.reply.headers.get("location")
    return next(
        (copy.location for copy in entry.copies if copy.required and copy.location is not None),
        None,
    )


def _copy_json(copy: DestinationResult) -> dict[str, object]:
    told = {"status": copy.status, "location": copy.location, "note": copy.note}
    return {
        "to": copy.to,
        "required": copy.required,
        **{name: value for name, value in told.items() if value is not None},
    }


def json_answer(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    told = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, status, {**told, **(headers or {})})


def upload_answer(
    request: Request,
    upload_service: UploadService,
    incoming: UploadSession,
    entries: list[Entry],
    *,
    replaced: bool = False,
    fields: Sequence[tuple[str, str]] = (),
) -> Response:
    """201 (or 200 when a key got new bytes) with the list of entries; Location when there is exactly one.

    One file that was passed on is answered with what the destination said, word for word.
    """
    spent, name = incoming.stages.spent(), upload_service.store.traits.name
    headers = {"Upload-Id": incoming.id, "Server-Timing": server_timing(spent)}
    if len(entries) == 1 and (reply := entries[0].reply) is not None:
        return passed_on(reply.status, reply.headers, reply.body, headers)
    if len(entries) == 1 and upload_service.store.traits.readable:
        headers["Location"] = object_url(request, entries[0].key)
        headers["ETag"] = f'"{entries[0].etag}"'
    elif len(entries) == 1 and (place := _elsewhere(entries[0])) is not None:
        headers["Location"] = place
    values: dict[str, list[str]] = {}
    for field, value in fields:
        values.setdefault(field, []).append(value)
    content = {
        "files": [
            entry_json(request, entry, here=upload_service.store.traits.readable)
            for entry in entries
        ],
        "fields": values,
        "seconds": round(sum(spent.values()), 6),
        "stages": {stage: round(seconds, 6) for stage, seconds in spent.items()},
        "verdict": verdict(spent, name),
    }
    return json_answer(content, 200 if replaced else 201, headers)


def passed_on(
    status: int, headers: Mapping[str, str], body: bytes, ours: Mapping[str, str]
) -> Response:
    """Another server's answer as ours: what it brings is shown by no browser as a page of this server."""
    answer = Response(body, status, {**headers, **ours, **FOREIGN})
    if status in (204, 304):
        del answer.headers["content-length"]
    return answer


def problem_answer(error: SluiceError, stages: Stages | None = None) -> Response:
    """The response to any error. A destination's refusal goes out as the destination sent it."""
    timing = {} if stages is None else {"Server-Timing": server_timing(stages.spent())}
    if isinstance(error, Refused):
        return passed_on(error.status, error.headers, error.body, timing)
    written = write_problem(error)
    answer = Response(written.body, written.status, timing)
    for name, value in written.headers:
        answer.headers.append(name, value)
    return answer
