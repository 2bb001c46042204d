"""Errors as application/problem+json (RFC 9457): the only writer, for every server and framework.

It writes status, headers and body of a response. Any SluiceError can be written; nothing else is.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sluiceway.errors import MethodNotAllowed, RangeUnsatisfiable, SluiceError, Unauthorized
from sluiceway.wire.headers.digests import WANTED
from sluiceway.wire.headers.ranges import unsatisfied_range
from sluiceway.wire.urls import hide_links

__all__ = ["PROBLEM_TYPE", "ProblemResponse", "problem", "write_problem"]

PROBLEM_TYPE = "application/problem+json"
DIGEST_FIELDS = ("Content-Digest", "Repr-Digest")  # of which a response can say what it wants
RETRY_AFTER = "5"  # seconds, with 408 and 503
# Members of a 415 that are headers, too: RFC 9110 12.5.3, RFC 5789 2.2
_ACCEPTED = {"accept_encoding": "Accept-Encoding", "accept_patch": "Accept-Patch"}

# The member that an error carries, or its code, decides its registered type:
# draft-ietf-httpapi-digest-fields-problem-types, draft-ietf-httpbis-resumable-upload.
_IANA = "https://iana.org/assignments/http-problem-types"
_TYPE_OF_MEMBER = {
    "unsupported_algorithms": f"{_IANA}#digest-unsupported-algorithms",
    "invalid_digests": f"{_IANA}#digest-invalid-values",
    "mismatched_digests": f"{_IANA}#digest-mismatched-values",
    "expected-offset": f"{_IANA}#mismatching-upload-offset",
}
_TYPE_OF_CODE = {
    "inconsistent-length": f"{_IANA}#inconsistent-upload-length",
    "completed-upload": f"{_IANA}#completed-upload",
}


class ProblemResponse(NamedTuple):
    """A whole response. Headers may repeat; Content-Length and Connection are the server's."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def write_problem(error: SluiceError, instance: str | None = None) -> ProblemResponse:
    """Write the response to an error, with the headers that its status asks for (RFC 9110).

    `instance` is the path of the request.
    """
    headers = [
        ("Content-Type", PROBLEM_TYPE),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if isinstance(error, Unauthorized):
        headers.append(("WWW-Authenticate", 'Bearer realm="sluiceway"' + _why(error)))
        headers.append(("WWW-Authenticate", 'Basic realm="sluiceway", charset="UTF-8"'))
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", str(error.members.get("allow", ""))))
    if isinstance(error, RangeUnsatisfiable) and isinstance(size := error.members.get("size"), int):
        headers.append(("Content-Range", unsatisfied_range(size)))
    members = error.members
    headers += [(field, str(members[name])) for name, field in _ACCEPTED.items() if name in members]
    unknown = {each.get("header") for each in _unsupported(error)}
    headers += [(f"Want-{field}", WANTED) for field in DIGEST_FIELDS if field in unknown]
    if error.status in (408, 503):
        headers.append(("Retry-After", RETRY_AFTER))
    text = json.dumps(problem(error, instance), ensure_ascii=False, default=str)
    return ProblemResponse(error.status, headers, text.encode("utf-8", "replace"))


def _unsupported(error: SluiceError) -> list[dict[str, str]]:
    """The algorithms that a client asked for and that are not known here."""
    found = error.members.get("unsupported_algorithms")
    return found if isinstance(found, list) else []


def _why(error: Unauthorized) -> str:
    """What is wrong with a token that was sent (RFC 6750, section 3); "" where none was."""
    refused = error.members.get("refused")
    return "" if refused is None else f', error="{refused}", error_description="{error.detail}"'


def problem(error: SluiceError, instance: str | None = None) -> dict[str, object]:
    """Return the JSON object: type, title, status, detail, code, the error's members, `instance`.

    Programs compare `code`. A member never replaces one of the six. What is for the operator alone
    is left out.
    """
    values: dict[str, object] = {
        "type": next(
            (_TYPE_OF_MEMBER[name] for name in error.members if name in _TYPE_OF_MEMBER),
            _TYPE_OF_CODE.get(error.code, "about:blank"),
        ),
        "title": error.title,
        "status": error.status,
        "detail": error.detail if error.public is None else error.public,
        "code": error.code,
    }
    if instance is not None:
        values["instance"] = hide_links(instance)  # people send problems on
    return {**error.members, **values}
