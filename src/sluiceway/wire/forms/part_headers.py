"""Reads the header lines of a form part (RFC 7578, WHATWG), and the boundary in a Content-Type.

Knows lines, not bodies: `decoder` finds the lines and limits their length and number.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluiceway.errors import BadDigest, BadForm, BadRequest, Unsupported
from sluiceway.wire.forms.charsets import head_text
from sluiceway.wire.forms.transfer_encodings import (
    Base64Decoder,
    QuotedPrintableDecoder,
    TransferDecoder,
)
from sluiceway.wire.headers.checksums import expected_of, is_checksum_field
from sluiceway.wire.headers.disposition import decode_extended, joined_filename
from sluiceway.wire.headers.media_types import OCTET_STREAM, clean_type, essence, guess_type
from sluiceway.wire.headers.parameters import TOKEN, read_parameters, unique_parameters
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "MOST_BOUNDARY",
    "UNNAMED",
    "PartHead",
    "form_boundary",
    "read_part_head",
    "refuse_coding",
]

MOST_BOUNDARY = 70  # RFC 2046 5.1.1; real clients write up to 70
UNNAMED = "unnamed"  # a file that came without a name; clean_name uses the same word

# Printable ASCII, as HTTP's tokens and quoted strings allow it: real clients write *****, $ and &,
# which RFC 2046 does not have. No space at the end: mail adds white space behind a boundary.
_BOUNDARY = re.compile(r"[\x20-\x7e]*[\x21-\x7e]")
_MEANT = frozenset(
    ["content-disposition", "content-type", "content-transfer-encoding", "content-length"]
)
# Beside text/*: types that people send in a field, and that are text.
_TEXT = frozenset(["json", "xml", "x-www-form-urlencoded"])
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9-]+)\?([BbQq])\?([!->@-~]*)\?=")
_ESCAPE = re.compile(r"%(22|0D|0A)")
_ESCAPED = {"22": '"', "0D": "\r", "0A": "\n"}


@dataclass(frozen=True, slots=True)
class PartHead:
    """A part before its first byte. `filename` None is a field.

    `length` is the part's own Content-Length, of its encoded bytes.
    """

    name: str
    filename: str | None
    type: str
    decoder: TransferDecoder | None
    length: int | None
    expected: Mapping[str, bytes] = field(
        default_factory=dict
    )  # digests of its decoded bytes, by algorithm


def form_boundary(content_type: str) -> bytes:
    """Return the boundary of a multipart/form-data body.

    Raises Unsupported for another type, BadForm for a bad boundary.
    """
    if content_type.partition(";")[0].strip(" \t").lower() != "multipart/form-data":
        raise Unsupported("The body is not a form; send multipart/form-data")
    try:
        _, parameters = read_parameters(content_type)
        boundary = unique_parameters(parameters).get("boundary")
    except BadRequest as error:
        raise BadForm(f"The form's Content-Type cannot be read. {error.detail}") from error
    if boundary is None:
        raise BadForm(
            "Content-Type names no boundary; do not set it by hand, let the form library write it"
        )
    if not boundary or len(boundary) > MOST_BOUNDARY:
        raise BadForm(
            f"The boundary must be 1 to {MOST_BOUNDARY} characters long (RFC 2046); choose another"
        )
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm(
            "The boundary holds a character that is not printable ASCII, or ends in a space;"
            " use letters, digits and -"
        )
    return boundary.encode("ascii")


def read_part_head(lines: Sequence[bytes], charset: str | None = None) -> PartHead:
    """Read header lines without their CRLF. Headers that RFC 7578 does not name are ignored.

    `charset` is the codec of names that are not UTF-8, where the form named one. Raises BadForm,
    Unsupported.
    """
    try:
        return _head_of(_fields(lines, charset))
    except (BadDigest, Unsupported):
        raise
    except BadRequest as error:
        raise BadForm(
            f"A part of the form has a header that cannot be read. {error.detail}"
        ) from error


def refuse_coding(lines: Sequence[bytes]) -> None:
    """Raises Unsupported where the header lines of a part name a Content-Encoding."""
    parted = [line.decode("latin-1").partition(":") for line in lines]
    codings = [value for name, _, value in parted if name.lower() == "content-encoding"]
    coding = ", ".join(codings).strip(" \t").lower()
    if coding not in ("", "identity"):
        raise Unsupported(
            f"A part of the form is encoded as {coding!r}. Send the file as it is, without "
            "Content-Encoding: this server stores exactly the bytes that arrive"
        )


def _fields(lines: Sequence[bytes], charset: str | None) -> dict[str, str]:
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
        fields[name] = head_text(raw_value, charset).strip(" \t")
    return fields


def _head_of(fields: dict[str, str]) -> PartHead:
    if "content-disposition" not in fields:
        raise BadForm('Each part needs Content-Disposition: form-data; name="…"')
    kind, parameters = read_parameters(fields["content-disposition"], browser=True)
    given = unique_parameters(parameters)
    if kind != "form-data" or "name" not in given:
        raise BadForm('Each part needs Content-Disposition: form-data; name="…"')
    filename, content_type = _filename(given), fields.get("content-type")
    if filename is None and content_type is not None and not _reads_as_text(content_type):
        filename = UNNAMED  # a charset would destroy the bytes of a picture that is sent as a field
    length = fields.get("content-length")
    return PartHead(
        name=_unescaped(given["name"]),
        filename=filename,
        type=_type(content_type, filename),
        decoder=_decoder(fields.get("content-transfer-encoding", "binary")),
        length=None if length is None else ascii_uint(length, "Content-Length of a part"),
        expected=expected_of(
            {name: value for name, value in fields.items() if is_checksum_field(name)}
        ),
    )


def _filename(given: dict[str, str]) -> str | None:
    """Return the filename. A filename* counts only alone.

    RFC 7578 4.2 forbids it, and readers that preferred it to filename were fooled.
    """
    plain = given.get("filename")
    if plain is not None:
        return _decoded_words(_unescaped(plain))
    if "filename*" in given:
        filename = decode_extended(given["filename*"])
    elif any(name.startswith("filename*") for name in given):
        filename = joined_filename(given)
    else:
        return None
    if filename is None:  # it is never a field: the bytes of a field are read as text
        raise BadForm('filename* cannot be read; send filename="…" in UTF-8 instead')
    return filename


def _unescaped(text: str) -> str:
    """Undo WHATWG's three escapes and no other: a % or a backslash in a name is that character."""
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text)


