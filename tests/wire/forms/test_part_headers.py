"""sluiceway.wire.forms.part_headers: header lines of a part, and the boundary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadForm, SluiceError, Unsupported
from sluiceway.wire.forms.part_headers import MOST_BOUNDARY, form_boundary, read_part_head
from sluiceway.wire.forms.transfer_encodings import Base64Decoder, QuotedPrintableDecoder
from sluiceway.wire.headers.media_types import MOST_TYPE
from unicode_text import CHARACTERS

BOUNDARIES = [
    ("multipart/form-data; boundary=abc", b"abc"),
    ("Multipart/Form-Data ; Boundary=AbC", b"AbC"),
    ('multipart/form-data; boundary="a b:c/d=e?(f)"', b"a b:c/d=e?(f)"),
    ("multipart/form-data; boundary=a=b/c", b"a=b/c"),
    ("multipart/form-data; charset=utf-8; boundary=x", b"x"),
    (
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
        b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
    ),
    (f"multipart/form-data; boundary={'x' * MOST_BOUNDARY}", b"x" * 70),
    ("multipart/form-data; boundary=*****", b"*****"),  # react-native-fs
    ("multipart/form-data; boundary=$", b"$"),  # werkzeug#2125
    ("multipart/form-data; boundary=&", b"&"),
    *(
        (f"multipart/form-data; boundary={mark}", mark.encode())
        for mark in "!#%'*+.^_`|~\\@<>[]{}(),/:=?"
    ),
    ('multipart/form-data; boundary="a\\"b\\\\c;d"', b'a"b\\c;d'),
]

BAD_BOUNDARIES = [
    "multipart/form-data",
    "multipart/form-data;",
    "multipart/form-data; boundary",
    "multipart/form-data; boundary=",
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="abc',
    'multipart/form-data; boundary="ends in a space "',
    f"multipart/form-data; boundary={'x' * (MOST_BOUNDARY + 1)}",
    f"multipart/form-data; boundary={'x' * 100_000}",
    "multipart/form-data; boundary=a\nb",
    "multipart/form-data; boundary=a\x00b",
    "multipart/form-data; boundary=é",
    "multipart/form-data; boundary=a; boundary=a",
    "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
]


@pytest.mark.parametrize(("content_type", "expected"), BOUNDARIES)
def test_the_boundary_is_found(content_type: str, expected: bytes) -> None:
    """Quoted or not, in any case of the names, 1 to 70 characters."""
    assert form_boundary(content_type) == expected


@pytest.mark.parametrize("content_type", BAD_BOUNDARIES)
def test_a_bad_boundary_is_refused(content_type: str) -> None:
    """Missing, empty, too long, of illegal characters, or given twice."""
    with pytest.raises(BadForm):
        form_boundary(content_type)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/mixed; boundary=a", "multipart/form-dataX; boundary=a"],
)
def test_another_type_is_unsupported(content_type: str) -> None:
    """415, not 400: the body may be fine, only not a form."""
    with pytest.raises(Unsupported, match="multipart/form-data"):
        form_boundary(content_type)


def names(disposition: str | bytes, *more: bytes) -> tuple[str, str | None, str]:
    raw = disposition.encode() if isinstance(disposition, str) else disposition
    head = read_part_head([b"Content-Disposition: " + raw, *more])
    return head.name, head.filename, head.type


OCTETS = "application/octet-stream"
NAMES: list[tuple[str | bytes, tuple[str, str | None, str]]] = [
    ('form-data; name="a"', ("a", None, "text/plain")),
    ('form-data; name=""', ("", None, "text/plain")),
    ('FORM-DATA; NAME="a"', ("a", None, "text/plain")),
    ('form-data; name="f"; filename="x.txt"', ("f", "x.txt", OCTETS)),
    ('form-data; filename="x.txt"; name="f"', ("f", "x.txt", OCTETS)),
    ('form-data; name="f"; filename=""', ("f", "", OCTETS)),
    ("form-data; name=f; filename=x.txt", ("f", "x.txt", OCTETS)),
    # WHATWG: three escapes, nothing else
    ('form-data; name="a%22b%0D%0Ac"; filename="d%22e%0Af"', ('a"b\r\nc', 'd"e\nf', OCTETS)),
    (
        'form-data; name="%41%2F%0a%25"; filename="50%25 100%"',
        ("%41%2F%0a%25", "50%25 100%", OCTETS),
    ),
    ('form-data; name="a\\b"; filename="C:\\dir\\x.txt"', ("a\\b", "C:\\dir\\x.txt", OCTETS)),
    ('form-data; name="f"; filename="x;y=z.txt"', ("f", "x;y=z.txt", OCTETS)),
    # old curl and old Firefox
    ('form-data; name="f"; filename="say \\"hi\\".txt"', ("f", 'say "hi".txt', OCTETS)),
    # UTF-8, and what is not
    ('form-data; name="größe"; filename="€👩‍👧.png"', ("größe", "€👩‍👧.png", OCTETS)),
    (b'form-data; name="f"; filename="gr\xf6\xdfe.txt"', ("f", "größe.txt", OCTETS)),
    (
        b'form-data; name="f"; filename="\xc0\xaf.txt"',
        ("f", "À¯.txt", OCTETS),
    ),  # overlong UTF-8 never becomes "/"
    # RFC 2047 from .NET
    ('form-data; name=f; filename="=?utf-8?B?R3LDtsOfZS50eHQ=?="', ("f", "Größe.txt", OCTETS)),
    (
        'form-data; name=f; filename="=?UTF-8?Q?Gr=C3=B6=C3=9Fe_1.txt?="',
        ("f", "Größe 1.txt", OCTETS),
    ),
    ('form-data; name=f; filename="=?utf-8?B?R3LDtg==?= =?utf-8?B?w59l?="', ("f", "Größe", OCTETS)),
    ('form-data; name=f; filename="=?iso-8859-1?B?6Q==?="', ("f", "é", OCTETS)),
    ('form-data; name=f; filename="=?utf-8?B?R3LD?="', ("f", "=?utf-8?B?R3LD?=", OCTETS)),
    ('form-data; name=f; filename="=?utf-8?B?!!!?="', ("f", "=?utf-8?B?!!!?=", OCTETS)),
    ('form-data; name=f; filename="=?utf-7?Q?a?="', ("f", "=?utf-7?Q?a?=", OCTETS)),
    ('form-data; name=f; filename="=?x"', ("f", "=?x", OCTETS)),
    # RFC 7578 4.2 and CVE-2026-53537: the plain value wins
    (
        'form-data; name="f"; filename="safe.txt"; filename*=utf-8\'\'..%2Fevil',
        ("f", "safe.txt", OCTETS),
    ),
    (
        'form-data; name="f"; filename*=utf-8\'\'..%2Fevil; filename="safe.txt"',
        ("f", "safe.txt", OCTETS),
    ),
    (
        'form-data; name="f"; filename="safe.txt"; filename*=utf-8\'\'%E0%A4%A',
        ("f", "safe.txt", OCTETS),
    ),
    ("form-data; name=\"f\"; filename*=UTF-8''%E2%82%AC.txt", ("f", "€.txt", OCTETS)),
    ("form-data; name=\"comment\"; name*=utf-8''role", ("comment", None, "text/plain")),
    ('form-data; name="f"; filename="a"; filename*0="b"; filename*1="c"', ("f", "a", OCTETS)),
    (
        'form-data; name="f"; filename*0="long na"; filename*1="me.bin"',
        ("f", "long name.bin", OCTETS),
    ),
    (
        "form-data; name=\"f\"; filename*0*=UTF-8''%E2%82%AC; filename*1=.txt",
        ("f", "€.txt", OCTETS),
    ),
    # a quote as it is: npm's form-data, Alamofire
    ('form-data; name="f"; filename="12" vinyl.mp3"', ("f", '12" vinyl.mp3', OCTETS)),
    ('form-data; name="a"b"c"', ('a"b"c', None, "text/plain")),
    # names are opaque
    ('form-data; name="' + "a[b]" * 1000 + '"', ("a[b]" * 1000, None, "text/plain")),
    ('form-data; name="_charset_"', ("_charset_", None, "text/plain")),
]


@pytest.mark.parametrize(("disposition", "expected"), NAMES)
def test_names_are_read_as_they_are_sent(
    disposition: str | bytes, expected: tuple[str, str | None, str]
) -> None:
    """Browsers, curl, .NET, and attempts to fool one of two readers."""
    assert names(disposition) == expected


BAD_HEADS: list[tuple[str, list[bytes]]] = [
    ("no headers", []),
    ("no disposition", [b"Content-Type: text/plain"]),
    ("another kind", [b'Content-Disposition: attachment; name="a"']),
    ("no kind", [b'Content-Disposition: ; name="a"']),
    ("empty", [b"Content-Disposition:"]),
    ("no name", [b"Content-Disposition: form-data"]),
    ("no name but a filename", [b'Content-Disposition: form-data; filename="a"']),
    ("only name*", [b"Content-Disposition: form-data; name*=utf-8''a"]),
    ("two names", [b'Content-Disposition: form-data; name="a"; name="a"']),
    ("two filenames", [b'Content-Disposition: form-data; name="a"; filename="b"; Filename="c"']),
    (
        "two filename*",
        [b"Content-Disposition: form-data; name=a; filename*=utf-8''b; filename*=utf-8''c"],
    ),
    (
        "filename* alone and broken",
        [b"Content-Disposition: form-data; name=a; filename*=utf-8''%E0%A4%A"],
    ),
    ("an open quote", [b'Content-Disposition: form-data; name="a']),
    ("text behind a quote", [b'Content-Disposition: form-data; name="a"b']),
    ("a quote and a semicolon inside", [b'Content-Disposition: form-data; name="a"; b"']),
    (
        "filename sections without the first",
        [b'Content-Disposition: form-data; name=a; filename*1="b"'],
    ),
    (
        "filename sections with a gap",
        [b"Content-Disposition: form-data; name=a; filename*0=b; filename*2=c"],
    ),
    ("a filename section that is none", [b"Content-Disposition: form-data; name=a; filename*x=b"]),
    ("two dispositions", [b'Content-Disposition: form-data; name="a"'] * 2),
    (
        "two types",
        [b'Content-Disposition: form-data; name="a"', b"Content-Type: a/b", b"content-type: a/b"],
    ),
    ("no colon", [b'Content-Disposition: form-data; name="a"', b"X"]),
    ("an empty header name", [b'Content-Disposition: form-data; name="a"', b": x"]),
    ("a space before the colon", [b'Content-Disposition : form-data; name="a"']),
    ("a header name that is no token", [b'Content-Disposition: form-data; name="a"', b"X Y: z"]),
    ("a no-break space in a header name", [b'\xa0Content-Disposition: form-data; name="a"']),
    *(
        (
            f"Content-Length {value!r}",
            [b'Content-Disposition: form-data; name="a"', b"Content-Length: " + value],
        )
        for value in (b"+5", b"-1", b"1_0", b"", b"5 5", b"0x5", "５".encode(), b"9" * 30)
    ),
]


@pytest.mark.parametrize(
    "lines", [lines for _, lines in BAD_HEADS], ids=[name for name, _ in BAD_HEADS]
)
def test_a_head_that_is_wrong_is_refused(lines: list[bytes]) -> None:
    """BadForm, and no guess."""
    with pytest.raises(BadForm):
        read_part_head(lines)


def test_unknown_headers_are_ignored() -> None:
    """RFC 7578 4.8."""
    assert names(
        'form-data; name="a"', b"X-Thing: y", b"MIME-Version: 1.0", b"Content-Range: x"
    ) == ("a", None, "text/plain")


FILE = 'form-data; name="f"; filename="x"'
TYPES = [
    ("image/png", "image/png"),
    ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
    ("text/html;a=b", "text/html;a=b"),
    ("", OCTETS),
    ("nonsense", OCTETS),
    ("a/b/c", OCTETS),
    ("a/b\x01", OCTETS),
    ("a/" + "b" * (MOST_TYPE - 2), "a/" + "b" * (MOST_TYPE - 2)),
    ("a/" + "b" * (MOST_TYPE - 1), OCTETS),
    ("multipart/related", "multipart/related"),  # browsers use this type for a .mht file
    ('multipart/related; type="boundary=x"', 'multipart/related; type="boundary=x"'),
    ("text/csv; charset=windows-1252", "text/csv; charset=windows-1252"),
    ("text/csv; name=größe", "text/csv"),
    ("text/csv; name=" + "b" * MOST_TYPE, "text/csv"),
    ("text/csv; name=größe; charset=windows-1252", "text/csv; charset=windows-1252"),
    ('text/plain; a=", x"', 'text/plain; a=", x"'),
    ("text/plain; a=b, text/html", 'text/plain; a="b, text/html"'),  # to browsers it would be HTML
    ('text/plain; a=b"c', "text/plain"),
    ("text/plain, text/html", OCTETS),
]

# Not the type of one file: the filter of a file chooser, or the type of the request.
BY_NAME = [
    "image/*",
    "*/*",
    "Image/*; q=1",
    "multipart/form-data",
    "Multipart/Form-Data; charset=utf-8",
]


@pytest.mark.parametrize("sent", BY_NAME)
def test_a_type_that_does_not_describe_a_file_is_guessed_by_name(sent: str) -> None:
    """Apps send the filter of their file chooser, or the request's own type."""
    assert names('form-data; name="f"; filename="a.png"', b"Content-Type: " + sent.encode()) == (
        "f",
        "a.png",
        "image/png",
    )


