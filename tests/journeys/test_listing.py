"""GET /files: stored objects in key order, page by page, and never an unfinished one."""

from __future__ import annotations

import os
import threading
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, head

KEYS = ["a-b", "a.txt", "a/b", "a/c/d", "a0", "B", "b b", "c%", "é/ü.txt", "z"]


@pytest.fixture(scope="module")
def full(taker: RunningServer) -> RunningServer:
    for key in KEYS:
        assert (
            requests.put(
                f"{taker.url}/files/{quote(key)}", data=key.encode(), timeout=10
            ).status_code
            == 201
        )
    return taker


def listing(server: RunningServer, **asked: object) -> tuple[list[str], str | None]:
    response = requests.get(
        f"{server.url}/files", params={k: str(v) for k, v in asked.items()}, timeout=10
    )
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    content = response.json()
    assert sorted(content) == ["files", "next", "omitted", "readable"]
    return [entry["key"] for entry in content["files"]], content["next"]


def test_everything_is_listed_in_key_order(full: RunningServer) -> None:
    """Files and folders mixed; each entry's URL returns its bytes."""
    assert listing(full) == (sorted(KEYS), None)
    for entry in requests.get(f"{full.url}/files", timeout=10).json()["files"]:
        assert sorted(entry) == [
            "etag",
            "filename",
            "key",
            "modified",
            "sha-256",
            "size",
            "type",
            "url",
        ]
        got = requests.get(full.url + entry["url"], timeout=10)
        assert got.content == entry["key"].encode()
        assert got.headers["ETag"] == f'"{entry["etag"]}"'
        assert len(got.content) == entry["size"]
        assert entry["modified"].endswith("Z")


@pytest.mark.parametrize("limit", [1, 2, 3, 9, 10, 11, 1000])
def test_pages_joined_by_their_cursor_are_the_whole(full: RunningServer, limit: int) -> None:
    """Any page size; the last page has no cursor."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        keys, after = listing(full, limit=limit, after=after)
        assert len(keys) <= limit
        found += keys

    assert found == sorted(KEYS)


def test_a_prefix_selects(full: RunningServer) -> None:
    """By characters, folders or not."""
    assert listing(full, prefix="a")[0] == ["a-b", "a.txt", "a/b", "a/c/d", "a0"]
    assert listing(full, prefix="a/")[0] == ["a/b", "a/c/d"]
    assert listing(full, prefix="a/c/")[0] == ["a/c/d"]
    assert listing(full, prefix="é")[0] == ["é/ü.txt"]
    assert listing(full, prefix="../")[0] == []
    assert listing(full, prefix=".sluiceway")[0] == []


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1e3", "x", "", "٣", "9" * 50])
def test_an_invalid_limit_is_refused(full: RunningServer, limit: str) -> None:
    """400 with a text; the server does not guess."""
    assert requests.get(f"{full.url}/files", params={"limit": limit}, timeout=10).status_code == 400


def test_unfinished_uploads_are_never_listed(serve: Serve) -> None:
    """The listing is empty while the body arrives, and after it was cut."""
    server = serve()
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/coming", "Content-Length: 1000000") + bytes(500_000))
        for _ in range(5):
            assert listing(server) == ([], None)
            assert requests.get(f"{server.url}/files/coming", timeout=10).status_code == 404
        wire.half_close()
        assert wire.answer().status == 400

    assert listing(server) == ([], None)


def test_listing_while_everything_changes_never_fails(full: RunningServer) -> None:
    """An object that appears or disappears during the listing is in it or not.

    It has no other effect.
    """
    stop = threading.Event()

    def churn() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                session.put(f"{full.url}/files/m/n/o", data=b"1", timeout=10).raise_for_status()
                session.delete(f"{full.url}/files/m/n/o", timeout=10).raise_for_status()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(60):
            keys, _ = listing(full)
            assert [key for key in keys if key != "m/n/o"] == sorted(KEYS)
    finally:
        stop.set()
        churning.join()


def test_options_lists_the_methods_of_a_path(full: RunningServer) -> None:
    """Allow, on OPTIONS and on a refusal."""
    for path, allow in (
        ("/files", "GET, HEAD, OPTIONS, POST"),
        ("/files/z", "DELETE, GET, HEAD, MOVE, OPTIONS, PUT"),
        ("/uploads/" + "x" * 22, "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ):
        assert requests.options(full.url + path, timeout=10).headers["Allow"] == allow
        refused = requests.request("LOCK", full.url + path, timeout=10)
        assert (refused.status_code, refused.headers["Allow"]) == (405, allow)
        assert refused.json()["code"] == "method-not-allowed"


def test_unlistable_files_are_counted_and_logged_once(serve: Serve) -> None:
    """Another program stored names that are not UTF-8, and entries that are not files.

    They are counted, named and escaped, and all others are listed.
    """
    server = serve()
    root = os.fsencode(server.root)
    for name in (b"caf\xe9", b"\xff\x1b[31m", b"seen.txt"):
        with open(root + b"/" + name, "wb") as file:
            file.write(b"1")
    os.symlink(b"seen.txt", root + b"/link")
    content = requests.get(f"{server.url}/files", timeout=10).json()

    assert [entry["key"] for entry in content["files"]] == ["seen.txt"]
    assert len(content["omitted"]) == 3
    assert {one["name"] for one in content["omitted"]} >= {"link", "caf\\udce9"}
    assert all(one["code"] and one["detail"] for one in content["omitted"])
    eventually(lambda: "leave out 3" in server.log(), "the log names them")
    assert "\x1b" not in server.log()
    requests.get(f"{server.url}/files", timeout=10)
    assert server.log().count("leave out") == 1
