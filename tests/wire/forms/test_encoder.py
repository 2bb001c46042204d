"""sluiceway.wire.forms.encoder: forms as browsers write them; the decoder reads them back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadForm
from sluiceway.testing.splits import cuttings
from sluiceway.wire.forms.encoder import FormEncoder, form_length, new_boundary
from sluiceway.wire.forms.part_headers import form_boundary
from wire.forms.outcomes import Outcome, Part, outcome

BOUNDARY = new_boundary(bytes(range(16)))


def test_a_form_is_written_byte_for_byte() -> None:
    """Delimiters, escapes and the tail stand where browsers put them."""
    encoder = FormEncoder("B")

    assert encoder.content_type == "multipart/form-data; boundary=B"
    assert (
        encoder.field("a", "é\n")
        == b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xc3\xa9\n\r\n'
    )
    assert (
        encoder.field("a", b"\x00\xff")
        == b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n\x00\xff\r\n'
    )
    assert encoder.begin_file("f", 'a"b\\c%.txt', "text/plain") == (
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="a%22b\\c%.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
    )
    assert encoder.end_file() == b"\r\n"
    assert encoder.finish() == b"--B--\r\n"


NAMES = [
    ("plain", b"plain"),
    ('a"b', b"a%22b"),
    ("a\r\nb\rc\nd", b"a%0D%0Ab%0Dc%0Ad"),
    ("50% \\ ' ; =", b"50% \\ ' ; ="),
    ("größe", "größe".encode()),
    ("nul\x00", b"nul"),
    ("raw\udcff\udc80", b"raw\xff\x80"),  # a Linux name that is not UTF-8 keeps its bytes
    ("half\ud800", b"half\xef\xbf\xbd"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_are_escaped_as_browsers_do(name: str, expected: bytes) -> None:
    """Three escapes; everything else is UTF-8."""
    assert b'name="%s"; filename="%s"\r\n' % (expected, expected) in FormEncoder("B").begin_file(
        name, name
    )


def test_a_name_cannot_leave_its_header() -> None:
    """CVE-2026-34514 and its relatives: CR, LF and quotes in names make no header and no part."""
    evil = 'a"\r\nX: y\r\n\r\n--B\r\nContent-Disposition: form-data; name="z"\r\n\r\nb'
    encoder = FormEncoder("B")
    raw = (
        encoder.begin_file(evil, evil)
        + b"x"
        + encoder.end_file()
        + encoder.field(evil, "y")
        + encoder.finish()
    )

    found = outcome([raw])

    assert found.parts == [
        Part(evil, evil, "application/octet-stream", b"x"),
        Part(evil, None, "text/plain", b"y"),
    ]
    for bad in ("text/plain\r\nX: y", "text/plain\n", "", "é/x", "a/b\x00"):
        with pytest.raises(BadForm):
            encoder.begin_file("f", "x", bad)


def test_a_boundary_is_valid_and_cannot_be_guessed() -> None:
    """128 random bits or more (CVE-2025-7783), in characters that every reader takes."""
    assert form_boundary(f"multipart/form-data; boundary={BOUNDARY}") == BOUNDARY.encode()
    assert bytes(range(16)).hex() in BOUNDARY
    with pytest.raises(BadForm, match="16"):
        new_boundary(bytes(15))
    for bad in ("", "a" * 71, "a\r\nb", 'a"b', "é", "a "):
        with pytest.raises(BadForm):
            FormEncoder(bad)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
# Names that the decoder reads differently on purpose: a % like an escape, old backslashes, encoded
# words.
NAME = TEXT.filter(lambda text: not any(mark in text for mark in ("%22", "%0D", "%0A", "=?")))
FIELDS = st.tuples(NAME, st.none(), st.just("text/plain"), st.binary(max_size=60))
FILES = st.tuples(
    NAME, NAME, st.sampled_from(["image/png", "text/plain; charset=utf-8"]), st.binary(max_size=60)
)


@given(st.lists(FIELDS | FILES, max_size=5))
def test_written_values_are_read_back(parts: list[tuple[str, str | None, str, bytes]]) -> None:
    """Any names and any bytes, in every cutting; the length is known before."""
    encoder = FormEncoder(BOUNDARY)
    pieces: list[bytes] = []
    pieces_and_sizes: list[bytes | int | None] = []
    for name, filename, media_type, data in parts:
        if filename is None:
            pieces.append(encoder.field(name, data))
            pieces_and_sizes.append(pieces[-1])
        else:
            head, tail = encoder.begin_file(name, filename, media_type), encoder.end_file()
            pieces += [head, data, tail]
            pieces_and_sizes += [head, len(data), tail]
    pieces.append(encoder.finish())
    raw = b"".join(pieces)

    assert form_length([*pieces_and_sizes, encoder.finish()]) == len(raw)
    expected = Outcome([Part(*part) for part in parts])
    assert outcome([raw], encoder.content_type) == expected
    for cutting in list(cuttings(raw, seeds=2))[-2:]:
        assert outcome(cutting.pieces, encoder.content_type) == expected


def test_one_unknown_size_makes_the_length_unknown() -> None:
    """A form with a pipe in it is sent without Content-Length."""
    assert form_length([b"abc", 5, b"\r\n"]) == 10
    assert form_length([b"abc", None, b"\r\n"]) is None
