"""What the header lines of a form part mean (RFC 7578, WHATWG), and which boundary a Content-Type names.

Knows lines, not bodies: `forms` finds the lines and bounds their length and number.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sluiceway.errors import BadDigest, BadForm, BadRequest, Unsupported
from sluiceway.wire.checksums import expected_of, is_checksum_field
from sluiceway.wire.disposition import decode_extended
from sluiceway.wire.encodings import Base64Decoder, QuotedPrintableDecoder, TransferDecoder
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.parameters import TOKEN, read_parameters, unique_parameters

__all__ = ["MOST_BOUNDARY", "PartHead", "form_boundary", "read_part_head"]

MOST_BOUNDARY = 70  # RFC 2046 5.1.1
MOST_TYPE = 255  # RFC 6838 4.2: 127 characters on each side of the slash

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")  # RFC 2046: no space at the end
_MEANT = frozenset(["content-disposition", "content-type", "content-transfer-encoding", "content-length"])
_MEDIA_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*;[\t\x20-\x7e]*)?")
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9-]+)\?([BbQq])\?([!->@-~]*)\?=")
_ESCAPE = re.compile(r"%(22|0D|0A)")
_ESCAPED = {"22": '"', "0D": "\r", "0A": "\n"}


@dataclass(frozen=True, slots=True)
class PartHead:
    """A part before its first byte. `filename` None is a field; `length` is what the part itself claims, encoded."""

    name: str
    filename: str | None
    type: str
    decoder: TransferDecoder | None
    length: int | None
    expected: Mapping[str, bytes] = field(default_factory=dict)  # what its bytes, decoded, must hash to, by algorithm


def form_boundary(content_type: str) -> bytes:
    """The boundary of a multipart/form-data body. Raises Unsupported for another type, BadForm for a bad boundary."""
    if content_type.partition(";")[0].strip(" \t").lower() != "multipart/form-data":
        raise Unsupported("The body is not a form; send multipart/form-data")
    try:
        _, parameters = read_parameters(content_type)
        boundary = unique_parameters(parameters).get("boundary")
    except BadRequest as error:
        raise BadForm(f"The form's Content-Type cannot be read. {error.detail}") from error
    if boundary is None:
        raise BadForm("Content-Type names no boundary; do not set it by hand, let the form library write it")
    if not boundary or len(boundary) > MOST_BOUNDARY:
        raise BadForm(f"The boundary must be 1 to {MOST_BOUNDARY} characters long (RFC 2046); choose another")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm("The boundary holds a character RFC 2046 does not allow; use letters, digits, - and _")
    return boundary.encode("ascii")


def read_part_head(lines: list[bytes]) -> PartHead:
    """The meaning of header lines (without CRLF); those RFC 7578 does not know are ignored. Raises BadForm, Unsupported."""
    try:
        return _head_of(_fields(lines))
    except (BadDigest, Unsupported):
        raise
    except BadRequest as error:
        raise BadForm(f"A part of the form has a header that cannot be read. {error.detail}") from error


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        name = raw_name.decode("latin-1")
        if not colon or not TOKEN.fullmatch(name):
            raise BadForm("A header must have the form Name: value, on one line")
        name = name.lower()
        if name not in _MEANT and not is_checksum_field(name):
            continue
        if name in fields:
            raise BadForm(f"{name} is given twice; give it once")
        fields[name] = _text(raw_value).strip(" \t")
    return fields


def _text(raw: bytes) -> str:
    """UTF-8, as every browser sends; otherwise ISO-8859-1, which names something rather than refusing an old client."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _head_of(fields: dict[str, str]) -> PartHead:
    if "content-disposition" not in fields:
        raise BadForm('Each part needs Content-Disposition: form-data; name="…"')
    kind, parameters = read_parameters(fields["content-disposition"], browser=True)
    given = unique_parameters(parameters)
    if kind != "form-data" or "name" not in given:
        raise BadForm('Each part needs Content-Disposition: form-data; name="…"')
    filename = _filename(given)
    length = fields.get("content-length")
    return PartHead(
        name=_unescaped(given["name"]),
        filename=filename,
        type=_type(fields.get("content-type"), filename is not None),
        decoder=_decoder(fields.get("content-transfer-encoding", "binary")),
        length=None if length is None else ascii_uint(length, "Content-Length of a part"),
        expected=expected_of({name: value for name, value in fields.items() if is_checksum_field(name)}),
    )


def _filename(given: dict[str, str]) -> str | None:
    """RFC 7578 4.2 forbids filename*, and readers that put it over filename were fooled: it counts only alone."""
    plain = given.get("filename")
    if plain is not None:
        return _decoded_words(_unescaped(plain))
    extended = given.get("filename*")
    if extended is None:
        return None
    filename = decode_extended(extended)
    if filename is None:
        raise BadForm('filename* cannot be read; send filename="…" in UTF-8 instead')
    return filename


def _unescaped(text: str) -> str:
    """The three escapes of WHATWG and no other: a % or a backslash in a name is that character."""
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text)


def _decoded_words(text: str) -> str:
    """RFC 2047, which .NET's HttpClient still writes; only when the whole name is encoded words, else it is a name."""
    if not text.startswith("=?"):
        return text
    decoded: list[str] = []
    for word in text.split():
        found = _ENCODED_WORD.fullmatch(word)
        if not found:
            return text
        charset, encoding, payload = found.groups()
        try:
            raw = _q_bytes(payload) if encoding in "Qq" else binascii.a2b_base64(payload, strict_mode=True)
            if charset.lower() not in ("utf-8", "iso-8859-1", "us-ascii"):
                return text
            decoded.append(raw.decode(charset.lower()))
        except ValueError:  # also binascii.Error and UnicodeDecodeError
            return text
    return "".join(decoded)


def _q_bytes(payload: str) -> bytes:
    return binascii.a2b_qp(payload, header=True)


def _type(value: str | None, is_file: bool) -> str:
    if value is None or len(value) > MOST_TYPE or not _MEDIA_TYPE.fullmatch(value):
        return "application/octet-stream" if is_file else "text/plain"
    # A file of a multipart type without a boundary is a file (browsers send .mht so); everything else holds parts.
    if value.lower().startswith("multipart/") and (not is_file or "boundary=" in value.lower()):
        raise Unsupported("The form holds a form inside; send each file as its own part, with the same name if you like")
    return value


def _decoder(encoding: str) -> TransferDecoder | None:
    match encoding.lower():
        case "binary" | "8bit" | "7bit":
            return None
        case "base64":
            return Base64Decoder()
        case "quoted-printable":
            return QuotedPrintableDecoder()
        case _:
            raise Unsupported("A part has an unknown Content-Transfer-Encoding; send the bytes as they are")
