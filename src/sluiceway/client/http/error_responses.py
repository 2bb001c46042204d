"""A server's refusal as one of our errors: by its status, with the server's words and a hint.

Gets a response as head and text; the transport reads it.
"""

from __future__ import annotations

import json

from sluiceway import errors
from sluiceway.client.http.exchange import Head
from sluiceway.client.retry import ANSWERED
from sluiceway.errors import SluiceError
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import redact_url

__all__ = ["FROM_TOKEN", "TOKEN", "refusal"]

TOKEN = "--token or SLUICEWAY_TOKEN"  # noqa: S105 - an option's name
FROM_TOKEN = "--from-token or SLUICEWAY_FROM_TOKEN"  # noqa: S105 - an option's name
MOST_WORDS = 300  # characters of a server's text that are shown, in one line

BY_STATUS: dict[int, type[SluiceError]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    408: errors.TooSlow,
    409: errors.Exists,
    412: errors.PreconditionFailed,
    413: errors.TooLarge,
    415: errors.Unsupported,
    416: errors.RangeUnsatisfiable,
    417: errors.ExpectationFailed,
    503: errors.Unavailable,
    507: errors.NoSpace,
}
BY_CODE: dict[str, type[SluiceError]] = {
    errors.DigestMismatch.code: errors.DigestMismatch,
    errors.BodyCut.code: errors.BodyCut,
    errors.BadName.code: errors.BadName,
}

HINT_HERE = "here: {token}"  # beside the words of a server that says the rest
HINTS = {
    401: "give a token with {token}, or check the token, or the user and password, that you gave",
    403: "the server does not allow this to you",
    404: "check the URL",
    405: "this URL takes no files; they go to URLs such as …/files/NAME",
    409: "the name is taken, or the folder it goes to is not there",
    413: "the server takes nothing that large",
    429: "too many requests; try again later",
    503: "the server is busy or stopping; try again later",
    507: "the server's disk is full",
}


def refusal(head: Head, text: str, token: str = TOKEN) -> SluiceError:
    """Return the error for a response that is not a success.

    Members: `answered` (the status), `answer_code` (the problem's code), `url`, `retry_after` (the
    header as it came). `token` names the options that give this server a token.
    """
    problem = _problem(head, text)
    code = problem.get("code")
    kind = BY_CODE.get(code) if isinstance(code, str) else None
    if kind is None:
        other = errors.PeerFailed if head.status >= 500 else errors.BadRequest
        kind = BY_STATUS.get(head.status, other)
    if head.status < 400:
        kind = errors.PeerFailed
    words = _words(problem, text, head)
    # A server that explains itself needs no hint from here.
    hint = HINTS.get(head.status, "").format(token=token)
    reason = f": {words or hint}" if words or hint else ""
    members: dict[str, object] = {ANSWERED: head.status, "url": redact_url(head.url)}
    if isinstance(code, str):
        members["answer_code"] = code
    if head.status == 401 and words:
        given = code == "unauthorized"  # a server of this kind says what a token is sent with
        reason += f" ({HINT_HERE.format(token=token) if given else hint})"
    if "retry-after" in head.headers:
        members["retry_after"] = head.headers["retry-after"]  # seconds or a date
    wait = clipped_uint(head.headers.get("retry-after", ""))
    if wait is not None:
        reason += f" (it asks to come back in {wait} s)"
    return kind(f"{redact_url(head.url)} answered {head.status}{reason}", **members)


def _problem(head: Head, text: str) -> dict[str, object]:
    if "json" not in head.headers.get("content-type", ""):
        return {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _words(problem: dict[str, object], text: str, head: Head) -> str:
    """The server's explanation in one line.

    It has no control characters: a peer must not steer a terminal.
    """
    for name in ("detail", "title", "message", "error"):
        value = problem.get(name)
        if isinstance(value, str) and value:
            return _one_line(value)
    if head.headers.get("content-type", "").startswith("text/plain"):
        return _one_line(text)
    return ""


def _one_line(text: str) -> str:
    start = text[: 4 * MOST_WORDS]
    printable = "".join(character if character.isprintable() else " " for character in start)
    words = " ".join(printable.split())
    return words if len(words) <= MOST_WORDS else words[: MOST_WORDS - 1] + "…"
