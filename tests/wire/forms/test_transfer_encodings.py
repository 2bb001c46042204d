"""base64 and quoted-printable are decoded in every cutting, in linear time, or refused."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadForm
from sluiceway.testing.splits import cuttings
from sluiceway.wire.forms.transfer_encodings import (
    Base64Decoder,
    QuotedPrintableDecoder,
    TransferDecoder,
)
from wire.forms.costs import assert_linear, peak_memory

BASE64 = [
    (b"", b""),
    (b"QQ==", b"A"),
    (b"QUI=", b"AB"),
    (b"QUJD", b"ABC"),
    (b"QUJDRA==\r\n", b"ABCD"),
    (b" Q\r\nU J\tD ", b"ABC"),
    (b"QQ=\r\n=", b"A"),
    (b"+/+/", b"\xfb\xff\xbf"),
]
NOT_BASE64 = [
    b"Q",
    b"QQ",
    b"QQ=",
    b"QUJ",
    b"=",
    b"Q===",
    b"====",
    b"QQ==QQ==",
    b"QQ==x",
    b"QQ=Q",
    b"Q!==",
    b"QUJD=",
    b"\xff",
    b"-_-_",
]

QUOTED = [
    (b"", b""),
    (b"plain text", b"plain text"),
    (b"a=3Db", b"a=b"),
    (b"=00=ff=FF=0d=0a", b"\x00\xff\xff\r\n"),
    (b"one=\r\ntwo=\nthree", b"onetwothree"),
    (b"line\r\nline  \r\n", b"line\r\nline  \r\n"),
    (b"_\xe9\r_\n", b"_\xe9\r_\n"),
    (b"=3D=\r\n=3D", b"=="),
    (b"=3D41", b"=41"),
]
NOT_QUOTED = [b"=", b"a=4", b"=G0", b"=0G", b"==", b"= \r\n", b"=\r", b"=\rx", b"=\r=41", b"=4=41"]


def decoded(decoder: TransferDecoder, pieces: Iterable[bytes]) -> bytes | None:
    try:
        return b"".join([*[decoder.feed(piece) for piece in pieces], decoder.close()])
    except BadForm:
        return None


@pytest.mark.parametrize(("text", "expected"), [*BASE64, *((text, None) for text in NOT_BASE64)])
def test_base64_is_decoded_or_refused_in_every_cutting(text: bytes, expected: bytes | None) -> None:
    """White space anywhere; one padded group at the end; nothing else."""
    for cutting in cuttings(text):
        assert decoded(Base64Decoder(), cutting.pieces) == expected, cutting.name


@pytest.mark.parametrize(("text", "expected"), [*QUOTED, *((text, None) for text in NOT_QUOTED)])
def test_quoted_printable_is_decoded_or_refused_in_every_cutting(
    text: bytes, expected: bytes | None
) -> None:
    """Codes and soft line breaks; the rest is unchanged."""
    for cutting in cuttings(text):
        assert decoded(QuotedPrintableDecoder(), cutting.pieces) == expected, cutting.name


def test_bytes_behind_the_padding_are_refused_at_once() -> None:
    """Not only at the end of the part: whole and byte by byte, the same feed raises."""
    for more in (b"=", b"Q", b"QQ=="):
        with pytest.raises(BadForm):
            Base64Decoder().feed(b"QQ==" + more)


@given(st.binary(max_size=200))
def test_python_s_encodings_are_decoded(data: bytes) -> None:
    """Both decoders against the standard library's encoders, in every cutting."""
    for cutting in cuttings(base64.encodebytes(data), seeds=2):
        assert decoded(Base64Decoder(), cutting.pieces) == data
    for cutting in cuttings(quopri.encodestring(data), seeds=2):
        assert decoded(QuotedPrintableDecoder(), cutting.pieces) == data


@given(st.binary(max_size=12) | st.text(alphabet="QUA=+ \r\n4dDgG!", max_size=16).map(str.encode))
def test_any_bytes_have_one_outcome_in_every_cutting(text: bytes) -> None:
    """A fault is found exactly with its last byte."""
    for make in (Base64Decoder, QuotedPrintableDecoder):
        prefixes = [_fails(make, text[:end]) for end in range(len(text) + 1)]
        assert prefixes == sorted(prefixes), "a prefix failed that a longer one forgives"
        outcomes = {decoded(make(), cutting.pieces) for cutting in cuttings(text)}
        assert len(outcomes) == 1
        for cutting in cuttings(text):
            fed = 0
            decoder = make()
            try:
                for piece in cutting.pieces:
                    fed += len(piece)
                    decoder.feed(piece)
                    assert not prefixes[fed]
            except BadForm:
                assert prefixes[fed]


def _fails(make: Callable[[], TransferDecoder], prefix: bytes) -> bool:
    decoder = make()
    try:
        for at in range(len(prefix)):
            decoder.feed(prefix[at : at + 1])
    except BadForm:
        return True
    return False


FLOODS: list[tuple[Callable[[], TransferDecoder], bytes]] = [
    (Base64Decoder, b" \r\n\t"),  # CVE-2026-33033: 20 MB of white space cost a minute
    (Base64Decoder, b"Q U\r\n"),
    (QuotedPrintableDecoder, b"    "),
    (QuotedPrintableDecoder, b"=\r\n"),
    (QuotedPrintableDecoder, b"=41"),
]


@pytest.mark.parametrize(("make", "unit"), FLOODS)
def test_a_flood_costs_linear_time_and_no_memory(
    make: Callable[[], TransferDecoder], unit: bytes
) -> None:
    """Fed in odd pieces; the bytes held back never grow."""
    text = unit * 8192

    def flood(pieces: int) -> None:
        decoder = make()
        for number in range(pieces):
            start = number * 8191 % len(unit)  # goes on where the last piece ended
            decoder.feed(text[start : start + 8191])

    assert_linear(flood, 40)
    assert peak_memory(lambda: flood(200)) < 100_000
