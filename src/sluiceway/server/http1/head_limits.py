"""What a request may cost besides its body: bytes of the head, field lines, chunk heads, trailers. Which heads are refused.

Sans-IO. The bounds hold for our own server; the number of field lines for the app on every server.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from sluiceway.errors import BadDigest, BadRequest, HeadTooLarge, SluiceError
from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.wire.headers.checksums import is_checksum_field
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.problems import write_problem

__all__ = [
    "HEAD_BYTES",
    "MOST_FIELDS",
    "bare_refusal",
    "body_length",
    "check_fields",
    "check_trailer",
    "framing_fields",
    "head_error",
    "too_large",
]

HEAD_BYTES = (
    64 << 10
)  # request line and header fields, or whatever else is no body; nginx takes 32 KiB, h11 64
MOST_FIELDS = (
    128  # field lines of a head; Apache and gunicorn take 100, browsers behind two proxies send 40
)

Fields = Sequence[tuple[bytes, bytes]]


def head_error(version: str, fields: Fields) -> SluiceError | None:
    """What the HTTP parser lets pass and two servers in a row could read differently."""
    names = [name for name, _ in fields]
    codings = [value.strip().lower() for name, value in fields if name == b"transfer-encoding"]
    if version not in ("1.0", "1.1"):
        return BadRequest("This server speaks HTTP/1.1 and HTTP/1.0")
    if names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
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
    """The lines of a head that say how long its body is; nothing for an empty body, however its zero is written."""
    if body_length(fields) == 0:
        return b""
    return b"".join(
        b"%s: %s\r\n" % field
        for field in fields
        if field[0] in (b"content-length", b"transfer-encoding")
    )


def check_fields(count: int) -> None:
    """Raises HeadTooLarge. Whatever is done for each field, or for each pair of them, has this bound."""
    if count > MOST_FIELDS:
        raise HeadTooLarge(
            f"A request has at most {MOST_FIELDS} header lines; send fewer", limit=MOST_FIELDS
        )


def too_large() -> SluiceError:
    return HeadTooLarge(
        f"Header fields, chunk heads and trailers have at most {HEAD_BYTES >> 10} KiB; send less",
        limit=HEAD_BYTES,
    )


def check_trailer(name: bytes) -> None:
    """A field behind the body changes nothing; but a digest there would be believed to be checked. Raises BadDigest."""
    if is_checksum_field(text := name.decode("latin-1").lower()):
        raise BadDigest(
            f"{text} stands in a trailer, which is not read here; nothing was stored. Send it before the body"
        )


def bare_refusal(error: SluiceError, headers: Fields) -> bytes:
    """The whole answer to what is no request that the app could see."""
    written = write_problem(error)
    own = [(name.lower().encode(), value.encode("latin-1")) for name, value in written.headers]
    names = {name for name, _ in own}
    fields = [
        *headers,
        *own,
        *(field for field in SAFE_HEADERS if field[0] not in names),
        (b"content-length", b"%d" % len(written.body)),
        (b"connection", b"close"),
    ]
    head = b"HTTP/1.1 %d %s\r\n" % (error.status, HTTPStatus(error.status).phrase.encode())
    return head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + written.body
