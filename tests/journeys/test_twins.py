"""A server, and a gateway in front of the same server, answer one form alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from fix_ways import Way
from raw_http import BOUNDARY

EXAMPLES = 60  # each is two requests
EDGE = 64 << 10  # bytes a gateway buffers before it sends an uncertain length

names = st.sampled_from(
    [
        "a.txt",
        "ü b.pdf",
        "../../x",
        "C:\\x\\y.png",
        "CON",
        ".hidden",
        "no extension",
        "",
        "a/b/c.txt",
        "x" * 300,
    ]
)
types = st.sampled_from(
    [
        "",
        "text/plain",
        "text/csv; charset=windows-1252",
        "image/png",
        "image/*",
        "*/*",
        "application/octet-stream",
        "nonsense",
    ]
)
data = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([0, 1, EDGE - 1, EDGE, EDGE + 1]).map(lambda size: b"\r\n-" * (size // 3)),
)
heads = st.sampled_from(
    [
        "",
        "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==",
        "Digest: unixsum=1",
        "Content-Transfer-Encoding: base64",
    ]
)


@st.composite
def part(draw: st.DrawFn, *, is_file: bool) -> bytes:
    given_name = f'; filename="{draw(names)}"' if is_file else ""
    field = draw(st.sampled_from(["f", "title", "ä"]))
    lines = [f'Content-Disposition: form-data; name="{field}"{given_name}']
    kind = draw(types) if is_file else ""
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [line] if (line := draw(st.one_of(st.just(""), st.just(""), heads))) else []
    return "\r\n".join([*lines, "", ""]).encode() + draw(data)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Fields, then at most one file: every gateway knows the length of such a form."""
    parts = draw(st.lists(part(is_file=False), max_size=3)) + draw(
        st.lists(part(is_file=True), max_size=1)
    )
    front = draw(st.sampled_from([b"", b"", b"\r\n", b"lost"]))
    end = draw(st.sampled_from([b"--\r\n", b"--\r\n", b"--", b"\r\n", b""]))
    between = f"--{BOUNDARY}\r\n".encode()
    return (
        front + b"".join(between + one + b"\r\n" for one in parts) + f"--{BOUNDARY}".encode() + end
    )


def result_of(way: Way, body: bytes) -> tuple[int, Any]:
    """The status, and the members of the response that do not depend on place and time."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    response = requests.post(
        f"{way.url}/files", data=body, headers={"Content-Type": kind}, timeout=20
    )
    result = response.json()
    if "files" not in result:
        return response.status_code, result["code"]
    files = [
        {name: entry[name] for name in ("filename", "size", "sha-256", "type")}
        for entry in result["files"]
    ]
    return response.status_code, (files, result["fields"])


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
@given(body=forms())
def test_a_server_and_a_gateway_answer_a_form_alike(ways: Mapping[str, Way], body: bytes) -> None:
    """Status, code, files and fields agree, for valid and for invalid forms."""
    assert result_of(ways["alone"], body) == result_of(ways["gateway"], body)


@settings(max_examples=EXAMPLES // 2, deadline=None, database=None, derandomize=True)
@given(body=forms())
def test_a_mounted_service_answers_a_form_alike(ways: Mapping[str, Way], body: bytes) -> None:
    """The service inside a Flask app gives the same response to the same form."""
    assert result_of(ways["alone"], body) == result_of(ways["mounted"], body)
