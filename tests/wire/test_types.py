"""sluiceway.wire.types: the same type on every machine; only passive ones are shown."""

from __future__ import annotations

import pytest

from sluiceway.wire.types import INLINE_TYPES, guess_type

KNOWN = [
    ("a.txt", "text/plain"),
    ("a.png", "image/png"),
    ("A.JPG", "image/jpeg"),
    ("a.webp", "image/webp"),
    ("a.avif", "image/avif"),
    ("a.woff2", "font/woff2"),
    ("a.md", "text/markdown"),
    ("a.mjs", "text/javascript"),
    ("a.epub", "application/epub+zip"),
    ("a.djvu", "image/vnd.djvu"),
    ("a.parquet", "application/vnd.apache.parquet"),
    ("a.pdf", "application/pdf"),
    ("a.html", "text/html"),
    ("a.svg", "image/svg+xml"),
    ("a.json", "application/json"),
    ("a.mp4", "video/mp4"),
    ("a.tar", "application/x-tar"),
    ("a.tar.gz", "application/gzip"),
    ("a.tgz", "application/gzip"),
    ("http:x.txt", "text/plain"),
    ("data:text/html,x", "application/octet-stream"),
    ("a.tar.bz2", "application/octet-stream"),
    ("a", "application/octet-stream"),
    ("", "application/octet-stream"),
    ("a.", "application/octet-stream"),
    ("a.unknown-thing", "application/octet-stream"),
    (".txt", "text/plain"),
    ("txt", "application/octet-stream"),
    ("a/b.png", "image/png"),
]


@pytest.mark.parametrize(("filename", "expected"), KNOWN)
def test_the_extension_tells_the_type(filename: str, expected: str) -> None:
    """In any case of letters; the last one counts; a name is never taken for a URL."""
    assert guess_type(filename) == expected


@pytest.mark.parametrize("active", ["a.svg", "a.html", "a.htm", "a.xhtml", "a.xml", "a.pdf", "a.js", "a.mjs", "a.css", "a.swf"])
def test_what_can_run_is_never_shown_in_place(active: str) -> None:
    """SVG, HTML, XML, PDF and scripts are downloads."""
    assert guess_type(active) not in INLINE_TYPES


def test_what_cannot_run_is() -> None:
    """Pictures, sound, film and plain text."""
    for passive in ("a.png", "a.jpg", "a.gif", "a.webp", "a.avif", "a.txt", "a.mp4", "a.webm", "a.ogv", "a.mp3", "a.ogg"):
        assert guess_type(passive) in INLINE_TYPES
