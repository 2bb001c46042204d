"""What real senders write, re-created by hand: browsers, curl, requests, .NET, and some history."""

from __future__ import annotations

import pytest

from sluiceway.testing.splits import cuttings
from wire.forms.outcomes import Outcome, Part, outcome

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
OCTETS = "application/octet-stream"


def lines(*parts: bytes | str) -> bytes:
    """Lines joined with CRLF, as they stand on the wire."""
    return b"\r\n".join(part.encode() if isinstance(part, str) else part for part in parts)


SENDERS: list[tuple[str, str, bytes, list[Part]]] = [
    (
        "Chromium",
        "multipart/form-data; boundary=----WebKitFormBoundaryjd1lfAaVVxHbAcJx",
        lines(
            "------WebKitFormBoundaryjd1lfAaVVxHbAcJx",
            'Content-Disposition: form-data; name="note"',
            "",
            "two\r\nlines",
            "------WebKitFormBoundaryjd1lfAaVVxHbAcJx",
            'Content-Disposition: form-data; name="files"; filename="grün & %22quoted%22.png"',
            "Content-Type: image/png",
            "",
            PNG,
            "------WebKitFormBoundaryjd1lfAaVVxHbAcJx",
            'Content-Disposition: form-data; name="empty"; filename=""',
            "Content-Type: application/octet-stream",
            "",
            "",
            "------WebKitFormBoundaryjd1lfAaVVxHbAcJx--",
            "",
        ),
        [
            Part("note", None, "text/plain", b"two\r\nlines"),
            Part("files", 'grün & "quoted".png', "image/png", PNG),
            Part("empty", "", OCTETS, b""),
        ],
    ),
    (
        "Firefox",
        "multipart/form-data; boundary=----geckoformboundary2f4c1a9bd0e7c35586aa0b7c1e94d3f2",
        lines(
            "------geckoformboundary2f4c1a9bd0e7c35586aa0b7c1e94d3f2",
            'Content-Disposition: form-data; name="f[]"; filename="a\\b%0Ac.txt"',
            "Content-Type: text/plain",
            "",
            "",
            "------geckoformboundary2f4c1a9bd0e7c35586aa0b7c1e94d3f2",
            'Content-Disposition: form-data; name="f[]"; filename="2.mht"',
            "Content-Type: multipart/related",
            "",
            "From: <Saved>",
            "------geckoformboundary2f4c1a9bd0e7c35586aa0b7c1e94d3f2--",
            "",
        ),
        [
            Part("f[]", "a\\b\nc.txt", "text/plain", b""),
            Part("f[]", "2.mht", "multipart/related", b"From: <Saved>"),
        ],
    ),
    (
        "Firefox of old, with many dashes",
        "multipart/form-data; boundary=---------------------------18467633426500",
        lines(
            "-----------------------------18467633426500",
            'Content-Disposition: form-data; name="f"; filename="say \\"hi\\".txt"',
            "Content-Type: text/plain",
            "",
            "hi",
            "-----------------------------18467633426500--",
            "",
        ),
        [Part("f", 'say "hi".txt', "text/plain", b"hi")],
    ),
    (
        "Safari, non-ASCII field name",
        "multipart/form-data; boundary=----WebKitFormBoundary0",
        lines(
            "------WebKitFormBoundary0",
            'Content-Disposition: form-data; name="größe"; filename="e\u0301.heic"',
            "Content-Type: image/heic",
            "",
            b"\x00\x00\x00\x18ftyp",
            "------WebKitFormBoundary0--",
            "",
        ),
        [Part("größe", "e\u0301.heic", "image/heic", b"\x00\x00\x00\x18ftyp")],
    ),
    (
        "curl -F",
        "multipart/form-data; boundary=------------------------d74496d66958873e",
        lines(
            "--------------------------d74496d66958873e",
            'Content-Disposition: form-data; name="who"',
            "",
            "me",
            "--------------------------d74496d66958873e",
            'Content-Disposition: form-data; name="file"; filename="a%22b.bin"',
            "Content-Type: application/octet-stream",
            "",
            b"\r\n--------------------------d74496d66958873",
            "--------------------------d74496d66958873e--",
            "",
        ),
        [
            Part("who", None, "text/plain", b"me"),
            Part("file", 'a"b.bin', OCTETS, b"\r\n--------------------------d74496d66958873"),
        ],
    ),
    (
        "curl before 7.81, backslash escapes",
        "multipart/form-data; boundary=------------------------0a",
        lines(
            "--------------------------0a",
            'Content-Disposition: form-data; name="a\\"b"; filename="c:\\\\d\\"e.txt"',
            "Content-Type: text/plain",
            "",
            "x",
            "--------------------------0a--",
            "",
        ),
        [Part('a"b', 'c:\\d"e.txt', "text/plain", b"x")],
    ),
    (
        "curl -F 'f=@x;encoder=base64'",
        "multipart/form-data; boundary=------------------------0b",
        lines(
            "--------------------------0b",
            'Content-Disposition: form-data; name="f"; filename="x"',
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: base64",
            "",
            "iVBORw0K\r\nGgoA/w==",
            "--------------------------0b--",
            "",
        ),
        [Part("f", "x", OCTETS, PNG)],
    ),
    (
        "requests (urllib3)",
        "multipart/form-data; boundary=5f8c1cf1e1a24a4c8e9b6dfb0a1c2d3e",
        lines(
            "--5f8c1cf1e1a24a4c8e9b6dfb0a1c2d3e",
            'Content-Disposition: form-data; name="k"',
            "",
            "v",
            "--5f8c1cf1e1a24a4c8e9b6dfb0a1c2d3e",
            'Content-Disposition: form-data; name="file"; filename="naïve.txt"',
            "",
            "data",
            "--5f8c1cf1e1a24a4c8e9b6dfb0a1c2d3e--",
            "",
        ),
        [Part("k", None, "text/plain", b"v"), Part("file", "naïve.txt", OCTETS, b"data")],
    ),
    (
        "requests with urllib3 1.x: filename* alone",
        "multipart/form-data; boundary=5f",
        lines(
            "--5f",
            "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''na%C3%AFve.txt",
            "",
            "data",
            "--5f--",
            "",
        ),
        [Part("file", "naïve.txt", OCTETS, b"data")],
    ),
    (
        "aiohttp, with a length in each part",
        "multipart/form-data; boundary=9b0f1c",
        lines(
            "--9b0f1c",
            "Content-Type: text/plain; charset=utf-8",
            'Content-Disposition: form-data; name="k"',
            "Content-Length: 1",
            "",
            "v",
            "--9b0f1c--",
            "",
        ),
        [Part("k", None, "text/plain; charset=utf-8", b"v")],
    ),
    (
        ".NET HttpClient",
        'multipart/form-data; boundary="4c9c3a2e-0b0c-4f0e-9d3d-6f6f5a9f2b11"',
        lines(
            "--4c9c3a2e-0b0c-4f0e-9d3d-6f6f5a9f2b11",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Disposition: form-data; name=note",
            "",
            "hello",
            "--4c9c3a2e-0b0c-4f0e-9d3d-6f6f5a9f2b11",
            'Content-Disposition: form-data; name=file; filename="=?utf-8?B?R3LDtsOfZS50eHQ=?="; '
            "filename*=utf-8''Gr%C3%B6%C3%9Fe.txt",
            "",
            "x",
            "--4c9c3a2e-0b0c-4f0e-9d3d-6f6f5a9f2b11--",
            "",
        ),
        [
            Part("note", None, "text/plain; charset=utf-8", b"hello"),
            Part("file", "Größe.txt", OCTETS, b"x"),
        ],
    ),
    (
        "Internet Explorer, whole path",
        "multipart/form-data; boundary=---------------------------7d91b03a20128",
        lines(
            "-----------------------------7d91b03a20128",
            'Content-Disposition: form-data; name="file1"; '
            'filename="C:\\Python25\\wztest\\test.txt"',
            "Content-Type: application/x-python",
            "",
            "x\ny",
            "-----------------------------7d91b03a20128--",
            "",
        ),
        [Part("file1", "C:\\Python25\\wztest\\test.txt", "application/x-python", b"x\ny")],
    ),
]


@pytest.mark.parametrize(
    ("content_type", "raw", "parts"),
    [case[1:] for case in SENDERS],
    ids=[case[0] for case in SENDERS],
)
def test_forms_of_real_clients_are_read(content_type: str, raw: bytes, parts: list[Part]) -> None:
    """Names, types and bytes come out exactly, in every cutting."""
    for cutting in cuttings(raw):
        assert outcome(cutting.pieces, content_type) == Outcome(parts), cutting.name
