"""sluiceway.wire.headers.media_types: the same type on every machine; only passive ones are shown."""

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
def test_the_extension_tells_the_type(filename: str, expected: str) -> None:
    """In any case of letters; the last one counts; a name is never taken for a URL."""
    assert guess_type(filename) == expected


@pytest.mark.parametrize(
    "active",
    ["a.svg", "a.html", "a.htm", "a.xhtml", "a.xml", "a.pdf", "a.js", "a.mjs", "a.css", "a.swf"],
)
def test_what_can_run_is_never_shown_in_place(active: str) -> None:
    """SVG, HTML, XML, PDF and scripts are downloads."""
    assert guess_type(active) not in INLINE_TYPES


def test_what_cannot_run_is() -> None:
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


@pytest.mark.parametrize(("told", "kept"), KEPT)
def test_a_type_that_was_told_is_kept_with_its_parameters(told: str, kept: str) -> None:
    """As far as they can be kept; what tells nothing of one file is guessed by its name."""
    assert kept_type(told, "a.png") == kept


def test_hostile_types_cost_linear_time() -> None:
    """Also where most of it is white space or open quotes."""
    for unit in (" ", ";", "; a", '"', ";  ", '; a="', "\\"):
        assert_linear(lambda n, unit=unit: kept_type("text/plain;" + unit * n, "a"), 4_000)  # type: ignore[misc]
