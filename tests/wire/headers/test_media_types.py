"""sluiceway.wire.headers.media_types: the same type on every machine; only passive ones are
shown."""

from __future__ import annotations

import pytest

from sluiceway.wire.headers.media_types import INLINE_TYPES, guess_type, kept_type
from wire.forms.costs import assert_linear

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
def test_the_type_follows_from_the_extension(filename: str, expected: str) -> None:
    """In any case; the last extension counts; a name is never read as a URL."""
    assert guess_type(filename) == expected


@pytest.mark.parametrize(
    "active",
    ["a.svg", "a.html", "a.htm", "a.xhtml", "a.xml", "a.pdf", "a.js", "a.mjs", "a.css", "a.swf"],
)
def test_active_content_is_never_shown_inline(active: str) -> None:
    """SVG, HTML, XML, PDF and scripts are downloaded."""
    assert guess_type(active) not in INLINE_TYPES


def test_passive_content_is_shown_inline() -> None:
    """Pictures, sound, film and plain text."""
    for passive in (
        "a.png",
        "a.jpg",
        "a.gif",
        "a.webp",
        "a.avif",
        "a.txt",
        "a.mp4",
        "a.webm",
        "a.ogv",
        "a.mp3",
        "a.ogg",
    ):
        assert guess_type(passive) in INLINE_TYPES


KEPT = [
    ("text/csv; charset=windows-1252", "text/csv; charset=windows-1252"),
    ("Text/CSV;charset=x;", "text/csv;charset=x"),
    (
        "text/plain; a=b, text/html",
        'text/plain; a="b, text/html"',
    ),  # a comma outside of quotes begins another type
    ("text/plain, text/html", "image/png"),
    ("", "image/png"),
    ("*/*", "image/png"),
    ("image/*; q=1", "image/png"),
    ("application/octet-stream; a=b", "image/png"),
    ("multipart/form-data; boundary=x", "image/png"),
    ("nonsense", "image/png"),
    ('text/plain; a="é"; b=c', "text/plain; b=c"),
    (f"text/plain; b=c; a={'x' * 300}", "text/plain; b=c"),
]


@pytest.mark.parametrize(("value", "kept"), KEPT)
def test_a_client_s_type_is_kept_with_its_parameters(value: str, kept: str) -> None:
    """Without those that cannot be kept; a type that describes no file is guessed by name."""
    assert kept_type(value, "a.png") == kept


def test_hostile_types_cost_linear_time() -> None:
    """Also where most of it is white space or open quotes."""
    for unit in (" ", ";", "; a", '"', ";  ", '; a="', "\\"):
        assert_linear(lambda n, unit=unit: kept_type("text/plain;" + unit * n, "a"), 4_000)  # type: ignore[misc]
