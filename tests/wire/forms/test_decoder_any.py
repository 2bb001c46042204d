"""Any bytes have one outcome in every cutting; sizes and digests of parts follow from the form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadForm
from sluiceway.testing.splits import cut_at_random
from sluiceway.wire.forms.decoder import FormDecoder, PartBegan
from wire.forms.outcomes import TYPE, Part, body, field_head, file_head, outcome

OCTETS = "application/octet-stream"
A = field_head("a")
F = file_head("f", "x.bin")


def file(data: bytes, filename: str = "x.bin", type: str = OCTETS) -> Part:
    return Part("f", filename, type, data)


@pytest.mark.parametrize(("length", "word"), [(2, "longer"), (4, "shorter")])
def test_a_part_with_a_wrong_length_is_refused_with_the_reason(length: int, word: str) -> None:
    """One byte is enough, and a part that is too long is refused before it ends."""
    decoder = FormDecoder(TYPE)
    decoder.feed(
        b"--B\r\n" + file_head("f", "x", f"Content-Length: {length}").encode() + b"\r\n\r\n"
    )
    with pytest.raises(BadForm, match=word):
        decoder.feed(b"abc" if word == "longer" else b"abc\r\n--B--")


FRAGMENTS = [
    b"--B \r\n",
    b"\t",
    b"; filename*0=x",
    b"; filename*1*=y",
    b"Content-Type: image/png\r\n",
    b'"',
    b"--B",
    b"\r\n--B",
    b"\r\n--B--",
    b"\r\n--B\r\n",
    b"--",
    b"\r\n",
    b"\r",
    b"\n",
    b"-",
    b"x",
    b" ",
    b"\0",
    b"=",
    b"==",
    b"QQ==",
    b"QUJD",
    b"=41",
    b"=\r\n",
    b"yyyyyyyyyy",
    b"\r\n\r\n",
    A.encode() + b"\r\n",
    F.encode() + b"\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"X: yyyyyyyyyyyyyyyyyyyy\r\n",
    b"Content-Type: multipart/mixed\r\n",
]


SHREDS = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join)
PARTS = st.lists(
    st.tuples(
        st.sampled_from([A, F]),
        st.lists(st.sampled_from(FRAGMENTS[28:]), max_size=2, unique=True).map(b"".join),
        SHREDS,
    ),
    max_size=4,
)


@st.composite
def broken_forms(draw: st.DrawFn) -> bytes:
    """Forms that are nearly right: built, then cut short, or with something thrown in."""
    raw = draw(st.sampled_from([b"", b"", b"\r\n", b"text\r\n"]))
    for head, more, payload in draw(PARTS):
        raw += b"--B\r\n%s\r\n%s\r\n%s\r\n" % (head.encode(), more, payload)
    raw += b"--B--" + draw(st.sampled_from([b"", b"\r\n", b"x"]))
    at = draw(st.integers(0, len(raw)))
    return draw(
        st.sampled_from(
            [raw, raw, raw[:at], raw[:at] + draw(st.sampled_from(FRAGMENTS)) + raw[at:]]
        )
    )


@given(
    SHREDS | broken_forms() | st.binary(max_size=80).map(b"--B\r\n".__add__),
    st.integers(0, 1 << 32),
)
def test_any_bytes_have_one_outcome_in_every_cutting(raw: bytes, seed: int) -> None:
    """Only a SluiceError is ever raised, and the cuts never matter."""
    whole = outcome([raw])

    assert outcome(raw[at : at + 1] for at in range(len(raw))) == whole
    assert outcome(cut_at_random(raw, seed).pieces) == whole


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
@pytest.mark.parametrize("preamble", [b"", b" \r\n"])
def test_the_size_of_a_last_file_follows_from_the_form_s(step: int, preamble: bytes) -> None:
    """Content-Length minus the bytes around the file: known before its first byte."""
    head = preamble + (
        b'--X\r\nContent-Disposition: form-data; name="id"\r\n\r\n42\r\n'
        b'--X\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
    )
    body = head + b"hello" * 7 + b"\r\n--X--\r\n"
    decoder = FormDecoder("multipart/form-data; boundary=X")
    files = []
    for at in range(0, len(body), step):
        files += [
            e
            for e in decoder.feed(body[at : at + step])
            if isinstance(e, PartBegan) and e.filename is not None
        ]
    assert [file.at for file in files] == [len(head)]
    assert decoder.size_if_last(files[0], len(body)) == 35
    assert decoder.size_if_last(files[0], None) is None
    assert decoder.size_if_last(files[0], len(head)) is None  # the form has a wrong length


def test_the_size_of_an_encoded_file_is_not_guessed() -> None:
    """base64 shrinks when it is decoded, by a length that is known only at the end."""
    decoder = FormDecoder("multipart/form-data; boundary=X")
    head = (
        b"--X\r\nContent-Disposition: form-data; name=f; filename=a\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
    )
    [began] = decoder.feed(head)
    assert isinstance(began, PartBegan)
    assert decoder.size_if_last(began, 1000) is None


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("value", "error"),
    [("CY9rzUYh03PK3k6DJie09g==", ""), ("AAAAAAAAAAAAAAAAAAAAAA==", "digest-mismatch")],
)
@pytest.mark.parametrize("head", [A, F])
def test_a_part_is_checked_by_the_digest_in_its_head(
    head: str, value: str, error: str, step: int
) -> None:
    """In every decoder: a server, and the live forms of Flask, Django and Starlette."""
    whole = body((f"{head}\r\nContent-MD5: {value}", b"test"))

    assert outcome([whole[at : at + step] for at in range(0, len(whole), step)]).error == error
