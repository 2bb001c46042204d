"""sluiceway.wire.forms.decoder: the same parts, or the same error, in every cutting."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadForm, BodyCut, SluiceError
from sluiceway.testing.splits import cuttings
from sluiceway.wire.forms.decoder import FormDecoder, FormEnded, PartBegan, PartData, PartEnded
from sluiceway.wire.forms.framing import MOST_PADDING
from wire.forms.outcomes import TYPE, Outcome, Part, body, field_head, file_head, outcome

OCTETS = "application/octet-stream"
A = field_head("a")
F = file_head("f", "x.bin")


def field(data: bytes, name: str = "a") -> Part:
    return Part(name, None, "text/plain", data)


def file(data: bytes, filename: str = "x.bin", type: str = OCTETS) -> Part:
    return Part("f", filename, type, data)


PICTURE = file(b"\xff", "unnamed", "image/png")


def bare(head: str) -> bytes:
    """An empty part whose head's CRLF is the boundary's, as App Engine and JavaRosa wrote it."""
    return f"--B\r\n{head}\r\n\r\n".encode()


GOOD: list[tuple[str, bytes, list[Part]]] = [
    ("no parts", b"--B--\r\n", []),
    ("no CRLF at the end", b"--B--", []),
    ("a field", body((A, b"1")), [field(b"1")]),
    ("an empty field", body((A, b"")), [field(b"")]),
    ("a file", body((F, b"\x00\xff\r\n")), [file(b"\x00\xff\r\n")]),
    ("an empty file input", body((file_head("f", ""), b"")), [file(b"", "")]),
    (
        "several of one name",
        body((A, b"1"), (A, b"2"), (F, b"3")),
        [field(b"1"), field(b"2"), file(b"3")],
    ),
    ("order is kept", body((F, b"1"), (A, b"2")), [file(b"1"), field(b"2")]),
    ("a CRLF in front", b"\r\n" + body((A, b"1")), [field(b"1")]),
    ("white space in front", b" \t\r\n\r\n" + body((A, b"1")), [field(b"1")]),
    ("an epilogue", body((A, b"1")) + b"bye --B\r\n--B--\r\n", [field(b"1")]),
    ("blank lines", body((F, b"\r\n\r\n"), (F, b"\r\n")), [file(b"\r\n\r\n"), file(b"\r\n")]),
    ("ends in CR", body((F, b"x\r")), [file(b"x\r")]),
    ("begins with LF", body((F, b"\nx")), [file(b"\nx")]),
    ("CRs", body((F, b"\r\r\r\n\r\n\n")), [file(b"\r\r\r\n\r\n\n")]),
    (
        "almost the boundary",
        body((F, b"-B\r\n-B\n--B\r--B\r\n--\r\n--A")),
        [file(b"-B\r\n-B\n--B\r--B\r\n--\r\n--A")],
    ),
    ("begins almost as the boundary", body((F, b"--A\r\n")), [file(b"--A\r\n")]),
    ("begins with dashes", body((F, b"--")), [file(b"--")]),
    (
        "a field without bytes, its boundary right behind its head",
        bare(A) + body((F, b"1")),
        [field(b""), file(b"1")],
    ),
    (
        "a file without bytes, its boundary right behind its head",
        bare(F) + body((A, b"1")),
        [file(b""), field(b"1")],
    ),
    ("nothing but parts without bytes", bare(A) + bare(F) + b"--B--\r\n", [field(b""), file(b"")]),
    (
        "the last part without bytes",
        body((F, b"1"))[:-7] + bare(A) + b"--B--",
        [file(b"1"), field(b"")],
    ),
    ("a part that is a last boundary", body((F, b"--B--")), [file(b"")]),
    (
        "white space behind each boundary",
        body((A, b"1"), (F, b"2")).replace(b"B\r", b"B \t\r").replace(b"--B--", b"--B-- \t"),
        [field(b"1"), file(b"2")],
    ),
    (
        "white space, and no bytes",
        (bare(A) + bare(F)).replace(b"B\r", b"B \r") + b"--B--",
        [field(b""), file(b"")],
    ),
    (
        "much white space",
        b"--B" + b" " * MOST_PADDING + b"\r\n" + body((A, b"1"))[5:],
        [field(b"1")],
    ),
    (
        "a picture sent as a field",
        body((field_head("f", "Content-Type: image/png"), b"\xff")),
        [PICTURE],
    ),
    (
        "Retrofit's field",
        body((field_head("a", "Content-Type: multipart/form-data"), b"1")),
        [field(b"1")],
    ),
    (
        "a name in two pieces",
        body((field_head("f") + '; filename*0="x."; filename*1="bin"', b"1")),
        [file(b"1")],
    ),
    ("headers in any case", body(("CONTENT-DISPOSITION:form-data;name=a", b"1")), [field(b"1")]),
    (
        "a type",
        body((file_head("f", "x.bin", "Content-Type: image/png"), b"1")),
        [file(b"1", type="image/png")],
    ),
    (
        "its own length",
        body((file_head("f", "x.bin", "Content-Length: 3"), b"abc")),
        [file(b"abc")],
    ),
    ("no length at all", body((file_head("f", "x.bin", "Content-Length: 0"), b"")), [file(b"")]),
    (
        "base64",
        body((file_head("f", "x.bin", "Content-Transfer-Encoding: base64"), b"QUJD\r\nRA==")),
        [file(b"ABCD")],
    ),
    (
        "quoted-printable",
        body(
            (
                file_head("f", "x.bin", "Content-Transfer-Encoding: quoted-printable"),
                b"=41=\r\nB=0D=0A",
            )
        ),
        [file(b"AB\r\n")],
    ),
    (
        "base64 field",
        body((field_head("a", "Content-Transfer-Encoding: base64"), b"QQ==")),
        [field(b"A")],
    ),
    (
        "length before decoding",
        body((field_head("a", "Content-Transfer-Encoding: base64", "Content-Length: 4"), b"QQ==")),
        [field(b"A")],
    ),
    (
        "_charset_ changes nothing",
        body((field_head("_charset_"), b"utf-7"), (A, b"+AGE-")),
        [field(b"utf-7", "_charset_"), field(b"+AGE-")],
    ),
]


@pytest.mark.parametrize(
    ("raw", "parts"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD]
)
def test_a_good_form_gives_its_parts_in_every_cutting(raw: bytes, parts: list[Part]) -> None:
    """Whole, byte by byte, at every two-way split and at random."""
    for cutting in cuttings(raw):
        assert outcome(cutting.pieces) == Outcome(parts), cutting.name


@pytest.mark.parametrize(
    ("raw", "parts"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD]
)
def test_a_form_cut_short_is_never_whole(raw: bytes, parts: list[Part]) -> None:
    """A prefix without the last boundary is BadForm, and its parts are those of the form."""
    end = len(raw) - next(n for n in range(len(raw)) if outcome([raw[: len(raw) - n - 1]]).error)
    for size in range(end):
        cut = outcome([raw[:size]])
        assert cut.error == "bad-form"
        assert cut.whole_parts == parts[: len(cut.whole_parts)]


HEADS_FOLLOW = b"--B\r\n" + A.encode()
BAD: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "bad-form"),
    ("only white space", b" \r\n", "bad-form"),
    ("only a preamble", b"hello", "bad-form"),
    ("another boundary", body((A, b"1"), boundary="C"), "bad-form"),
    ("a longer boundary", body((A, b"1"), boundary="BB"), "bad-form"),
    (
        "too much white space behind a boundary",
        b"--B" + b" " * (MOST_PADDING + 1) + b"\r\n" + body((A, b"1"))[5:],
        "bad-form",
    ),
    ("white space and a lone CR behind a boundary", b"--B \r \n" + body((A, b"1"))[5:], "bad-form"),
    ("parts behind the last boundary", body((A, b"1")) + body((F, b"2")), "bad-form"),
    ("a file that begins as the boundary does", body((F, b"--Bet")), "bad-form"),
    (
        "a file whose name cannot be known",
        body((field_head("f") + '; filename*1="b"', b"\xff")),
        "bad-form",
    ),
    ("a preamble", b"Some text\r\n\r\n" + body((A, b"1")), "bad-form"),
    ("a boundary inside a preamble line", b"x--B\r\n" + body((A, b"1")), "bad-form"),
    (
        "a first part whose boundary is misspelled",
        b"--b" + body((F, b"the file"), (A, b"1"))[3:],
        "bad-form",
    ),
    ("no final boundary", body((A, b"1"))[: -len(b"--B--\r\n")], "bad-form"),
    ("an unterminated boundary", body((A, b"1"))[: -len(b"--\r\n")], "bad-form"),
    ("one dash", body((A, b"1"))[: -len(b"-\r\n")], "bad-form"),
    ("headers without an end", HEADS_FOLLOW, "bad-form"),
    ("a boundary with LF", body((A, b"1")).replace(b"\r\n", b"\n"), "bad-form"),
    ("junk behind the first boundary", b"--Bx\r\n", "bad-form"),
    ("a space before the last dashes", body((A, b"1")).replace(b"--B--", b"--B --"), "bad-form"),
    ("the boundary inside a file", body((F, b"x\r\n--Bet")), "bad-form"),
    ("no disposition", body(("Content-Type: text/plain", b"1")), "bad-form"),
    ("no headers", b"--B\r\n\r\nx\r\n--B--", "bad-form"),
    ("nothing between boundaries", b"--B\r\n--B--\r\n", "bad-form"),
    ("a header folded", body((A + "\r\n ; x=y", b"1")), "bad-form"),
    ("a first header folded", body((" " + A, b"1")), "bad-form"),
    ("LF in a header", body((A + "\nX: y", b"1")), "bad-form"),
    ("CR in a header", body((A + "\rX: y", b"1")), "bad-form"),
    ("CR at a header's end", body((A + "\r", b"1")), "bad-form"),
    ("CR in an unknown header", body((A + "\r\nX: y\rz", b"1")), "bad-form"),
    ("NUL in an unknown header", body((A + "\r\nX: y\0", b"1")), "bad-form"),
    ("NUL in a header", body((field_head("a\x00b"), b"1")), "bad-form"),
    (
        "longer than its length",
        body((file_head("f", "x", "Content-Length: 2"), b"abc")),
        "bad-form",
    ),
    (
        "shorter than its length",
        body((file_head("f", "x", "Content-Length: 4"), b"abc")),
        "bad-form",
    ),
    (
        "not base64",
        body((file_head("f", "x", "Content-Transfer-Encoding: base64"), b"QQ!=")),
        "bad-form",
    ),
    (
        "base64 cut short",
        body((file_head("f", "x", "Content-Transfer-Encoding: base64"), b"QQ=")),
        "bad-form",
    ),
    (
        "not quoted-printable",
        body((file_head("f", "x", "Content-Transfer-Encoding: quoted-printable"), b"=4")),
        "bad-form",
    ),
    (
        "a form inside",
        body(
            (
                field_head("a", "Content-Type: multipart/mixed; boundary=C"),
                body((F, b"1"), boundary="C"),
            )
        ),
        "unsupported",
    ),
    (
        "unknown encoding",
        body((file_head("f", "x", "Content-Transfer-Encoding: zip"), b"1")),
        "unsupported",
    ),
]


@pytest.mark.parametrize(("raw", "code"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_form_is_refused_alike_in_every_cutting(raw: bytes, code: str) -> None:
    """One body has one error code, wherever it is cut."""
    for cutting in cuttings(raw):
        assert outcome(cutting.pieces) == Outcome([], code), cutting.name


def test_a_chunk_that_is_all_payload_is_not_copied() -> None:
    """PartData has the same object that was fed."""
    decoder = FormDecoder(TYPE)
    decoder.feed(b"--B\r\n" + F.encode() + b"\r\n\r\n")
    chunk = bytes(range(256)) * 1024

    (event,) = decoder.feed(chunk)

    assert isinstance(event, PartData)
    assert event.data is chunk


def test_events_come_as_soon_as_they_are_certain() -> None:
    """A part begins with its last header line and ends with the boundary behind it, not later."""
    decoder = FormDecoder(TYPE)

    assert decoder.feed(b"--B\r\n" + F.encode() + b"\r\n\r") == []
    assert decoder.feed(b"\n") == [PartBegan("f", "x.bin", OCTETS)]
    assert decoder.feed(b"abc\r") == [PartData(b"abc")]
    assert decoder.feed(b"d") == [PartData(b"\rd")]
    assert decoder.feed(b"\r\n--B\r") == []
    assert decoder.feed(b"\n") == [PartEnded()]
    assert decoder.feed(F.encode() + b"\r\n\r\n\r\n--B--") == [
        PartBegan("f", "x.bin", OCTETS),
        PartEnded(),
        FormEnded(),
    ]
    assert decoder.feed(b"\r\n") == []
    assert decoder.close() == []


def test_an_error_is_raised_again() -> None:
    """feed and close raise the error again."""
    decoder = FormDecoder(TYPE)
    with pytest.raises(BadForm) as first:
        decoder.feed(b"--BAD\r\n")
    with pytest.raises(BadForm) as second:
        decoder.feed(b"")
    with pytest.raises(BadForm) as third:
        decoder.close()
    assert first.value is second.value is third.value

    decoder = FormDecoder(TYPE)
    with pytest.raises(BadForm):
        decoder.feed(body(("Content-Type: text/plain", b"")))
    with pytest.raises(BadForm):
        decoder.close()

    decoder = FormDecoder(TYPE)
    with pytest.raises(BodyCut):
        decoder.close(maybe_cut=True)
    with pytest.raises(BodyCut):
        decoder.feed(body((A, b"1")))


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", "before its first part"),
        (b"--B\r\n" + A.encode() + b"\r\n\r\n1", "inside a part"),
        (body((A, b"1"))[:-4] + b"\r\n", "between two parts"),
    ],
)
def test_the_error_of_a_form_without_its_end_says_where_it_ended(raw: bytes, where: str) -> None:
    """How far it came, and that the closing delimiter is missing; BodyCut where it may be cut."""
    for maybe_cut, error in [(False, BadForm), (True, BodyCut)]:
        decoder = FormDecoder(TYPE)
        decoder.feed(raw)
        with pytest.raises(error, match=where) as refused:
            decoder.close(maybe_cut=maybe_cut)
        assert ("closing delimiter" in refused.value.detail) == (not maybe_cut)


def _decode(raw: bytes) -> None:
    decoder = FormDecoder(TYPE)
    decoder.feed(raw)
    decoder.close()


def test_every_refusal_says_what_to_do() -> None:
    """The texts are our own sentences, not those of a library."""
    for _, raw, _ in BAD:
        with pytest.raises(SluiceError) as refused:
            _decode(raw)
        assert "segment" not in refused.value.detail
        assert any(word in refused.value.detail for word in (";", "must", "needs")), (
            refused.value.detail
        )
