"""Every limit of a form, exactly at its edge and one over, in every cutting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import TooLarge
from sluiceway.testing.splits import cut_at_random, cuttings
from sluiceway.wire.forms.decoder import PART_COST, FormDecoder, FormLimits
from wire.forms.outcomes import TYPE, body, field_head, file_head, outcome

A = field_head("a")
F = file_head("f", "x")
LINE = len(A)  # bytes of A, without CRLF


def cost_of(*heads: str, fields: int = 0) -> int:
    """max_fields_bytes counts PART_COST and header lines for each part, and the fields' bytes."""
    return fields + sum(PART_COST + len(head) + 2 for head in heads)


EDGES: list[tuple[str, bytes, bytes, FormLimits]] = [
    ("max_parts", body(*[(A, b"1")] * 3), body(*[(A, b"1")] * 4), FormLimits(max_parts=3)),
    ("max_parts", body(*[(F, b"1")] * 3), body(*[(F, b"1")] * 4), FormLimits(max_parts=3)),
    ("max_parts", body(), body((A, b"")), FormLimits(max_parts=0)),
    (
        "max_headers",
        body((A + "\r\nX: y\r\nX: y", b"1")),
        body((A + "\r\nX: y\r\nX: y\r\nX: y", b"1")),
        FormLimits(max_headers=3),
    ),
    (
        "max_header_bytes",
        body((A, b"1")),
        body((field_head("aa"), b"1")),
        FormLimits(max_header_bytes=LINE),
    ),
    ("max_field_bytes", body((A, b"12345")), body((A, b"123456")), FormLimits(max_field_bytes=5)),
    ("max_field_bytes", body((A, b"")), body((A, b"1")), FormLimits(max_field_bytes=0)),
    (
        "max_field_bytes",
        body((A, b"\r\n--A\r")),
        body((A, b"\r\n--A\r\n")),
        FormLimits(max_field_bytes=6),
    ),
    (
        "max_field_bytes",
        body((field_head("a", "Content-Length: 5"), b"12345")),
        body((field_head("a", "Content-Length: 6"), b"123456")),
        FormLimits(max_field_bytes=5),
    ),
    (
        "max_fields_bytes",  # many fields, each far below its own limit (CVE-2025-69228)
        body((A, b"123"), (A, b"45")),
        body((A, b"123"), (A, b"456")),
        FormLimits(max_fields_bytes=cost_of(A, A, fields=5)),
    ),
    (
        "max_fields_bytes",  # names count (CVE-2022-41725)
        body((F, b"1" * 50)),
        body((file_head("f", "xx"), b"1" * 50)),
        FormLimits(max_fields_bytes=cost_of(F)),
    ),
    (
        "max_fields_bytes",  # and so does every part, were it empty
        body((F, b"1"), (F, b"2")),
        body((F, b"1"), (F, b"2"), (F, b"3")),
        FormLimits(max_fields_bytes=cost_of(F, F)),
    ),
]


@pytest.mark.parametrize(("name", "edge", "over", "limits"), EDGES)
def test_a_limit_holds_at_its_edge_and_breaks_one_over(
    name: str, edge: bytes, over: bytes, limits: FormLimits
) -> None:
    """TooLarge names the limit and its value; at the edge the form is good."""
    for cutting in cuttings(edge):
        assert outcome(cutting.pieces, limits=limits).error == "", cutting.name
    for cutting in cuttings(over):
        found = outcome(cutting.pieces, limits=limits)
        assert (found.error, found.limit_name) == ("too-large", name), cutting.name

    decoder = FormDecoder(TYPE, limits)
    with pytest.raises(TooLarge) as refused:
        decoder.feed(over)
    assert refused.value.members["limit"] == getattr(limits, name)
    assert str(getattr(limits, name)) in refused.value.detail


@pytest.mark.parametrize(
    ("edge", "over", "limits"),
    [
        (b" \r\n" + body((A, b"1")), b"  \r\n" + body((A, b"1")), FormLimits(max_preamble=3)),
        (b" " * 3, b" " * 4, FormLimits(max_preamble=3)),
        (body((A, b"1")) + b"x", body((A, b"1")) + b"xx", FormLimits(max_epilogue=3)),
        (b"--B--", b"--B--x", FormLimits(max_epilogue=0)),
    ],
)
def test_text_around_the_form_is_bounded(edge: bytes, over: bytes, limits: FormLimits) -> None:
    """White space in front and an epilogue are skipped up to their limits; then it is no form."""
    edge_error = "" if b"--B" in edge else "bad-form"
    for cutting in cuttings(edge):
        assert outcome(cutting.pieces, limits=limits).error == edge_error, cutting.name
    for cutting in cuttings(over):
        assert outcome(cutting.pieces, limits=limits).error == "bad-form", cutting.name


