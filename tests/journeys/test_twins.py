"""One form, two ways: what a server says of it is what a gateway in front of the same server says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from fix_ways import Way
from raw_http import BOUNDARY

EXAMPLES = 60  # each is two requests
EDGE = 64 << 10  # bytes a gateway gathers before it says a length that is not certain

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
    lines = [
        f'Content-Disposition: form-data; name="{draw(st.sampled_from(["f", "title", "ä"]))}"{given_name}'
    ]
    kind = draw(types) if is_file else ""
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [line] if (line := draw(st.one_of(st.just(""), st.just(""), heads))) else []
    return "\r\n".join([*lines, "", ""]).encode() + draw(data)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Fields, then at most one file: the one form of which every gateway knows the length."""
    parts = draw(st.lists(part(is_file=False), max_size=3)) + draw(
        st.lists(part(is_file=True), max_size=1)
    )
    front = draw(st.sampled_from([b"", b"", b"\r\n", b"lost"]))
    end = draw(st.sampled_from([b"--\r\n", b"--\r\n", b"--", b"\r\n", b""]))
    between = f"--{BOUNDARY}\r\n".encode()
    return (
        front + b"".join(between + one + b"\r\n" for one in parts) + f"--{BOUNDARY}".encode() + end
    )


def said(way: Way, body: bytes) -> tuple[int, Any]:
    """The status, and of the answer what does not depend on where and when it was given."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer = requests.post(
        f"{way.url}/files", data=body, headers={"Content-Type": kind}, timeout=20
    )
    told = answer.json()
    if "files" not in told:
        return answer.status_code, told["code"]
    files = [
        {name: entry[name] for name in ("filename", "size", "sha-256", "type")}
        for entry in told["files"]
    ]
    return answer.status_code, (files, told["fields"])


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
@given(body=forms())
def test_a_form_and_its_gateway_twin_are_answered_alike(
    ways: Mapping[str, Way], body: bytes
) -> None:
    """Status, code, files and fields agree, for forms that are right and forms that are not."""
    assert said(ways["alone"], body) == said(ways["gateway"], body)


@settings(max_examples=EXAMPLES // 2, deadline=None, database=None, derandomize=True)
@given(body=forms())
def test_a_mounted_service_is_a_twin_as_well(ways: Mapping[str, Way], body: bytes) -> None:
    """Inside a Flask app the same form gets the same answer."""
    assert said(ways["alone"], body) == said(ways["mounted"], body)
