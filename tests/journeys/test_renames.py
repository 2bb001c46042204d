"""A file gets a new name: guarded, checked like any key, never in the place of another file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_ways import NAMES, Way
from journeys.test_folders import TIMEOUT, send


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


def move(server: RunningServer, key: str, to: str, **headers: str) -> requests.Response:
    return requests.request(
        "MOVE",
        f"{server.url}/files/{quote(key)}",
        headers={"Destination": to, **headers},
        timeout=TIMEOUT,
    )


def test_a_file_gets_a_new_name(tree: RunningServer) -> None:
    """MOVE: bytes, type, digest and tag stay; the name it is saved under is the new one."""
    before = send(tree, "rename/a.txt", b"words", "text/plain").json()["files"][0]
    answer = move(tree, "rename/a.txt", f"/files/rename/sub/{quote('Grüße 1.txt')}")

    assert answer.status_code == 201
    (after,) = answer.json()["files"]
    assert after["key"] == "rename/sub/Grüße 1.txt"
    assert answer.headers["Location"] == after["url"]
    for member in ("size", "sha-256", "type", "etag"):
        assert after[member] == before[member]
    got = requests.get(tree.url + after["url"], timeout=TIMEOUT)
    assert (got.content, got.headers["ETag"]) == (b"words", f'"{before["etag"]}"')
    assert "Gr%C3%BC%C3%9Fe%201.txt" in got.headers["Content-Disposition"]
    assert requests.get(f"{tree.url}/files/rename/a.txt", timeout=TIMEOUT).status_code == 404


def test_a_rename_replaces_nothing(tree: RunningServer) -> None:
    """A taken name is 409, whatever Overwrite says; both files stay."""
    for name in ("one.txt", "two.txt"):
        send(tree, f"safe/{name}", name.encode())
    for overwrite in ("T", "F"):
        answer = move(tree, "safe/one.txt", "/files/safe/two.txt", Overwrite=overwrite)
        assert (answer.status_code, answer.json()["code"]) == (409, "exists")

    assert (tree.root / "safe/one.txt").read_bytes() == b"one.txt"
    assert (tree.root / "safe/two.txt").read_bytes() == b"two.txt"


def test_a_rename_is_guarded_by_the_version(tree: RunningServer) -> None:
    """If-Match with another tag is 412; a missing file is 404."""
    entry = send(tree, "guarded/a.txt").json()["files"][0]
    to = "/files/guarded/b.txt"

    assert move(tree, "guarded/a.txt", to, **{"If-Match": '"no"'}).status_code == 412
    assert move(tree, "guarded/none.txt", to).status_code == 404
    tag = f'"{entry["etag"]}"'
    assert move(tree, "guarded/a.txt", f"{tree.url}{to}", **{"If-Match": tag}).status_code == 201


@pytest.mark.parametrize(
    "to",
    [
        "",
        "/",
        "/files",
        "/files/",
        "/elsewhere/a.txt",
        "https://other.example/files/a.txt",
        "//other.example/files/a.txt",
        "/files/a/../../b",
        "/files/%2e%2e/b",
        "/files/..%2fb",
        "/files/a%00b",
        "/files/.sluiceway/drafts/x",
        "/files/a%5cb",
        "/files/C%3a/x",
        "/files/NUL",
        "/files/a%ff",
        "/files/a?x=1",
        "/files/a#b",
        "/files//a",
        "http://[/files/a",
        "/files/" + "x" * 300,
    ],
)
def test_a_new_name_is_checked_like_any_key(tree: RunningServer, to: str) -> None:
    """Nothing leads out of the root or into the server's own folder."""
    send(tree, "checked/a.txt", conflict="replace")
    answer = move(tree, "checked/a.txt", to)

    assert answer.status_code == 400, answer.text
    assert (tree.root / "checked/a.txt").is_file()


def test_a_page_of_an_allowed_origin_may_rename(tree: RunningServer) -> None:
    """Its preflight is answered with the method and the headers of a rename."""
    preflight = requests.options(
        f"{tree.url}/files/x",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "MOVE",
            "Access-Control-Request-Headers": "destination, if-match, overwrite",
        },
        timeout=TIMEOUT,
    )

    assert "MOVE" in preflight.headers["Access-Control-Allow-Methods"].split(", ")
    assert "destination" in preflight.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("name", NAMES)
def test_a_mounted_service_renames_and_a_gateway_cannot(ways: Mapping[str, Way], name: str) -> None:
    """Below a Flask app's path, too; a server that keeps nothing says 405 and what it takes."""
    way = ways[name]
    key = f"ways/{name}.txt"
    requests.put(f"{way.url}/files/{key}", data=b"words", timeout=TIMEOUT).raise_for_status()
    answer = requests.request(
        "MOVE",
        f"{way.url}/files/{key}",
        headers={"Destination": f"{way.prefix}/files/{key}.md"},
        timeout=TIMEOUT,
    )

    if name == "gateway":
        assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
        assert way.read(key) == b"words"
    else:
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == f"{way.prefix}/files/{key}.md"
        assert way.read(f"{key}.md") == b"words"
    listed = requests.get(f"{way.url}/files", params={"folder": ""}, timeout=TIMEOUT).json()
    assert listed["readable"] is listed["renames"] is (name != "gateway")
