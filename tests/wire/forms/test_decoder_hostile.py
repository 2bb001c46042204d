"""Expensive bodies: refused early, or decoded in linear time and constant memory.

Named after the programs that they hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sluiceway.errors import BadForm, SluiceError, TooLarge
from sluiceway.wire.forms.decoder import FormDecoder, FormLimits, PartBegan, PartData
from wire.forms.costs import assert_linear, peak_memory
from wire.forms.outcomes import TYPE, body, field_head, file_head

PIECE = 1 << 16
FILE = b"--B\r\n" + file_head("f", "x").encode() + b"\r\n\r\n"


def repeated(unit: bytes, pieces: int, size: int = PIECE) -> Iterator[bytes]:
    """An endless stream of `unit`, cut into `pieces` pieces of `size` bytes, wherever that cuts
    it."""
    text = unit * (size // len(unit) + 2)
    for number in range(pieces):
        start = number * size % len(unit)
        yield text[start : start + size]


def refused(start: bytes, unit: bytes, content_type: str = TYPE) -> tuple[SluiceError, int]:
    """The error of `start` and endless `unit`, and its bytes; fails when it takes 64 MiB."""
    decoder = FormDecoder(content_type)
    fed = 0
    try:
        decoder.feed(start)
        for piece in repeated(unit, 1024):
            fed += len(piece)
            decoder.feed(piece)
    except SluiceError as error:
        return error, fed
    raise AssertionError("64 MiB of this were taken")


ENDLESS: list[tuple[str, bytes, bytes, type[SluiceError]]] = [
    ("a preamble (CVE-2026-40347)", b"", b"x", BadForm),
    ("white space behind a boundary", b"--B", b" ", BadForm),
    ("parts without bytes", b"", b"--B\r\n" + field_head("").encode() + b"\r\n\r\n", TooLarge),
    ("a preamble of line ends (CVE-2024-53981)", b"", b"\r\n", BadForm),
    ("a preamble of almost boundaries", b"", b"\r\n--A", BadForm),
    ("an epilogue (CVE-2026-40347)", b"--B--", b"\r\n", BadForm),
    ("an epilogue of boundaries", b"--B--", b"\r\n--B--", BadForm),
    ("one header line", b"--B\r\nX: ", b"y", TooLarge),
    ("one header name", b"--B\r\n", b"y", TooLarge),
    ("header lines (CVE-2026-34516)", b"--B\r\n", b"X: y\r\n", TooLarge),
    ("bad header lines (CVE-2025-47287)", b"--B\r\n", b"\x00\r\n", BadForm),
    (
        "tiny parts (CVE-2023-25577)",
        b"",
        b"--B\r\n" + file_head("f", "x").encode() + b"\r\n\r\nx\r\n",
        TooLarge,
    ),
    (
        "empty fields (CVE-2023-30798)",
        b"",
        b"--B\r\n" + field_head("").encode() + b"\r\n\r\n\r\n",
        TooLarge,
    ),
    (
        "one field (CVE-2024-47874)",
        b"--B\r\n" + field_head("a").encode() + b"\r\n\r\n",
        b"x",
        TooLarge,
    ),
    (
        "fields below their own limit (CVE-2025-69228)",
        b"",
        b"--B\r\n" + field_head("a").encode() + b"\r\n\r\n" + b"x" * 1_000_000 + b"\r\n",
        TooLarge,
    ),
    (
        "large headers in every part (CVE-2025-48976)",
        b"",
        b"--B\r\n" + file_head("f", "x" * 8000).encode() + b"\r\n\r\n\r\n",
        TooLarge,
    ),
    (
        "escapes in every part (CVE-2026-34827)",
        b"",
        b"--B\r\n" + field_head("a\\a" * 2000).encode() + b"\r\n\r\n\r\n",
        TooLarge,
    ),
    (
        "forms in forms",
        b"",
        b"--B\r\n"
        + field_head("a", "Content-Type: multipart/mixed; boundary=B").encode()
        + b"\r\n\r\n",
        SluiceError,
    ),
]


@pytest.mark.parametrize(
    ("start", "unit", "error"), [case[1:] for case in ENDLESS], ids=[case[0] for case in ENDLESS]
)
def test_an_endless_body_is_refused_within_its_limit(
    start: bytes, unit: bytes, error: type[SluiceError]
) -> None:
    """Early, and with no more memory than the limits allow."""
    found: list[tuple[SluiceError, int]] = []

    peak = peak_memory(lambda: found.append(refused(start, unit)))

    assert isinstance(found[0][0], error)
    assert found[0][1] <= FormLimits().max_fields_bytes + (len(unit) + PIECE) * 2
    assert peak < (1 << 20) + 6 * len(unit) + 4 * PIECE


FLOODS = [
    ("random-looking bytes", b"0123456789abcdefghijklmnopqrstuvwxyz"),
    ("CR", b"\r"),
    ("LF", b"\n"),
    ("CRLF", b"\r\n"),
    ("CRLF and a dash", b"\r\n-"),
    ("almost the boundary", b"\r\n--A"),
    ("the boundary without its CR", b"\n--B"),
    ("the boundary without its LF", b"\r--B"),
    ("CR and much else (CVE-2023-46136)", b"\r" + b"A" * 65_000),
]


@pytest.mark.parametrize("unit", [unit for _, unit in FLOODS], ids=[name for name, _ in FLOODS])
@pytest.mark.parametrize("size", [PIECE, 4093, 7])
def test_floods_inside_a_file_cost_linear_time_and_no_memory(unit: bytes, size: int) -> None:
    """The bytes of a file are decoded exactly, at a constant cost, whatever they are."""

    def flood(pieces: int) -> int:
        decoder = FormDecoder(TYPE)
        decoder.feed(FILE)
        out = 0
        for piece in repeated(unit, pieces, size):
            for event in decoder.feed(piece):
                if isinstance(event, PartData):
                    out += len(event.data)
        return out

    pieces = max(8, 40_000 // size) if size > 7 else 4000
    assert pieces * size - len(b"\r\n--B") <= flood(pieces) <= pieces * size
    assert_linear(flood, pieces)
    assert peak_memory(lambda: flood(pieces)) < 6 * PIECE


@pytest.mark.parametrize("length", [1, 2, 69, 70])
def test_every_length_of_the_boundary_is_fast(length: int) -> None:
    """CVE-2016-3092: a boundary just shorter than a buffer made a parser crawl; here around every
    piece size."""
    content_type = f"multipart/form-data; boundary={'b' * length}"
    start = FILE.replace(b"--B", b"--" + b"b" * length)

    def flood(pieces: int) -> None:
        for size in range(max(1, length - 4), length + 9):
            decoder = FormDecoder(content_type)
            decoder.feed(start)
            for piece in repeated(b"\r\n--" + b"b" * (length - 1), pieces, size):
                decoder.feed(piece)

    assert_linear(flood, 100)


TRICKLES: list[tuple[str, bytes, Callable[[int], bytes]]] = [
    # a line is searched again with each byte: a cost that max_header_bytes bounds, so lines are
    # what grows
    ("long header lines", b"--B\r\n", lambda n: (b"X: " + b"y" * 995 + b"\r\n") * (n // 1000)),
    ("header lines", b"--B\r\n", lambda n: b"X: yyyyy\r\n" * (n // 10)),
    ("a file", FILE, lambda n: b"\r\n--" * (n // 4)),
    ("an epilogue", b"--B--", lambda n: b"x" * n),
]


@pytest.mark.parametrize(
    ("start", "make"), [case[1:] for case in TRICKLES], ids=[case[0] for case in TRICKLES]
)
def test_a_byte_at_a_time_costs_linear_time(start: bytes, make: Callable[[int], bytes]) -> None:
    """No byte is searched twice, however slowly it arrives."""
    limits = FormLimits(
        max_preamble=1 << 20, max_epilogue=1 << 20, max_header_bytes=1 << 20, max_headers=1 << 20
    )

    def trickle(size: int) -> None:
        decoder = FormDecoder(TYPE, limits)
        decoder.feed(start)
        text = make(size)
        for at in range(len(text)):
            decoder.feed(text[at : at + 1])

    assert_linear(trickle, 4_000)


def test_hostile_names_arrive_as_they_are() -> None:
    """Names are data here; clean_name makes them safe."""
    raw = body((file_head("a[b][c]" * 500, "../../x"), b""), (file_head("", "NUL"), b""))

    began = [event for event in FormDecoder(TYPE).feed(raw) if isinstance(event, PartBegan)]

    assert [(event.name, event.filename) for event in began] == [
        ("a[b][c]" * 500, "../../x"),
        ("", "NUL"),
    ]
