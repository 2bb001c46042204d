"""The names of downloads: read back from their header, hostile ones too; what a browser runs."""

from __future__ import annotations

import hashlib

import pytest
import requests

from fix_server import RunningServer
from journeys.test_download import DATA, MIB, get, put
from sluiceway.testing.store_suite import pattern
from sluiceway.wire.headers.disposition import parse_disposition


@pytest.fixture(scope="module")
def shelf(taker: RunningServer) -> RunningServer:
    """A server with a small object, an empty one and a large one."""
    for key, data in (("small.bin", DATA), ("empty.bin", b""), ("large.bin", pattern(8 * MIB) * 4)):
        put(taker, key, data)
    return taker


NAMES = [
    "plain.txt",
    "with space.txt",
    "semi;colon.txt",
    "quote's.txt",
    "comma,name.txt",
    "naïve café.txt",
    "日本語.txt",
    "emoji 🦆.png",
    "100%25.txt",
    "%41%42.txt",
    "a=b&c.txt",
    "~tilde^hat`.txt",
    "x" * 190 + ".bin",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_read_back_from_its_header(shelf: RunningServer, name: str) -> None:
    """For every name, the Content-Disposition parses back to it, in ASCII, on one line."""
    key = f"names/{NAMES.index(name)}"
    asked = requests.put(f"{shelf.url}/files/{key}", params={"name": name}, data=b"x", timeout=10)
    stored = asked.json()["files"][0]["filename"]
    value = get(shelf, key).headers["Content-Disposition"]

    assert value.isascii()
    assert value.isprintable()
    assert parse_disposition(value).filename == stored == name


@pytest.mark.parametrize(
    "name",
    [
        'a"b.txt',
        "a\r\nX-Evil: 1",
        "a\\b.txt",
        "../../etc/passwd",
        "\0\x1b[31m.txt",
        'a";filename="x.exe',
        "\u202egpj.exe",
    ],
)
def test_a_hostile_name_cannot_break_out_of_its_header(shelf: RunningServer, name: str) -> None:
    """Quotes, line ends, escapes, paths: one well-formed header, nothing beside it."""
    key = f"hostile/{hashlib.sha256(name.encode()).hexdigest()}"
    stored = requests.put(
        f"{shelf.url}/files/{key}", params={"name": name}, data=b"x", timeout=10
    ).json()["files"][0]["filename"]
    response = get(shelf, key)

    assert "X-Evil" not in response.headers
    assert parse_disposition(response.headers["Content-Disposition"]).filename == stored
    assert "/" not in stored
    assert stored.isprintable()


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", "inline"),
        ("image/jpeg", "inline"),
        ("text/plain", "inline"),
        ("video/mp4", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/xml", "attachment"),
        ("application/pdf", "attachment"),
        ("text/javascript", "attachment"),
        ("application/octet-stream", "attachment"),
        ("IMAGE/SVG+XML", "attachment"),
        ("text/html; charset=utf-7", "attachment"),
        ("x/y\x80", "attachment"),
        ("nonsense", "attachment"),
    ],
)
def test_uploaded_files_run_nothing_in_a_browser(
    shelf: RunningServer, kind: str, shown: str
) -> None:
    """nosniff, a sandbox, and attachment unless the type is on the short safe list."""
    key = f"types/{hashlib.sha256(kind.encode()).hexdigest()}.bin"
    requests.put(
        f"{shelf.url}/files/{key}",
        data=b"<script>1</script>",
        headers={"Content-Type": kind.encode("latin-1")},
        timeout=10,
    )
    for asked in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=0-1,5-6"}):
        response = get(shelf, key, **asked)
        assert parse_disposition(response.headers["Content-Disposition"]).kind == shown
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox;")
        assert "allow-" not in policy
        assert "default-src 'none'" in policy
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_both_spellings_of_a_name_are_one_object(shelf: RunningServer) -> None:
    """Put decomposed, asked for composed and decomposed: one object, stored composed."""
    put(shelf, "spell/e\u0301", b"1")

    assert get(shelf, "spell/\u00e9").content == get(shelf, "spell/e\u0301").content == b"1"
    assert "spell/\u00e9" in shelf.stored()
    assert get(shelf, "spell/e\u0301", method="DELETE").status_code == 204
    assert get(shelf, "spell/\u00e9").status_code == 404
