"""Reads and writes Content-Disposition of a whole message (RFC 6266, RFC 8187).

`forms.part_headers` reads that of form parts. Names are returned as they were sent; `names` makes
them safe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.parameters import TOKEN, read_parameters, unique_parameters
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "MOST_DISPOSITION",
    "Disposition",
    "decode_extended",
    "format_disposition",
    "joined_filename",
    "parse_disposition",
]

# characters; a 255-character name of 4-byte letters, percent-encoded twice, fits
MOST_DISPOSITION = 8192

_CHARSETS = ("utf-8", "iso-8859-1")  # RFC 8187 3.2.1
_ATTR_CHAR = "!#$&+-.^_`|~"  # RFC 8187 3.2.1, besides letters and digits
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PERCENT_CODE = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SECTION = re.compile(r"filename\*(0|[1-9][0-9]{0,2})(\*?)")  # RFC 2231 3 and 4.1
_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\]')


@dataclass(frozen=True, slots=True)
class Disposition:
    """`kind` in lower case ("attachment", "inline", "form-data" …); `filename` is the better of
    filename* and filename."""

    kind: str
    name: str | None
    filename: str | None


def parse_disposition(value: str) -> Disposition:
    """Read the header's value. A filename* that cannot be decoded is ignored beside a plain
    filename.

    Raises BadRequest for a broken structure, a repeated parameter, or more than MOST_DISPOSITION
    characters.
    """
    if len(value) > MOST_DISPOSITION:
        raise BadRequest(
            f"Content-Disposition is longer than {MOST_DISPOSITION} characters;"
            " shorten the file name"
        )
    kind, parameters = read_parameters(value)
    if not TOKEN.fullmatch(kind):
        raise BadRequest("Content-Disposition must begin with a word such as attachment")
    given = unique_parameters(parameters)
    plain = given.get("filename")
    extended = given.get("filename*")
    filename = decode_extended(extended) if extended is not None else None
    if filename is None and plain is not None:
        filename = _utf8_of_latin1(plain)
    sections = any(name.startswith("filename*") for name in given)
    if filename is None and extended is None and sections:
        joined = joined_filename(given)
        filename = None if joined is None else _utf8_of_latin1(joined)
    if filename is None and sections:
        raise BadRequest(
            "filename* cannot be read; write it as UTF-8'' and percent-encoded UTF-8 bytes"
        )
    return Disposition(kind, given.get("name"), filename)


def format_disposition(kind: str, filename: str) -> str:
    """Write the header's value: filename in ASCII for old readers, and filename* where it
    differs."""
    if not TOKEN.fullmatch(kind):
        raise BadRequest("A disposition must be one word such as attachment")
    filename = _SURROGATE.sub("\ufffd", filename)  # a surrogate has no bytes in UTF-8
    # Browsers disagree about %HH, backslashes and quotes inside filename (RFC 6266 appendix D), so
    # none is written.
    plain = _PERCENT_CODE.sub("_", _NOT_PLAIN.sub("_", filename))
    if plain == filename:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHAR)}"


def decode_extended(value: str) -> str | None:
    """Decode RFC 8187: charset'language'percent-encoded, in UTF-8 or ISO-8859-1; else None."""
    charset, _, rest = value.partition("'")
    _, mark, encoded = rest.partition("'")
    if not mark or charset.lower() not in _CHARSETS or _BROKEN_PERCENT.search(encoded):
        return None
    if not encoded.isascii():
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset.lower())
    except UnicodeDecodeError:
        return None


def joined_filename(given: Mapping[str, str]) -> str | None:
    """Join RFC 2231's `filename*0`, `filename*1` … in the order of their numbers.

    Sections with a `*` behind are percent-encoded, in the charset that the first one names. None
    when one is missing, given twice (as `*1` and `*1*`), or cannot be read.
    """
    sections: dict[int, tuple[str, bool]] = {}
    for name, value in given.items():
        if name.startswith("filename*"):
            found = _SECTION.fullmatch(name)
            number = (
                -1 if found is None else ascii_uint(found[1], "The number of a piece of filename*")
            )
            if found is None or number in sections:
                return None
            sections[number] = value, bool(found[2])
    if set(sections) != set(range(len(sections))):
        return None
    if not any(coded for _, coded in sections.values()):
        return "".join(sections[number][0] for number in range(len(sections)))
    value, coded = sections[0]
    charset, _, rest = value.partition("'")
    _, mark, text = rest.partition("'")
    if not coded or not mark or charset.lower() not in _CHARSETS:
        return None
    sections[0] = text, True
    return _joined_bytes([sections[number] for number in range(len(sections))], charset.lower())


def _joined_bytes(sections: list[tuple[str, bool]], charset: str) -> str | None:
    """Return bytes, because a character may begin in one section and end in the next."""
    raw = bytearray()
    try:
        for value, coded in sections:
            if coded and (_BROKEN_PERCENT.search(value) or not value.isascii()):
                return None
            raw += unquote_to_bytes(value) if coded else value.encode(charset)
        return raw.decode(charset)
    except UnicodeError:
        return None


def _utf8_of_latin1(text: str) -> str:
    """Restore UTF-8: servers return header bytes as ISO-8859-1 text."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
