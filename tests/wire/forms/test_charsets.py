"""Fields are read in the charset that the form names; without one, no byte is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.testing.splits import cuttings
from sluiceway.wire.forms.charsets import field_text, form_charset, known_charset
from sluiceway.wire.forms.decoder import FormDecoder, PartBegan, PartData, PartEnded
from wire.forms.outcomes import TYPE, body, field_head

PLAIN = "text/plain"

TEXTS: list[tuple[str, bytes, str, str | None, str]] = [
    ("UTF-8 without a word", "größe €".encode(), PLAIN, None, "größe €"),
    ("latin-1 without a word", b"gr\xf6\xdfe", PLAIN, None, "größe"),
    ("the part's charset", b"gr\xf6\xdfe", "text/plain; charset=ISO-8859-1", None, "größe"),
    ("the part's, in quotes", b"\x80", 'text/plain; a=b; Charset="Windows-1252"', None, "€"),
    (
        "the part's before the form's",
        b"\xa4",
        "text/plain; charset=iso-8859-15",
        "windows-1252",
        "€",
    ),
    ("the form's", b"\x80", PLAIN, "windows-1252", "€"),
    ("the form's, though it could be UTF-8", b"\xc3\xb6", PLAIN, "windows-1252", "Ã¶"),
    ("Japanese", "テスト".encode("cp932"), PLAIN, "Shift_JIS", "テスト"),
    ("Chinese", "测试".encode("gb18030"), "text/plain; charset=gb2312", None, "测试"),
    ("Russian", "тест".encode("koi8-r"), PLAIN, "KOI8-R", "тест"),
    ("UTF-16 of a part", "ö".encode("utf-16-le"), "text/plain; charset=utf-16le", None, "ö"),
    ("no form is UTF-16", "ö".encode(), PLAIN, "UTF-16", "ö"),
    ("not the UTF-8 it is named", b"gr\xf6\xdfe", "text/plain; charset=utf-8", None, "größe"),
    ("named ASCII, and it is UTF-8", "ö".encode(), "text/plain; charset=us-ascii", None, "ö"),
    ("an unknown charset", b"gr\xf6\xdfe", "text/plain; charset=x-unknown", None, "größe"),
    ("a codec that is no charset", b"+AGE-", "text/plain; charset=utf-7", "idna", "+AGE-"),
    ("a broken type", b"gr\xf6\xdfe", 'text/plain; charset="', None, "größe"),
    ("JSON", '{"a": "ö"}'.encode(), "application/json", None, '{"a": "ö"}'),
]


@pytest.mark.parametrize(
    ("raw", "type", "form", "expected"),
    [case[1:] for case in TEXTS],
    ids=[case[0] for case in TEXTS],
)
def test_a_field_is_read_in_the_charset_that_the_form_names(
    raw: bytes, type: str, form: str | None, expected: str
) -> None:
    """Of the part, else of the form, else UTF-8, else latin-1."""
    assert field_text(raw, type, None if form is None else form_charset(form)) == expected


@given(
    st.binary(max_size=60),
    st.sampled_from(
        ["", "utf-8", "us-ascii", "big5", "windows-1253", "euc-kr", "iso-2022-jp", "utf-16"]
    ),
)
def test_no_byte_becomes_a_replacement_character(raw: bytes, charset: str) -> None:
    """Text in the wrong charset can be repaired; a replacement character cannot."""
    text = field_text(raw, f"text/plain; charset={charset}", form_charset(charset))
    assert (
        "\ufffd" not in text
        or "\ufffd".encode("utf-16-le") in raw
        or "\ufffd".encode("utf-16-be") in raw
        or b"\xef" in raw
    )


@pytest.mark.parametrize(
    "name", ["utf-7", "idna", "punycode", "unicode_escape", "zlib", "rot13", "x" * 50, ""]
)
def test_only_charsets_of_browsers_are_known(name: str) -> None:
    """Other codecs of Python are no charsets, or slow."""
    assert known_charset(name) is None


FORM = body(
    (field_head("before"), b"\xe4"),
    (field_head("_charset_"), b"windows-1251"),
    (field_head("after"), b"\xe4"),
    (field_head("_charset_"), b"windows-1253"),  # a second one changes nothing
    (field_head("named", "Content-Type: text/plain; charset=utf-8"), "д".encode()),
    (field_head("last"), b"\xe4"),
).replace(
    b"--B--",
    b'--B\r\nContent-Disposition: form-data; name="f"; filename="\xe4.txt"\r\n\r\n\r\n--B--',
)


def test_the_form_s_charset_counts_for_the_fields_behind_it_in_every_cutting() -> None:
    """Also for names of files, which the browser writes in the page's encoding."""
    for cutting in cuttings(FORM):
        decoder, texts, names = FormDecoder(TYPE), list[str](), list[str | None]()
        began, value = PartBegan("", None, ""), b""
        for piece in cutting.pieces:
            for event in decoder.feed(piece):
                match event:
                    case PartBegan():
                        began, value = event, b""
                        names.append(event.filename)
                    case PartData():
                        value += event.data
                    case PartEnded() if began.filename is None:
                        texts.append(began.text(value))
        assert texts == ["ä", "windows-1251", "д", "windows-1253", "д", "д"], cutting.name
        assert names[-1] == "д.txt", cutting.name


def test_an_encoded_charset_field_is_decoded_first() -> None:
    """A name in base64 is decoded; a text far too long for a name is ignored."""
    for coded, expected in ((b"d2luZG93cy0xMjUx", "д"), (b"eHh4" * 5000, "ä")):
        decoder = FormDecoder(TYPE)
        head = field_head("_charset_", "Content-Transfer-Encoding: base64")
        events = decoder.feed(body((head, coded), (field_head("a"), b"\xe4")))
        assert [event.text(b"\xe4") for event in events if isinstance(event, PartBegan)] == [
            "ä",
            expected,
        ]
