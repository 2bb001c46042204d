"""sluiceway.wire.headers.disposition: RFC 6266 and RFC 8187, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.wire.headers.disposition import (
    MOST_DISPOSITION,
    Disposition,
    decode_extended,
    format_disposition,
    parse_disposition,
)
from unicode_text import CHARACTERS
from wire.forms.costs import assert_linear

READ = [
    ("attachment", Disposition("attachment", None, None)),
    ("INLINE; Filename=foo.html", Disposition("inline", None, "foo.html")),
    ('attachment; filename="foo bar.html"', Disposition("attachment", None, "foo bar.html")),
    ('attachment; filename="a\\"b\\\\c"', Disposition("attachment", None, 'a"b\\c')),
    ('attachment; filename=""', Disposition("attachment", None, "")),
    ("attachment; filename*=UTF-8''%e2%82%ac%20rates", Disposition("attachment", None, "€ rates")),
    ("attachment; filename*=utf-8'en'%C3%A9", Disposition("attachment", None, "é")),
    ("attachment; filename*=iso-8859-1''%E9", Disposition("attachment", None, "é")),
    (
        "attachment; filename=\"EURO\"; filename*=utf-8''%e2%82%ac",
        Disposition("attachment", None, "€"),
    ),
    ("attachment; filename*=utf-8''%e2%82%ac; filename=EURO", Disposition("attachment", None, "€")),
    ('attachment; filename="a%41.txt"', Disposition("attachment", None, "a%41.txt")),
    (
        "attachment; filename=\"a.txt\"; filename*=UTF-8''%E0%A4%A",
        Disposition("attachment", None, "a.txt"),
    ),
    (
        "attachment; filename=\"a.txt\"; filename*=UTF-8''%FF",
        Disposition("attachment", None, "a.txt"),
    ),
    (
        "attachment; filename=\"a.txt\"; filename*=koi8-r''%C1",
        Disposition("attachment", None, "a.txt"),
    ),
    ('attachment; filename="a.txt"; filename*=broken', Disposition("attachment", None, "a.txt")),
    (
        'attachment; filename="â\x82¬.txt"',
        Disposition("attachment", None, "€.txt"),
    ),  # UTF-8 seen as ISO-8859-1
    ('attachment; filename="é.txt"', Disposition("attachment", None, "é.txt")),
    ('form-data; name="f"; filename="x"', Disposition("form-data", "f", "x")),
    ("attachment; size=30; filename=a", Disposition("attachment", None, "a")),
    # RFC 2231, as mail programs send long names
    (
        'attachment; filename*0="long na"; filename*1="me.bin"',
        Disposition("attachment", None, "long name.bin"),
    ),
    (
        'attachment; filename*1="me.bin"; filename*0="long na"',
        Disposition("attachment", None, "long name.bin"),
    ),
    (
        "attachment; filename*0*=UTF-8''%e2%82; filename*1*=%ac; filename*2=.txt",
        Disposition("attachment", None, "€.txt"),
    ),
    (
        "attachment; filename*0*=iso-8859-1'de'gr%F6; filename*1*=%DFe",
        Disposition("attachment", None, "größe"),
    ),
    (
        'attachment; filename="a"; filename*0="b"; filename*1="c"',
        Disposition("attachment", None, "a"),
    ),
    *[
        (
            "attachment; " + "; ".join(f"filename*{n}={n}" for n in range(12)),
            Disposition("attachment", None, "01234567891011"),
        )
    ],
]


@pytest.mark.parametrize(("value", "expected"), READ)
def test_a_header_is_read(value: str, expected: Disposition) -> None:
    """filename* wins where it can be decoded; a broken one leaves the plain one."""
    assert parse_disposition(value) == expected


BROKEN = [
    "",
    ";",
    "attachment; filename",
    'attachment; filename="a',
    'attachment; filename="a\\',
    "attachment; filename=a; filename=b",
    "attachment; filename*=UTF-8''a; filename*=UTF-8''b",
    "attachment; filename*=UTF-8''%E0%A4%A",
    "attachment; filename*1=b",
    "attachment; filename*0=a; filename*2=c",
    "attachment; filename*0=a; filename*0*=UTF-8''b",
    "attachment; filename*0=a; filename*1*=b",
    "attachment; filename*0*=UTF-8''%FF",
    "attachment; filename*0*=UTF-8''%4; filename*1*=1",
    "attachment; filename*0*=koi8-r''%C1",
    "attachment; filename*00=a",
    "attachment; filename*x=a",
    'attachment filename="a"',
    '"attachment"; filename=a',
]


@pytest.mark.parametrize("value", BROKEN)
def test_a_broken_header_is_refused(value: str) -> None:
    """BadRequest for every fault; never another error."""
    with pytest.raises(BadRequest):
        parse_disposition(value)


def test_the_length_of_a_header_is_at_its_edge() -> None:
    """MOST_DISPOSITION characters are read, one more is refused."""
    start = "attachment; filename="
    assert parse_disposition(start + "a" * (MOST_DISPOSITION - len(start))).filename
    with pytest.raises(BadRequest, match=str(MOST_DISPOSITION)):
        parse_disposition(start + "a" * (MOST_DISPOSITION - len(start) + 1))


WRITTEN = [
    ("report.pdf", 'attachment; filename="report.pdf"'),
    ("100% sure.txt", 'attachment; filename="100% sure.txt"'),
    ("€ rates", "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),
    ('a"b', "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
    ("a\\b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%5Cb"),
    ("a%41", "attachment; filename=\"a_41\"; filename*=UTF-8''a%2541"),
    ("a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y"),
    ("a\ud800", "attachment; filename=\"a_\"; filename*=UTF-8''a%EF%BF%BD"),
    ("!#$&+-.^_`|~'()*", 'attachment; filename="!#$&+-.^_`|~\'()*"'),
    ("é'()*", "attachment; filename=\"_'()*\"; filename*=UTF-8''%C3%A9%27%28%29%2A"),
]


@pytest.mark.parametrize(("filename", "expected"), WRITTEN)
def test_a_header_is_written(filename: str, expected: str) -> None:
    """filename first, in safe ASCII; filename* only where it differs."""
    assert format_disposition("attachment", filename) == expected


@given(st.text(CHARACTERS, max_size=80))
def test_any_name_comes_back_and_cannot_leave_its_header(filename: str) -> None:
    """Every name is read back; the header is printable ASCII on one line (CVE-2022-36359)."""
    value = format_disposition("inline", filename)

    assert value.isascii()
    assert value.isprintable()
    assert parse_disposition(value) == Disposition("inline", None, filename)


def test_a_kind_of_several_words_is_refused() -> None:
    """The kind comes from our own code, and still cannot inject a header."""
    with pytest.raises(BadRequest):
        format_disposition("attachment\r\nX: y", "a")


@given(st.text(alphabet="attachment;=\"\\'*%filenameUTF-8 é\ud800\r\n", max_size=80))
def test_any_header_is_read_or_refused(value: str) -> None:
    """Only a SluiceError is ever raised, and the result can be written."""
    try:
        found = parse_disposition(value)
    except SluiceError:
        return
    format_disposition("attachment", found.filename or "")


def test_percent_codes_cost_linear_time() -> None:
    """CVE-2026-8159 and -8162: long and broken codes in filename*."""
    assert_linear(lambda n: decode_extended("utf-8''" + "%E0%A4%A4" * n + "%E0%A"), 20_000)