FIELD_TYPES = [
    ("text/plain; charset=ISO-8859-1", "text/plain; charset=ISO-8859-1"),
    ("text/html", "text/html"),
    ("text/*", "text/*"),
    ("*/*", "*/*"),  # Retrofit's fields, when any type is allowed
    ("application/json", "application/json"),
    ("application/problem+json; charset=utf-8", "application/problem+json; charset=utf-8"),
    ("Application/XML", "Application/XML"),
    ("image/svg+xml", "image/svg+xml"),
    ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
    ("multipart/form-data", "text/plain"),
    ("Multipart/Mixed", "text/plain"),
    ("", "text/plain"),
    ("nonsense", "text/plain"),
]


@pytest.mark.parametrize(("sent", "expected"), FIELD_TYPES)
def test_a_part_without_filename_and_with_a_text_type_is_a_field(sent: str, expected: str) -> None:
    """Without a filename: by its type."""
    assert names('form-data; name="a"', b"Content-Type: " + sent.encode()) == ("a", None, expected)


@pytest.mark.parametrize(
    "sent",
    [
        "image/png",
        "image/*",
        "application/octet-stream",
        "application/pdf; a=b",
        "audio/ogg",
        "message/rfc822",
    ],
)
def test_a_part_with_another_type_is_a_file(sent: str) -> None:
    """Also without a filename: a charset would destroy its bytes in a field."""
    name, filename, _ = names('form-data; name="a"', b"Content-Type: " + sent.encode())
    assert (name, filename) == ("a", "unnamed")


