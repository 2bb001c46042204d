"""What the server says: entries as JSON, errors as problem+json, headers of answers. No handler writes these by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import MethodNotAllowed, RangeUnsatisfiable, SluiceError, Unauthorized
from sluiceway.stores.contract import Entry
from sluiceway.wire.problems import PROBLEM_TYPE, problem
from sluiceway.wire.ranges import unsatisfied_range

__all__ = ["entry_json", "json_answer", "object_url", "problem_answer", "upload_answer"]

_SAFE = "/!$&'()*+,;=:@-._~"  # RFC 3986 pchar and the slash between segments


def object_url(request: Request, key: str) -> str:
    """The absolute path of an object, percent-encoded, with the prefix the app is mounted under."""
    return f"{request.scope.get('root_path', '')}/files/{quote(key, safe=_SAFE)}"


def entry_json(request: Request, entry: Entry) -> dict[str, object]:
    """An entry as clients see it."""
    return {
        "key": entry.key,
        "filename": entry.about.filename,
        "size": entry.size,
        "sha-256": entry.about.sha256,
        "type": entry.about.type,
        "url": object_url(request, entry.key),
        "etag": entry.etag,
        "modified": datetime.fromtimestamp(entry.modified, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    told = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(body, status, {**told, **(headers or {})})


def upload_answer(
    request: Request,
    upload: str,
    entries: list[Entry],
    *,
    replaced: bool = False,
    fields: dict[str, list[str]] | None = None,
) -> Response:
    """201 (or 200 when a key got new bytes) with the list of entries; Location when there is exactly one."""
    headers = {"Upload-Id": upload}
    if len(entries) == 1:
        headers["Location"] = object_url(request, entries[0].key)
        headers["ETag"] = f'"{entries[0].etag}"'
    content = {"files": [entry_json(request, entry) for entry in entries], "fields": fields or {}}
    return json_answer(content, 200 if replaced else 201, headers)


def problem_answer(error: SluiceError) -> Response:
    """Any error as RFC 9457 problem+json, with the headers its status asks for."""
    body = json.dumps(problem(error), ensure_ascii=False, default=str).encode("utf-8", "replace")
    answer = Response(body, error.status, {"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store"})
    answer.headers["X-Content-Type-Options"] = "nosniff"
    if isinstance(error, Unauthorized):
        answer.headers.append("WWW-Authenticate", 'Bearer realm="sluiceway"')
        answer.headers.append("WWW-Authenticate", 'Basic realm="sluiceway", charset="UTF-8"')
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = str(error.members.get("allow", ""))
    if isinstance(error, RangeUnsatisfiable) and isinstance(size := error.members.get("size"), int):
        answer.headers["Content-Range"] = unsatisfied_range(size)
    if error.status in (408, 503):
        answer.headers["Retry-After"] = "5"
    return answer
