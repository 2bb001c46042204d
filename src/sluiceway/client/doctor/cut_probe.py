"""A resumable upload (tus 1.0.0), cut in the middle: its offset is asked, then it is deleted.

It needs the right to upload only. At most 64 KiB are sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sluiceway.client.doctor.exchange import ProbeConnection, ProbeResponse
from sluiceway.client.doctor.target import Target
from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import located

__all__ = ["CutUpload", "cut_upload"]

SIZE, SENT = 128 << 10, 64 << 10  # bytes
TIMEOUT = 15.0  # seconds for each response
SETTLE = 1.0  # seconds until the bytes that were sent must have been passed on
TUS = ("Tus-Resumable", "1.0.0")
LOOKS, LOOK_INTERVAL = 10, 0.5  # for the offset: the server may still be storing


@dataclass(frozen=True, slots=True)
class CutUpload:
    """What was sent of the upload, and the offset that was asked afterwards."""

    sent: int
    offset: int


def cut_upload(target: Target) -> CutUpload | None:
    """None where no such upload can be begun, or its offset cannot be asked."""
    size = ("Upload-Length", str(SIZE))
    made = _request(target, "POST", f"{target.path}/files", TUS, size, ("Content-Length", "0"))
    path = _path_of(target, made)
    if path is None:
        return None
    try:
        fields = [TUS, ("Upload-Offset", "0"), ("Content-Length", str(SIZE))]
        fields.append(("Content-Type", "application/offset+octet-stream"))
        with ProbeConnection(_absolute(target), TIMEOUT) as connection:
            connection.begin("PATCH", path, fields)
            connection.send(bytes(SENT))
            connection.has_response(SETTLE)
        offset = _offset(target, path)
    finally:
        _request(target, "DELETE", path, TUS)
    return None if offset is None else CutUpload(SENT, offset)


def _offset(target: Target, path: str) -> int | None:
    """Above 0 as soon as it is; a server that is storing what came says so a little later."""
    offset = None
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_INTERVAL)
        offset = clipped_uint(_request(target, "HEAD", path, TUS).get("upload-offset"))
        if offset:
            break
    return offset


def _path_of(target: Target, made: ProbeResponse) -> str | None:
    """The path of a new upload, at this very server: a Location never leads a secret elsewhere."""
    if made.status != 201 or not made.get("location"):
        return None
    url = f"{target.scheme}://{target.authority}{target.path}/files"
    try:
        return urlsplit(located(url, made.get("location"))).path
    except BadRequest:
        return None


def _absolute(target: Target) -> Target:
    return replace(target, path="")


def _request(target: Target, method: str, path: str, *fields: tuple[str, str]) -> ProbeResponse:
    with ProbeConnection(_absolute(target), TIMEOUT) as connection:
        connection.begin(method, path, fields)
        connection.end()
        return connection.response()