@pytest.mark.parametrize(("sent", "expected"), TYPES)
def test_an_invalid_type_is_replaced(sent: str, expected: str) -> None:
    """An invalid type becomes application/octet-stream; the file is stored."""
    assert names(FILE, b"Content-Type: " + sent.encode()) == ("f", "x", expected)


@pytest.mark.parametrize(
    ("disposition", "line"),
    [
        ('form-data; name="f"', b"Content-Type: multipart/mixed; boundary=X"),
        ('form-data; name="f"', b"Content-Type: Multipart/Mixed; Boundary=x"),
        ('form-data; name="f"', b'Content-Type: multipart/form-data; boundary="x'),
        (FILE, b"Content-Type: multipart/mixed; Boundary=X"),
        (FILE, b"Content-Transfer-Encoding: uuencode"),
        (FILE, b"Content-Transfer-Encoding: x-gzip"),
    ],
)
def test_unknown_encodings_and_nested_forms_are_unsupported(disposition: str, line: bytes) -> None:
    """Forms in forms and unknown encodings: 415 with a text that says what to send."""
    with pytest.raises(Unsupported, match="send"):
        names(disposition, line)


@pytest.mark.parametrize(
    ("encoding", "decoder"),
    [
        (b"binary", None),
        (b"8BIT", None),
        (b"7bit", None),
        (b"Base64", Base64Decoder),
        (b" quoted-printable ", QuotedPrintableDecoder),
    ],
)
def test_transfer_encodings_are_known_in_any_case(encoding: bytes, decoder: type | None) -> None:
    """Old encodings are decoded; those that change nothing are ignored."""
    head = read_part_head(
        [b"Content-Disposition: " + FILE.encode(), b"Content-Transfer-Encoding:" + encoding]
    )
    assert head.decoder is None if decoder is None else isinstance(head.decoder, decoder)


@given(
    st.lists(
        st.binary(max_size=40)
        | st.binary(max_size=60).map(b"Content-Disposition: form-data; ".__add__),
        max_size=4,
    )
)
def test_any_lines_are_read_or_refused(lines: list[bytes]) -> None:
    """Only a SluiceError is ever raised."""
    try:
        read_part_head(lines)
    except SluiceError:
        pass


@given(st.text(CHARACTERS, max_size=100))
def test_any_content_type_gives_a_boundary_or_a_refusal(text: str) -> None:
    """Only a SluiceError is ever raised."""
    for content_type in (
        text,
        "multipart/form-data;" + text,
        "multipart/form-data; boundary=" + text,
    ):
        try:
            assert 1 <= len(form_boundary(content_type)) <= MOST_BOUNDARY
        except SluiceError:
            pass
