"""Media types by file name, the same on every machine, and the few that a browser may show in place."""

from __future__ import annotations

import mimetypes
import re

__all__ = ["INLINE_TYPES", "MOST_TYPE", "OCTET_STREAM", "essence", "guess_type", "kept_type"]

OCTET_STREAM = "application/octet-stream"
MOST_TYPE = 255  # characters of a type with its parameters; RFC 6838 4.2 allows 127 on each side of the slash

_KIND = r"[!#$%&'+\-.^_`|~0-9A-Za-z]+"  # a token without `*`: image/* and */* are questions (Accept), no type of a file
_TYPE = re.compile(rf"({_KIND}/{_KIND})[ \t]*((?:;[\t\x20-\x7e]*)?)")
_OF_REQUESTS = frozenset(["multipart/form-data", "application/x-www-form-urlencoded"])  # say how a form came, not what a file is

# Passive content only. SVG, HTML, XML and PDF can run code or load things; they are downloads.
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

# Python's own table differs from version to version; what it lacks or spells in an old way in any of them is here.
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
    """The type the extension stands for; application/octet-stream when it stands for none."""
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
    """A type without its parameters, in lower case."""
    return kind.partition(";")[0].strip().lower()


def kept_type(told: str, filename: str) -> str:
    """The type a file keeps: as it was told, parameters and all, where it tells something about one file; else by its name."""
    found = _TYPE.fullmatch(told.strip(" \t"))
    if found is None or essence(told) == OCTET_STREAM or essence(told) in _OF_REQUESTS:
        return guess_type(filename)
    return found[1].lower() + found[2].rstrip("; \t")
