"""The refusal of a slightly wrong request names the right path and method."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from fix_taking import need
from fix_ways import NAMES, Way

PUTS, POSTS = "/files/NAME", "/files"


def ask(way: Way, method: str, path: str) -> requests.Response:
    return requests.request(
        method,
        way.url + path,
        data=b"x" if method in ("PUT", "POST", "PATCH") else None,
        timeout=10,
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "named"),
    [
        ("PUT", "/files", 405, [PUTS, "POST", "curl -T"]),
        ("PATCH", "/files", 405, [PUTS, POSTS]),
        ("DELETE", "/files", 405, [PUTS]),
        ("PUT", "/files/", 400, [PUTS]),
        ("GET", "/files/", 404, [POSTS, PUTS]),
        ("DELETE", "/files/", 404, [PUTS]),
        ("POST", "/files/a.txt", 405, ["PUT", POSTS]),
        ("PATCH", "/files/a.txt", 405, ["PUT"]),
        ("POST", "/", 405, [PUTS, POSTS]),
        ("PUT", "/", 405, [PUTS, POSTS]),
        ("PUT", "/a.txt", 404, [PUTS]),
        ("POST", "/upload", 404, [POSTS]),
        ("POST", "/uploads", 405, [POSTS]),
        ("POST", "/file", 404, [POSTS]),
        ("GET", "/file/a.txt", 404, [PUTS]),
        ("DELETE", "/a.txt", 404, [PUTS]),
        ("POST", "/uploads/abc", 405, [POSTS, "GET"]),
        ("PATCH", "/uploads/abc", 415, ["Upload-Offset", PUTS]),
        ("POST", "/fetch", 405, [POSTS, '"url"']),
        ("POST", "/page/sluice.js", 405, [POSTS]),
        ("PUT", "/healthz", 405, [PUTS]),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_right_way_is_named(
    ways: Mapping[str, Way], name: str, method: str, path: str, status: int, named: list[str]
) -> None:
    """With the prefix of the mounted service; nothing is stored."""
    way = ways[name]
    before = way.stored()
    response = ask(way, method, path)

    result = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    )
    for words in named:
        expected = words.replace("/files", f"{way.prefix}/files") if status != 400 else words
        assert expected in result["detail"]
    assert ("Allow" in response.headers) is (status == 405)
    assert way.stored() == before


def test_the_lines_people_type(ways: Mapping[str, Way], tmp_path: Path) -> None:
    """curl -T f /files: the error text is the command that works. curl -F to /files/ works."""
    need("curl")
    (tmp_path / "f").write_bytes(b"x")
    way = ways["alone"]
    found = [
        subprocess.run(
            ["curl", "-sS", *options, way.url + path],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
        for options, path in (
            (["-T", str(tmp_path / "f")], "/files"),
            (["-F", f"file=@{tmp_path / 'f'}"], "/files/"),
        )
    ]
    assert PUTS in found[0]
    assert f"forms and bytes at {POSTS} " in found[0]
    assert '"key"' in found[1]


def test_a_long_method_is_cut_in_the_error(ways: Mapping[str, Way]) -> None:
    """A method may be any token; the response stays short."""
    response = ask(ways["alone"], "X" * 3000, "/files")

    assert response.status_code in (400, 405)
    assert len(response.text) < 1000
