"""The text of form fields, in the charset that the client named. No byte becomes a replacement
character.

The order: the part's charset, the form's field `_charset_` (WHATWG), UTF-8, and ISO-8859-1, in
which any bytes are text. Knows no headers beyond the charset.
"""

from __future__ import annotations

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.parameters import read_parameters

__all__ = [
    "CHARSET_FIELD",
    "MOST_CHARSET",
    "field_text",
    "form_charset",
    "head_text",
    "known_charset",
]

# the browser fills a hidden field of this name with the page's encoding
CHARSET_FIELD = "_charset_"
MOST_CHARSET = 40  # characters; the longest existing name has 25

# Those of WHATWG's Encoding Standard, and no other: Python also has codecs that are not charsets,
# some of quadratic time (idna), and remembers each unknown name for ever. Where browsers mean the
# larger set by an old name, the table has the larger one.
_PLAIN = [
    *(
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        "us-ascii",
        "ascii",
        "koi8-r",
        "koi8-u",
        "ibm866",
        "cp866",
        "macintosh",
    ),
    *("big5", "euc-jp", "iso-2022-jp", "gb18030", "gbk", "tis-620", "latin1", "latin-1", "l1"),
    *(f"iso-8859-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"{name}{number}" for name in ("windows-", "cp") for number in range(1250, 1259)),
]
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "sjis": "cp932",
}
_LARGER |= {
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "big5": "big5hkscs",
    "windows-874": "cp874",
}
_LARGER |= {
    "x-mac-cyrillic": "mac_cyrillic",
    "macintosh": "mac_roman",
    "utf8": "utf-8",
    "utf16": "utf-16",
}
_CODECS = {**{name: name for name in _PLAIN}, **_LARGER}


def known_charset(name: str) -> str | None:
    """Return Python's codec for a charset's name in any case; None for one that no browser
    knows."""
    return _CODECS.get(name.strip().lower()) if len(name) <= MOST_CHARSET else None


def form_charset(value: str) -> str | None:
    """Return the codec that the field `_charset_` names.

    No form is sent in UTF-16: a page in UTF-16 sends UTF-8 (WHATWG).
    """
    codec = known_charset(value)
    return None if codec is None or codec.startswith("utf-16") else codec


def field_text(value: bytes, type: str, form: str | None = None) -> str:
    """Return the text of a field whose part has this Content-Type; `form` is the form's codec."""
    return _decoded(value, (_charset_of(type), form, "utf-8"))


def head_text(value: bytes, form: str | None = None) -> str:
    """Return the text of a part's header line.

    Browsers write names in the page's encoding, mostly UTF-8, which is recognised.
    """
    return _decoded(value, ("utf-8", form))


def _decoded(value: bytes, charsets: tuple[str | None, ...]) -> str:
    for charset in charsets:
        if charset is not None:
            try:
                return value.decode(charset)
            except UnicodeDecodeError:
                pass  # the charset is wrong: try the next one
    return value.decode("latin-1")


def _charset_of(type: str) -> str | None:
    if ";" not in type:
        return None
    try:
        _, parameters = read_parameters(type)
    except BadRequest:
        return None
    return next((known_charset(value) for name, value in parameters if name == "charset"), None)
