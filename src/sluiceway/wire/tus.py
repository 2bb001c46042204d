"""tus 1.0.0: its headers parsed and written. Sans-IO; knows no request, no upload, no store.

Source: the tus resumable upload protocol 1.0.0 (tus.io/protocols/resumable-upload). Where its text
leaves a case open, a comment says what was chosen.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.errors import BadDigest, BadRequest, PreconditionFailed
from sluiceway.pipe.hashes import ALGORITHMS, is_available
from sluiceway.wire.headers.digests import SentDigest
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "CHECKSUMS",
    "EXTENSIONS",
    "JOINS_NAMED",
    "JOINS_ONCE",
    "MOST_METADATA",
    "OFFSET_STREAM",
    "ONCE_KEY",
    "PARTS",
    "PART_OF",
    "VERSION",
    "Concatenation",
    "TusCreation",
    "UnsupportedVersion",
    "check_version",
    "name_in",
    "parse_checksum",
    "parse_concatenation",
    "parse_creation",
    "parse_length",
    "parse_metadata",
    "parse_offset",
    "type_in",
]

VERSION = "1.0.0"
OFFSET_STREAM = "application/offset+octet-stream"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "checksum-trailer",
    "termination",
    "concatenation",
    "concatenation-unfinished",
)
# tus' name of an algorithm -> ours. A server must have sha1.
CHECKSUMS: Mapping[str, str] = {"sha1": "sha", "sha256": "sha-256", "md5": "md5", "crc32": "crc32"}
# Not of tus, which knows no way to repeat a creation whose response got lost: a server of this
# project names here the header by which it knows a final upload that is asked for once more.
JOINS_ONCE = "Tus-Concatenation"
ONCE_KEY = "idempotency-key"
# And says there that a creation may be a PUT: the key of the file, or of what parts become.
JOINS_NAMED = "put"
# Nor these: a partial upload names the resumable upload (IETF) that it is sent beside, by its id,
# and the last append of that one names its parts.
PART_OF, PARTS = "upload-part-of", "upload-parts"
# Keys of Upload-Metadata that clients use for the file's name, and for its media type
_NAMES = ("filename", "name")
_TYPES = ("filetype", "type", "contentType")
MOST_METADATA = 16 << 10  # characters of Upload-Metadata: names and notes, never content
MOST_PARTIALS = 10_000  # uploads that a final one may join


class UnsupportedVersion(
    PreconditionFailed, code="unsupported-version", title="This version of tus is not spoken here"
): ...


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Upload-Concat. `partials` are URLs as they were sent; () for a partial upload itself."""

    text: str
    partials: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        return bool(self.partials)


@dataclass(frozen=True, slots=True)
class TusCreation:
    """What a POST that creates an upload says.

    Args:
        length: Bytes; None while the client does not know it, and for a final upload.
        metadata: The decoded pairs of Upload-Metadata.
        metadata_text: The header as it was sent: HEAD repeats it.
        concatenation: None for an ordinary upload.
    """

    length: int | None
    metadata: Mapping[str, str]
    metadata_text: str
    concatenation: Concatenation | None


