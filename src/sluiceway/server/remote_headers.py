"""Which headers of a remote file become headers of our response: each value is checked.

The response is as inert in a browser as every other download from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.client.guarded_fetch import body_length
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.local.download_target import served_name
from sluiceway.errors import BadRequest, PeerFailed, SluiceError
from sluiceway.server.responses import INERT_POLICY
from sluiceway.wire.headers.conditions import parse_etags, parse_http_date
from sluiceway.wire.headers.digests import parse_digests
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import INLINE_TYPES, OCTET_STREAM
from sluiceway.wire.headers.parameters import TOKEN, read_parameters
from sluiceway.wire.headers.ranges import parse_content_range, parse_unsatisfied_range
from sluiceway.wire.names import clean_name
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import redact_url

__all__ = ["FILE_STATUSES", "passed_headers", "remote_file_name", "remote_refusal"]

# A file comes with these, or has not changed. Any other status is a refusal.
FILE_STATUSES = frozenset([200, 203, 206, 304])
# Their headers would speak of this server, not of the remote one.
OWN_STATUSES = frozenset([401, 405, 407])
BYTERANGES = "multipart/byteranges"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046 5.1.1


def remote_file_name(head: Head) -> str:
    """The name that the remote server gives the file, made safe."""
    return clean_name(served_name(head, head.url))


def passed_headers(head: Head, asked: Mapping[str, str]) -> dict[str, str]:
    """The headers of our response to a request that sent `asked` to the remote server.

    Raises PeerFailed for a head that contradicts itself.
    """
    headers = {
        **_validators(head),
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT_POLICY,
        "cache-control": "no-cache",
        "via": "1.1 sluiceway",
    }
    if head.status == 304:
        return headers
    media_type, parameters = _type_and_parameters(head)
    headers["content-type"] = media_type + parameters
    headers["content-disposition"] = format_disposition(
        "inline" if media_type in INLINE_TYPES else "attachment", remote_file_name(head)
    )
    headers["cross-origin-resource-policy"] = "same-origin"
    length = clipped_uint(head.headers.get("content-length", ""))
    if length is not None:
        headers["content-length"] = str(length)
    accepts = head.headers.get("accept-ranges", "").lower()
    if accepts in ("bytes", "none"):
        headers["accept-ranges"] = accepts
    coding = head.headers.get("content-encoding")
    if coding is not None:
        if not all(TOKEN.fullmatch(word.strip(" \t")) for word in coding.split(",")):
            raise PeerFailed(
                f"{redact_url(head.url)} answered with a Content-Encoding that cannot be read"
            ).for_everyone()
        headers["content-encoding"] = coding
    if head.status == 206:
        headers |= _range(head, media_type, asked)
    return headers


def remote_refusal(head: Head, text: str) -> SluiceError:
    """The remote server's refusal with its status; 502 where a client would take it for ours."""
    error = refusal(head, text, "USER:PASSWORD@ before the host in the URL")
    if head.status in OWN_STATUSES or not 400 <= head.status <= 599:
        return PeerFailed(error.detail, **error.members).for_everyone()
    error.status = head.status
    size = parse_unsatisfied_range(head.headers.get("content-range", ""))
    if size is not None:
        error.members["size"] = size
    return error.for_everyone()


def _validators(head: Head) -> dict[str, str]:
    remote, kept = head.headers, {}
    try:
        if len(parse_etags(remote.get("etag", ""))) == 1 and remote["etag"] != "*":
            kept["etag"] = remote["etag"]
    except BadRequest:
        pass  # not a tag that a condition could name
    if parse_http_date(remote.get("last-modified", "")) is not None:
        kept["last-modified"] = remote["last-modified"]
    try:
        if parse_digests(None, remote.get("repr-digest")):
            kept["repr-digest"] = remote["repr-digest"]
    except BadRequest:
        pass
    return kept


def _type_and_parameters(head: Head) -> tuple[str, str]:
    try:
        media_type, parameters = read_parameters(head.headers.get("content-type", ""))
    except BadRequest:
        return OCTET_STREAM, ""
    halves = media_type.split("/")
    if len(halves) != 2 or not all(TOKEN.fullmatch(half) for half in halves):
        return OCTET_STREAM, ""  # also for two joined values: browsers would take the last one
    for name, value in parameters:
        if name == "charset" and TOKEN.fullmatch(value):
            return media_type, f"; charset={value}"
        if name == "boundary" and media_type == BYTERANGES and _BOUNDARY.fullmatch(value):
            return media_type, f'; boundary="{value}"'
    return media_type, ""


def _range(head: Head, media_type: str, asked: Mapping[str, str]) -> dict[str, str]:
    if "range" not in asked:
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file although all of it was asked "
            "for"
        ).for_everyone()
    if media_type == BYTERANGES and "content-range" not in head.headers:
        return {}
    try:
        start, stop, total = parse_content_range(head.headers.get("content-range", ""))
    except BadRequest:
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file and does not say which"
        ).for_everyone() from None
    if body_length(head) not in (None, stop - start):
        raise PeerFailed(
            f"{redact_url(head.url)} answered with a part of the file whose length does not match "
            "its Content-Range"
        ).for_everyone()
    return {"content-range": f"bytes {start}-{stop - 1}/{'*' if total is None else total}"}
