"""Which heads and trailers of a request are refused, and how that is answered.

Sans-IO. The bounds hold for our own server; the number of field lines for the app on every server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from sluiceway.errors import BadDigest, BadRequest, HeadTooLarge, MethodNotAllowed, SluiceError
from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.wire.headers.checksums import is_checksum_field
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.problems import write_problem
from sluiceway.wire.tus import VERSION

__all__ = [
    "HEAD_BYTES",
    "MOST_FIELDS",
    "MOST_METHOD",
    "announced_digests",
    "bare_refusal",
    "body_length",
    "check_fields",
    "check_trailer",
    "framing_fields",
    "head_error",
    "too_large",
    "unreadable",
]

# Bytes of request line and header fields, or of anything else that is not body. nginx takes 32 KiB,
# h11 64.
HEAD_BYTES = 64 << 10
# Field lines of a head. Apache and gunicorn take 100, browsers behind two proxies send 40.
MOST_FIELDS = 128

MOST_METHOD = 20  # characters of a method that an error repeats
MOST_LINE = 8 << 10  # bytes of a request line in which an unknown method is looked for
# A request line in order, whatever its method (RFC 9112 3)
_LINE = re.compile(rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+) [^ \r\n]+ HTTP/1\.[01]\r?\n")
_METHODS = "DELETE, GET, HEAD, MOVE, OPTIONS, PATCH, POST, PUT"

Fields = Sequence[tuple[bytes, bytes]]


def unreadable(line: bytes | memoryview) -> SluiceError:
    """The error of what the parser does not read. `line`: where it does not know the method, which
    may be any token: then the rest is in order, and a client may send it by another one."""
    if (found := _LINE.match(bytes(line[:MOST_LINE]))) is None:
        return BadRequest("This is not well-formed HTTP; nothing of it was stored")
    method = found[1][:MOST_METHOD].decode("ascii")
    text = f"This server knows no method {method}; nothing was stored"
    return MethodNotAllowed(text, allow=_METHODS)


def head_error(version: str, fields: Fields) -> SluiceError | None:
    """The error of a head that the parser accepts and two servers could read differently."""
    hosts, codings = 0, []
    for name, value in fields:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings.append(value.strip().lower())
    if version not in ("1.0", "1.1"):
        return BadRequest("This server speaks HTTP/1.1 and HTTP/1.0")
    if hosts > 1 or (version == "1.1" and not hosts):
        return BadRequest("A request has exactly one Host (RFC 9112 3.2)")
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return BadRequest("The only Transfer-Encoding this server reads is chunked, in HTTP/1.1")
    return None


def body_length(fields: Fields) -> int | None:
    """Bytes of the body, None when it comes in chunks. Raises BadRequest."""
    length = 0
    for name, value in fields:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = ascii_uint(value, "Content-Length")
    return length


def framing_fields(fields: Fields) -> bytes:
    """The lines of a head that frame its body; none if its length is 0, however written."""
    if body_length(fields) == 0:
        return b""
    return b"".join(
        b"%s: %s\r\n" % field
        for field in fields
        if field[0] in (b"content-length", b"transfer-encoding")
    )


def check_fields(count: int) -> None:
    """Raises HeadTooLarge. It bounds all work for each field, or for each pair of fields."""
    if count > MOST_FIELDS:
        raise HeadTooLarge(
            f"A request has at most {MOST_FIELDS} header lines; send fewer", limit=MOST_FIELDS
        )


def too_large() -> SluiceError:
    return HeadTooLarge(
        f"Header fields, chunk heads and trailers have at most {HEAD_BYTES >> 10} KiB; send less",
        limit=HEAD_BYTES,
    )


def announced_digests(fields: Fields) -> frozenset[bytes]:
    """The digests that a head announces for behind its body.

    A handler that does not read them refuses the request because of the announcement.
    """
    return frozenset(
        name
        for field, value in fields
        if field == b"trailer"
        for name in (each.strip().lower() for each in value.split(b","))
        if is_checksum_field(name.decode("latin-1"))
    )


def check_trailer(name: bytes) -> None:
    """Raises BadDigest for a digest behind the body that the head did not announce: its sender
    would believe that it is checked.

    Other trailers change nothing.
    """
    if is_checksum_field(text := name.decode("latin-1").lower()):
        raise BadDigest(
            f"{text} stands in a trailer, which is not read here; nothing was stored. Send it "
            "before the body"
        )


def bare_refusal(error: SluiceError, headers: Fields, asked: Fields) -> bytes:
    """The whole response to a request that the app cannot see. `asked`: the field lines of its head
    that came before the refused one, or all of them."""
    written = write_problem(error)
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in written.headers]
    if any(name == b"tus-resumable" for name, _ in asked):
        fields.append((b"tus-resumable", VERSION.encode()))
    names = {name for name, _ in fields}
    fields = [
        *headers,
        *(field for field in SAFE_HEADERS if field[0] not in names),
        *fields,
        (b"content-length", b"%d" % len(written.body)),
        (b"connection", b"close"),
    ]
    head = b"HTTP/1.1 %d %s\r\n" % (error.status, HTTPStatus(error.status).phrase.encode())
    return head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + written.body
