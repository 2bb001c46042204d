"""Listings by date, size and name: the newest first, page by page, ten thousand in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from journeys.test_folders import TIMEOUT, look, paths, send


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`--key-template {path}`: keys are paths, and a path can be taken."""
    server = start_server(
        tmp_path_factory.mktemp("tree") / "root",
        "--key-template",
        "{path}",
        "--allow-origin",
        "https://app.example",
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`--key-template {id}/{path}`."""
    server = start_server(tmp_path_factory.mktemp("ids") / "root", "--key-template", "{id}/{path}")
    yield server
    server.stop()


def test_the_newest_file_is_listed_first(ids: RunningServer) -> None:
    """Whatever the keys; each file says whether a browser can show it, and whether to rename."""
    for name, kind in (("n1.txt", "text/plain"), ("n2.html", "text/html"), ("n3.pdf", "")):
        assert send(ids, f"newest/{name}", b"x", kind or None).status_code == 201
        time.sleep(0.02)  # file times have a grain
    content = look(ids, folder="newest/", sort="-modified")

    assert sorted(content) == ["files", "folders", "next", "omitted", "readable", "renames"]
    assert content["renames"] is True
    assert paths(content) == ["newest/n3.pdf", "newest/n2.html", "newest/n1.txt"]
    assert [file["viewable"] for file in content["files"]] == [True, False, True]


@pytest.mark.parametrize("sort", ["name", "-name", "size", "-size", "modified", "-modified"])
def test_a_sorted_list_has_pages_without_end(tree: RunningServer, sort: str) -> None:
    """Every file once, in order, page after page."""
    for number in range(23):
        path = tree.root / "sorted" / f"{number:02}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * (number * 7 % 23))
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        content = look(tree, folder="sorted/", sort=sort, limit="5", after=after)
        assert len(content["files"]) <= 5
        found += content["files"]
        after = content["next"]

    assert len({file["key"] for file in found}) == len(found) == 23
    member = {"name": "path", "size": "size", "modified": "modified"}[sort.removeprefix("-")]
    values = [file[member] for file in found]
    assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "type"},
        {"folder": "a"},
        {"search": "x" * 300},
        {"folder": "", "prefix": "a"},
        {"sort": "name", "after": "no cursor"},
        {"sort": "name", "limit": "0"},
    ],
)
def test_a_view_that_cannot_be_is_refused(tree: RunningServer, query: dict[str, str]) -> None:
    answer = requests.get(f"{tree.url}/files", params=query, timeout=TIMEOUT)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


def test_names_that_cannot_be_listed_are_in_every_view(tree: RunningServer) -> None:
    """A link that another program left there is named as omitted."""
    (tree.root / "link").symlink_to("/etc/hostname")
    try:
        assert "link" in [one["name"] for one in look(tree, sort="name")["omitted"]]
        assert "link" in [one["name"] for one in look(tree, folder="")["omitted"]]
    finally:
        (tree.root / "link").unlink()


@pytest.mark.torture
def test_ten_thousand_files_are_listed_newest_first_in_seconds(serve: Serve) -> None:
    """A page of a folder with 10,000 files costs a few times as much as the plain listing."""
    server = serve()
    server.root.mkdir(exist_ok=True)
    for number in range(10_000):
        (server.root / f"{number:05}.txt").write_bytes(b"x")
    began = time.monotonic()
    after: str | None = ""
    while after is not None:
        content = requests.get(
            f"{server.url}/files", params={"limit": "1000", "after": after}, timeout=60
        ).json()
        after = content["next"]
    plain = time.monotonic() - began
    began = time.monotonic()
    content = look(server, folder="", limit="50")
    newest = time.monotonic() - began

    assert len(content["files"]) == 50
    assert newest < 5 * plain + 1