def test_files_are_not_limited_here() -> None:
    """The server and the store limit the size of a file."""
    limits = FormLimits(max_field_bytes=1, max_fields_bytes=cost_of(F))
    assert outcome([body((F, bytes(100_000)))], limits=limits).error == ""


def test_a_length_that_is_too_large_is_refused_before_the_bytes() -> None:
    """A field that announces too many bytes is refused at its headers."""
    decoder = FormDecoder(TYPE)
    head = field_head("a", f"Content-Length: {FormLimits().max_field_bytes + 1}")
    with pytest.raises(TooLarge):
        decoder.feed(b"--B\r\n" + head.encode() + b"\r\n\r\n")


def test_encoded_fields_count_as_sent() -> None:
    """White space between base64 characters is not free in a field."""
    head = field_head("a", "Content-Transfer-Encoding: base64")
    limits = FormLimits(max_field_bytes=6)
    assert outcome([body((head, b"QQ==\r\n"))], limits=limits).error == ""
    assert outcome([body((head, b"QQ==\r\n "))], limits=limits).limit_name == "max_field_bytes"


def test_the_first_fault_in_the_body_is_the_one_reported() -> None:
    """Byte by byte the limit breaks first, so it does in one chunk."""
    head = field_head("a", "Content-Transfer-Encoding: base64")
    for cutting in cuttings(body((head, b"QUJD!!!!"))):
        assert (
            outcome(cutting.pieces, limits=FormLimits(max_field_bytes=4)).limit_name
            == "max_field_bytes"
        ), cutting.name
        assert outcome(cutting.pieces, limits=FormLimits(max_field_bytes=5)).error == "bad-form", (
            cutting.name
        )


def test_the_defaults_are_what_the_reference_says() -> None:
    """A thousand parts, a mebibyte a field, four for all."""
    limits = FormLimits()
    assert (limits.max_parts, limits.max_field_bytes, limits.max_fields_bytes) == (
        1000,
        1 << 20,
        4 << 20,
    )
    assert outcome([body(*[(A, b"1")] * 1000)]).error == ""
    assert outcome([body(*[(A, b"1")] * 1001)]).limit_name == "max_parts"


SMALL = st.builds(
    replace,
    st.just(FormLimits()),
    max_parts=st.sampled_from([1, 3, 100]),
    max_headers=st.sampled_from([1, 2, 16]),
    max_header_bytes=st.sampled_from([20, LINE, LINE + 1, len(F), 1000]),
    max_field_bytes=st.sampled_from([0, 3, 5, 1000]),
    max_fields_bytes=st.sampled_from([cost_of(A), cost_of(A, A, fields=4), 10_000]),
    max_preamble=st.sampled_from([0, 3, 100]),
    max_epilogue=st.sampled_from([0, 2, 100]),
)
PIECES = st.sampled_from(
    [
        b"--B\r\n",
        b"\r\n--B\r\n",
        b"\r\n--B--",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        A.encode(),
        F.encode(),
        b"xxxx",
        b"\n" * 9,
    ]
    + [b"y" * n for n in (20, LINE, LINE + 1, LINE + 2)]
    + [
        b"\r\nContent-Length: 4",
        b"\r\nContent-Transfer-Encoding: base64",
        b"QQ==",
        b"!",
        b"X: " + b"y" * 18 + b"\n",
    ]
)


@given(
    st.lists(PIECES, max_size=14).map(b"".join).map(b"--B\r\n".__add__),
    SMALL,
    st.integers(0, 1 << 32),
)
def test_which_limit_breaks_first_does_not_depend_on_the_cuts(
    raw: bytes, limits: FormLimits, seed: int
) -> None:
    """Of several faults, the first one in the body is reported."""
    whole = outcome([raw], limits=limits)

    assert outcome((raw[at : at + 1] for at in range(len(raw))), limits=limits) == whole
    assert outcome(cut_at_random(raw, seed).pieces, limits=limits) == whole
