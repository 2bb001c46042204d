"""What of a remote file's head becomes ours: checked value by value, and inert in a browser like every download here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.client.guarded_fetch import body_length
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.local.download_target import name_told
from sluiceway.errors import BadRequest, PeerFailed, SluiceError
from sluiceway.server.handlers.download import INERT
from sluiceway.wire.headers.conditions import parse_etags, parse_http_date
from sluiceway.wire.headers.digests import parse_digests
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import INLINE_TYPES, OCTET_STREAM
from sluiceway.wire.headers.parameters import TOKEN, read_parameters
from sluiceway.wire.headers.ranges import parse_content_range, parse_unsatisfied_range
from sluiceway.wire.names import clean_name
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import redact_url

__all__ = ["PASSED", "file_name", "passed_headers", "remote_refusal"]

PASSED = frozenset(
    [200, 203, 206, 304]
)  # with these a file comes, or stays; anything else is a refusal
OURS_TO_SAY = frozenset(
    [401, 405, 407]
)  # their headers would speak of this server, not of that one
BYTERANGES = "multipart/byteranges"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046 5.1.1


def file_name(head: Head) -> str:
    """What the remote server calls the file, made harmless."""
    return clean_name(name_told(head, head.url))


def passed_headers(head: Head, asked: Mapping[str, str]) -> dict[str, str]:
    """The headers of our answer to a request that sent `asked`. Raises PeerFailed for a head that contradicts itself."""
    ours = {
        **_validators(head),
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT,
        "cache-control": "no-cache",
        "via": "1.1 sluiceway",
    }
    if head.status == 304:
        return ours
    kind, parameters = _type_and_parameters(head)
    ours["content-type"] = kind + parameters
    ours["content-disposition"] = format_disposition(
        "inline" if kind in INLINE_TYPES else "attachment", file_name(head)
    )
    ours["cross-origin-resource-policy"] = "same-origin"
    length = clipped_uint(head.headers.get("content-length", ""))
    if length is not None:
        ours["content-length"] = str(length)
    accepts = head.headers.get("accept-ranges", "").lower()
    if accepts in ("bytes", "none"):
        ours["accept-ranges"] = accepts
    coding = head.headers.get("content-encoding")
    if coding is not None:
        if not all(TOKEN.fullmatch(word.strip(" \t")) for word in coding.split(",")):
            raise PeerFailed(
                f"{redact_url(head.url)} answered with a Content-Encoding that cannot be read"
            )
        ours["content-encoding"] = coding
    if head.status == 206:
        ours |= _range(head, kind, asked)
    return ours


def remote_refusal(head: Head, text: str) -> SluiceError:
    """The remote server's no under its own status, except where the client would take it for ours: that becomes a 502."""
    error = refusal(head, text, "USER:PASSWORD@ before the host in the URL")
    if head.status in OURS_TO_SAY or not 400 <= head.status <= 599:
        return PeerFailed(error.detail, **error.members)
    error.status = head.status
    size = parse_unsatisfied_range(head.headers.get("content-range", ""))
    if size is not None:
        error.members["size"] = size
    return error


def _validators(head: Head) -> dict[str, str]:
    told, kept = head.headers, {}
    try:
        if len(parse_etags(told.get("etag", ""))) == 1 and told["etag"] != "*":
            kept["etag"] = told["etag"]
    except BadRequest:
        pass  # none, or none that a condition could name
    if parse_http_date(told.get("last-modified", "")) is not None:
        kept["last-modified"] = told["last-modified"]
    try:
        if parse_digests(None, told.get("repr-digest")):
            kept["repr-digest"] = told["repr-digest"]
    except BadRequest:
        pass
    return kept


def _type_and_parameters(head: Head) -> tuple[str, str]:
    try:
        kind, parameters = read_parameters(head.headers.get("content-type", ""))
    except BadRequest:
        return OCTET_STREAM, ""
    if (
        not all(TOKEN.fullmatch(half) for half in (kind + "/").split("/", 2)[:2])
        or kind.count("/") != 1
    ):
        return OCTET_STREAM, ""  # also of two that were joined: browsers would take the last one
    for name, value in parameters:
        if name == "charset" and TOKEN.fullmatch(value):
            return kind, f"; charset={value}"
        if name == "boundary" and kind == BYTERANGES and _BOUNDARY.fullmatch(value):
            return kind, f'; boundary="{value}"'
    return kind, ""


def _range(head: Head, kind: str, asked: Mapping[str, str]) -> dict[str, str]:
    if "range" not in asked:
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file where the whole was asked for"
        )
    if kind == BYTERANGES and "content-range" not in head.headers:
        return {}
    try:
        start, stop, total = parse_content_range(head.headers.get("content-range", ""))
    except BadRequest:
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file and does not say which"
        ) from None
    if body_length(head) not in (None, stop - start):
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file that is not as long as it says"
        )
    return {"content-range": f"bytes {start}-{stop - 1}/{'*' if total is None else total}"}