def check_version(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedVersion (412) for another version, or none."""
    found = headers.get("tus-resumable")
    if found != VERSION:
        sent = "no Tus-Resumable header" if found is None else f"Tus-Resumable: {found[:20]}"
        raise UnsupportedVersion(f"This server speaks tus {VERSION}; the request has {sent}")


def parse_creation(headers: Mapping[str, str]) -> TusCreation:
    """The headers of a creation, names in lower case. Raises BadRequest."""
    text = headers.get("upload-metadata", "")
    concatenation = parse_concatenation(headers.get("upload-concat"))
    length, deferred = headers.get("upload-length"), headers.get("upload-defer-length")
    if concatenation is not None and concatenation.is_final:
        if length is not None or deferred is not None:
            raise BadRequest("A final upload has no Upload-Length: it is that of its parts")
        return TusCreation(None, parse_metadata(text), text, concatenation)
    if (length is None) == (deferred is None):
        raise BadRequest(
            "A request with Tus-Resumable begins an upload: send either Upload-Length or "
            "Upload-Defer-Length: 1"
        )
    if deferred not in (None, "1"):
        raise BadRequest("Upload-Defer-Length has no value but 1")
    return TusCreation(parse_length(headers), parse_metadata(text), text, concatenation)


def name_in(metadata: Mapping[str, str]) -> str:
    """The file's name as the client sent it, "" for none."""
    return next((metadata[key] for key in _NAMES if key in metadata), "")


def type_in(metadata: Mapping[str, str]) -> str:
    """The file's media type, "" for none."""
    return next((metadata[key] for key in _TYPES if key in metadata), "")


def parse_offset(headers: Mapping[str, str]) -> int:
    """Upload-Offset of a PATCH. Raises BadRequest."""
    if "upload-offset" not in headers:
        raise BadRequest("A PATCH needs Upload-Offset; HEAD tells it")
    return _number(headers["upload-offset"], "Upload-Offset")


def parse_length(headers: Mapping[str, str]) -> int | None:
    """Upload-Length, of a PATCH, too: it may tell what the creation did not.

    One more than any file can have stands for all larger ones. Raises BadRequest.
    """
    text = headers.get("upload-length")
    return None if text is None else _number(text, "Upload-Length")


def parse_metadata(text: str) -> dict[str, str]:
    """The pairs of Upload-Metadata; bytes that are not UTF-8 are replaced.

    Raises BadRequest for a key that comes twice or is empty, a value that is not base64, and too
    much of it. The text leaves this open; other servers drop such pairs silently.
    """
    if len(text) > MOST_METADATA:
        raise BadRequest(f"Upload-Metadata has more than {MOST_METADATA} characters; shorten it")
    pairs: dict[str, str] = {}
    for each in text.split(",") if text.strip() else ():
        key, _, value = each.strip().partition(" ")
        if not key or not key.isascii() or not key.isprintable():
            raise BadRequest("Upload-Metadata has a pair without a key, or one that is not ASCII")
        if key in pairs:
            raise BadRequest(f"Upload-Metadata names {key[:50]!r} twice")
        try:
            data = base64.b64decode(value.strip(" "), validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(f"{key[:50]!r} of Upload-Metadata has no base64") from None
        pairs[key] = data.decode(errors="replace")
    return pairs


def parse_concatenation(text: str | None) -> Concatenation | None:
    """Upload-Concat; None without it. Raises BadRequest."""
    if text is None:
        return None
    if text.strip() == "partial":
        return Concatenation("partial")
    kind, _, urls = text.strip().partition(";")
    partials = tuple(urls.split())
    if kind.strip() != "final" or not partials:
        raise BadRequest("Upload-Concat is either partial, or final; and the URLs of its parts")
    if len(partials) > MOST_PARTIALS:
        raise BadRequest(f"A final upload joins at most {MOST_PARTIALS} parts")
    return Concatenation(text, partials)


def parse_checksum(text: str | None) -> dict[str, bytes]:
    """Upload-Checksum, as digests by our names; {} without it.

    Raises BadRequest (400) for an algorithm that is not offered and for one that cannot be read.
    """
    if text is None:
        return {}
    name, _, value = text.strip().partition(" ")
    algorithm = CHECKSUMS.get(name)
    if algorithm is None or not is_available(algorithm):
        raise BadRequest(f"Upload-Checksum may use {', '.join(CHECKSUMS)}, not {name[:20]!r}")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadDigest("Upload-Checksum is not base64") from None
    if len(digest) != ALGORITHMS[algorithm].size:
        raise BadDigest(f"A {name} digest has {ALGORITHMS[algorithm].size} bytes")
    return {algorithm: SentDigest(digest, "Upload-Checksum")}


def _number(text: str, field: str) -> int:
    """At most one more than any offset can be. Raises BadRequest."""
    value = clipped_uint(text)
    if value is None:
        raise BadRequest(f"{field} must be written in plain digits, 0 to 9 and nothing else")
    return value
