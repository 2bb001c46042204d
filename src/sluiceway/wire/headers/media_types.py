"""Media types by file name, the same on every machine, and the few that a browser may show inline.

Knows no files: a type follows from the name and from what the client wrote.
"""

from __future__ import annotations

import mimetypes
import re

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.parameters import TOKEN, read_parameters

__all__ = [
    "INLINE_TYPES",
    "MOST_TYPE",
    "OCTET_STREAM",
    "clean_type",
    "essence",
    "guess_type",
    "kept_type",
    "shown_type",
]

OCTET_STREAM = "application/octet-stream"
# characters of a type with its parameters; RFC 6838 4.2 allows 127 on each side of the slash
MOST_TYPE = 255

_ESSENCE = re.compile(rf"({TOKEN.pattern}/{TOKEN.pattern})[ \t]*(?:;|$)")
_ESCAPED, _BACKSLASHED = re.compile(r'(["\\])'), r"\\\1"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
# A type that may be kept as it is. No comma outside of quotes: browsers read another type behind
# it.
_WHOLE = re.compile(rf"[^;]+(?:;[ \t]*(?:{TOKEN.pattern}=(?:{TOKEN.pattern}|{_QUOTED})[ \t]*)?)*")
_OF_REQUESTS = frozenset(
    ["multipart/form-data", "application/x-www-form-urlencoded"]
)  # they say how a form was sent, not what a file is

# Passive content only. SVG, HTML, XML and PDF can run code or load things: they are downloaded.
INLINE_TYPES = frozenset(
    [
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/webm",
        "image/avif",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/plain",
        "video/mp4",
        "video/ogg",
        "video/webm",
    ]
)

# What a person may open in a tab of its own: the same, and what a browser's viewer shows under the
# sandbox policy without running it.
_VIEWED_TYPES = INLINE_TYPES | frozenset(
    [
        "application/pdf",
        "audio/aac",
        "audio/flac",
        "audio/wav",
        "audio/x-wav",
        "image/bmp",
        "image/vnd.microsoft.icon",
        "image/x-icon",
    ]
)
# Text that is shown as plain text. HTML, SVG and XML are none: pages are not shown as their source.
_VIEWED_AS_TEXT = re.compile(
    r"text/(?:csv|markdown|css|javascript|x-[a-z0-9.+-]+|tab-separated-values)"
    r"|application/(?:json|x-ndjson|yaml|toml|sql|javascript|x-sh|x-python)"
)

# Python's own table differs between versions; here are the types that it lacks or spells in an old
# way in any of them.
_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".csv": "text/csv",
    ".djvu": "image/vnd.djvu",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".jxl": "image/jxl",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/matroska",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".sqlite": "application/vnd.sqlite3",
    ".tgz": "application/gzip",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}

_BY_NAME = mimetypes.MimeTypes(filenames=())  # without the machine's /etc/mime.types


def guess_type(filename: str) -> str:
    """Return the type of the extension; application/octet-stream for an unknown one."""
    _, dot, extension = filename.rpartition(".")
    if not dot:
        return OCTET_STREAM
    suffix = "." + extension.lower()
    known = _TYPES.get(suffix)
    # "x" + suffix: the table would read a name with a colon as a URL
    if known is None:
        known, packed = _BY_NAME.guess_type("x" + suffix, strict=False)
        known = None if packed else known  # ".tgz" is not a tar but a gzip
    return known or OCTET_STREAM


def essence(kind: str) -> str:
    """Return a type without its parameters, in lower case."""
    return kind.partition(";")[0].strip().lower()


def shown_type(kind: str) -> str | None:
    """Return the type to send to a person who opens the file in a tab; None where it is saved.

    `text/csv; charset=utf-8` gives `text/plain; charset=utf-8`.
    """
    bare = essence(kind)
    if bare in _VIEWED_TYPES:
        return kind
    if _VIEWED_AS_TEXT.fullmatch(bare) is None:
        return None
    _, semicolon, parameters = kind.partition(";")
    if not semicolon and bare.endswith("json"):
        parameters = " charset=utf-8"  # RFC 8259 8.1
    return f"text/plain;{parameters}" if parameters else "text/plain"


def clean_type(value: str) -> str | None:
    """Return a client's type with its parameters, without those that cannot be kept.

    None for text that is not a type.
    """
    text = value.strip(" \t")
    found = _ESSENCE.match(text)
    if found is None or len(found[1]) > MOST_TYPE:
        return None
    if len(text) <= MOST_TYPE and _WHOLE.fullmatch(text):
        return text.rstrip("; \t")
    try:
        _, parameters = read_parameters(text)
    except BadRequest:
        return found[1]
    kept = found[1]
    for name, value in parameters:
        one = (
            f"; {name}={value}"
            if TOKEN.fullmatch(value)
            else f'; {name}="{_ESCAPED.sub(_BACKSLASHED, value)}"'
        )
        if one.isascii() and one.isprintable() and len(kept) + len(one) <= MOST_TYPE:
            kept += one
    return kept


def kept_type(value: str, filename: str) -> str:
    """Return the type to store with a file: the client's, with parameters, or one by the name.

    The client's counts where it describes one file.
    """
    kind = essence(value)
    if "*" in kind or kind == OCTET_STREAM or kind in _OF_REQUESTS:
        return guess_type(filename)  # image/* and */* are ranges (Accept), not types of a file
    text = clean_type(value)
    return guess_type(filename) if text is None else kind + text[len(kind) :]