def _decoded_words(text: str) -> str:
    """Decode RFC 2047, which .NET's HttpClient still writes.

    Only where the whole name is encoded words; any other text is a name.
    """
    if not text.startswith("=?"):
        return text
    decoded: list[str] = []
    for word in text.split():
        found = _ENCODED_WORD.fullmatch(word)
        if not found:
            return text
        charset, encoding, payload = found.groups()
        try:
            raw = (
                _q_bytes(payload)
                if encoding in "Qq"
                else binascii.a2b_base64(payload, strict_mode=True)
            )
            if charset.lower() not in ("utf-8", "iso-8859-1", "us-ascii"):
                return text
            decoded.append(raw.decode(charset.lower()))
        except ValueError:  # also binascii.Error and UnicodeDecodeError
            return text
    return "".join(decoded)


def _q_bytes(payload: str) -> bytes:
    return binascii.a2b_qp(payload, header=True)


def _reads_as_text(content_type: str) -> bool:
    """Whether a part without a filename is a field by its type. An invalid type does not count."""
    kind = essence(content_type)
    if clean_type(content_type) is None or kind.startswith("multipart/"):
        return True  # Retrofit calls its fields multipart/form-data
    main, _, sub = kind.partition("/")
    return main in ("text", "*") or sub in _TEXT or sub.endswith(("+json", "+xml"))


def _type(content_type: str | None, filename: str | None) -> str:
    """Return the part's own type, without parameters that cannot be read; else one by the name."""
    kind = None if content_type is None else clean_type(content_type)
    if content_type is None or kind is None:
        return "text/plain" if filename is None else OCTET_STREAM
    if kind.lower().startswith("multipart/"):
        if _names_boundary(content_type):
            raise Unsupported(
                "The form holds a form inside;"
                " send each file as its own part, with the same name if you like"
            )
        if filename is None:
            return "text/plain"
    if filename is not None and ("*" in essence(kind) or essence(kind) == "multipart/form-data"):
        return guess_type(
            filename
        )  # image/* is what an app offered to pick, multipart/form-data the type of the request
    return kind


def _names_boundary(content_type: str) -> bool:
    """Whether a multipart type names a boundary: then it is a form inside, not a file."""
    try:
        _, parameters = read_parameters(content_type)
    except BadRequest:
        return "boundary=" in content_type.lower()
    return any(name == "boundary" for name, _ in parameters)


def _decoder(encoding: str) -> TransferDecoder | None:
    match encoding.lower():
        case "binary" | "8bit" | "7bit":
            return None
        case "base64":
            return Base64Decoder()
        case "quoted-printable":
            return QuotedPrintableDecoder()
        case _:
            raise Unsupported(
                "A part has an unknown Content-Transfer-Encoding; send the bytes as they are"
            )
