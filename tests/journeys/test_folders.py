"""Folders keep their tree, the list walks through it, files get new names and are opened safely.

One server whose keys are the clients' own paths, and one with an id in front of them.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

import sluiceway
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from fix_ways import NAMES, Way
from sluiceway.wire.names import numbered

TIMEOUT = 20


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


def send(
    server: RunningServer, path: str, data: bytes = b"x", kind: str | None = None, **query: str
) -> requests.Response:
    """In a form, as a browser sends a file of a folder."""
    return requests.post(
        f"{server.url}/files",
        params=query,
        files={"file": (path, data, kind) if kind else (path, data)},
        timeout=TIMEOUT,
    )


def look(server: RunningServer, **query: str) -> dict[str, Any]:
    answer = requests.get(f"{server.url}/files", params=query, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def paths(content: dict[str, Any]) -> list[str]:
    return [file["path"] for file in content["files"]]


# A folder keeps its tree


@pytest.mark.parametrize("template", ["{path}", "{id}/{path}"])
def test_a_folder_keeps_its_tree_from_every_client(
    tree: RunningServer, ids: RunningServer, template: str, tmp_path: Path
) -> None:
    """A browser's form, a raw body with a name, `Form`: the key carries the path, twice a.txt."""
    server = tree if template == "{path}" else ids
    top = f"every-{len(template)}"
    (tmp_path / "a.txt").write_bytes(b"form")
    form = sluiceway.Form().file("file", tmp_path / "a.txt", filename=f"{top}/form/a.txt")
    sent = [
        send(server, f"{top}/one/a.txt", b"1"),
        send(server, f"{top}/two/a.txt", b"22"),
        requests.post(
            f"{server.url}/files", params={"name": f"{top}/raw/a.txt"}, data=b"r", timeout=TIMEOUT
        ),
        requests.post(f"{server.url}/files", data=form, headers=form.headers, timeout=TIMEOUT),
    ]

    assert [answer.status_code for answer in sent] == [201] * 4
    keys = [answer.json()["files"][0]["key"] for answer in sent]
    expected = [f"{top}/{one}/a.txt" for one in ("one", "two", "raw", "form")]
    if template == "{path}":
        assert keys == expected
    else:
        assert [key.partition("/")[2] for key in keys] == expected
        assert len({key.partition("/")[0] for key in keys}) == 4
    assert sorted(paths(look(server, folder=f"{top}/", search="a.txt"))) == sorted(expected)
    assert look(server, folder=f"{top}/")["folders"] == [
        f"{top}/{one}/" for one in ("form", "one", "raw", "two")
    ]


def test_a_copied_folder_keeps_its_tree(tree: RunningServer, tmp_path: Path) -> None:
    """`copy -r` of a folder to the server, and the list shows it."""
    for name in ("a.txt", "b/a.txt"):
        (tmp_path / "album" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "album" / name).write_text(name)
    report = sluiceway.copy_all(f"{tmp_path}/album/", f"{tree.url}/files/copied/")

    assert report.copied == 2
    assert sorted(paths(look(tree, folder="copied/", search="txt"))) == [
        "copied/a.txt",
        "copied/b/a.txt",
    ]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("a/../../b.txt", "b.txt"),
        ("/etc/cron.d/x", "x"),
        ("C:\\Windows\\x.dll", "x.dll"),
        ("C:/Windows/y.dll", "y.dll"),
        ("a\\..\\z.txt", "z.txt"),
        ("a//b2.txt", "b2.txt"),
        ("./c.txt", "c.txt"),
        ("d/./e.txt", "e.txt"),
        ("f/. /g.txt", "g.txt"),
        ("h\x07/i\u202ej.txt", "h/ij.txt"),
        ("NUL/k.txt", "_NUL/k.txt"),
        (".hidden/.l.txt", "_hidden/_l.txt"),
        (".sluiceway/m.txt", "_sluiceway/m.txt"),
        ("n ./o.txt ", "n/o.txt"),
        ("/".join(["p"] * 40) + "/q.txt", "q.txt"),
        ("r" * 400 + "/s.txt", "r" * 200 + "/s.txt"),
        ("e\u0301/t.txt", "\u00e9/t.txt"),
    ],
)
def test_a_hostile_path_is_cleaned(tree: RunningServer, sent: str, kept: str) -> None:
    """What climbs, is absolute, or is of Windows has no folders; the rest is cleaned, each part.

    Raw and in a form alike; nothing appears outside of the root.
    """
    raw = requests.post(
        f"{tree.url}/files", params={"name": sent, "conflict": "rename"}, data=b"x", timeout=TIMEOUT
    )
    head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{sent}"\r\n\r\n'
    form = requests.post(
        f"{tree.url}/files?conflict=rename",
        data=head.encode() + b"x\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=TIMEOUT,
    )
    for answer, key in ((raw, kept), (form, numbered(kept, 2))):
        assert answer.status_code == 201, answer.text
        assert answer.json()["files"][0]["key"] == key
        assert (tree.root / key).is_file()
    assert not (tree.root.parent / "etc").exists()
    assert {path.name for path in tree.root.parent.iterdir()} == {"root"}


def test_a_path_that_makes_too_long_a_key_is_refused(tree: RunningServer) -> None:
    answer = send(tree, "/".join(["x" * 190] * 6) + "/a.txt")

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-name")


# Names that are taken


def test_a_taken_name_is_refused_before_the_bytes_are_read(tree: RunningServer) -> None:
    """409 with the key, raw and in a form, although the body is never sent to its end."""
    assert send(tree, "taken/a.txt", b"first").status_code == 201
    for answer in (
        send(tree, "taken/a.txt", b"second"),
        requests.post(
            f"{tree.url}/files", params={"name": "taken/a.txt"}, data=b"2", timeout=TIMEOUT
        ),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["key"]) == (
            409,
            "exists",
            "taken/a.txt",
        )
    assert (tree.root / "taken/a.txt").read_bytes() == b"first"


def test_a_client_may_replace_or_keep_both(tree: RunningServer) -> None:
    """`?conflict=replace` and `?conflict=rename`: the person was asked."""
    send(tree, "both/a.tar.gz", b"first")
    replaced = send(tree, "both/a.tar.gz", b"second", conflict="replace")
    kept = [send(tree, "both/a.tar.gz", b"third", conflict="rename") for _ in range(2)]

    assert replaced.json()["files"][0]["key"] == "both/a.tar.gz"
    assert [one.json()["files"][0]["key"] for one in kept] == [
        "both/a (2).tar.gz",
        "both/a (3).tar.gz",
    ]
    assert (tree.root / "both/a.tar.gz").read_bytes() == b"second"
    assert send(tree, "both/a.txt", conflict="maybe").status_code == 400


def test_two_files_of_one_form_never_replace_each_other(tree: RunningServer) -> None:
    """One name twice in a form is refused, unless both are to be kept."""

    def both(conflict: str) -> requests.Response:
        return requests.post(
            f"{tree.url}/files",
            params={"conflict": conflict},
            files=[("f", ("twice/a.txt", b"1")), ("f", ("twice/a.txt", b"2"))],
            timeout=TIMEOUT,
        )

    for conflict in ("fail", "replace"):
        assert both(conflict).status_code == 409
        assert not (tree.root / "twice").exists()
    kept = both("rename")
    assert [file["key"] for file in kept.json()["files"]] == ["twice/a.txt", "twice/a (2).txt"]


# The list


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


# Rename


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


# Selected files as a zip


def test_selected_files_come_as_one_zip(ids: RunningServer) -> None:
    """By their keys, under the paths that people know; two of one path are told apart."""
    keys = [
        send(ids, f"zipped/{path}", path.encode()).json()["files"][0]["key"]
        for path in ("a.txt", "b/a.txt", "b/a.txt", "left-out.txt")
    ]
    asked = [("key", key) for key in keys[:3]] + [("key", "zipped/gone.txt"), ("key", "../x")]
    answer = requests.post(f"{ids.url}/files?as=zip", data=asked, timeout=TIMEOUT)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name) for name in archive.namelist()}
        assert b"gone.txt" in archive.comment
    assert read == {"a.txt": b"a.txt", "b/a.txt": b"b/a.txt", "b/a (2).txt": b"b/a.txt"}


def test_a_folder_comes_as_a_zip_of_its_name(ids: RunningServer) -> None:
    """Whatever ids stand in front of its files."""
    for path in ("a.txt", "b/c.txt"):
        send(ids, f"outer/holiday/{path}", path.encode())
    answer = requests.get(
        f"{ids.url}/files", params={"as": "zip", "folder": "outer/holiday/"}, timeout=TIMEOUT
    )

    assert 'filename="holiday.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["holiday/a.txt", "holiday/b/c.txt"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 404),
        (b"key=", "application/x-www-form-urlencoded", 404),
        (b"key=%ff", "application/x-www-form-urlencoded", 400),
        (b"key=nothing", "application/x-www-form-urlencoded", 404),
        (b"other=1", "application/x-www-form-urlencoded", 404),
        (b"key=a" * 300_000, "application/x-www-form-urlencoded", 413),
        (b"key=a&" * 10_001, "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 400),
    ],
)
def test_a_selection_that_is_none_is_refused(
    ids: RunningServer, body: bytes, kind: str, status: int
) -> None:
    answer = requests.post(
        f"{ids.url}/files?as=zip", data=body, headers={"Content-Type": kind}, timeout=TIMEOUT
    )

    assert answer.status_code == status, answer.text


# Opened in a tab


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("application/pdf", "application/pdf"),
        ("image/png", "image/png"),
        ("audio/flac", "audio/flac"),
        ("video/mp4", "video/mp4"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/csv", "text/plain"),
        ("text/markdown; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/json", "text/plain; charset=utf-8"),
        ("text/javascript", "text/plain"),
        ("text/html", None),
        ("text/html; charset=utf-7", None),
        ("image/svg+xml", None),
        ("application/xhtml+xml", None),
        ("text/xml", None),
        ("application/xml", None),
        ("text/xsl", None),
        ("application/octet-stream", None),
        ("application/zip", None),
    ],
)
def test_only_what_runs_nothing_is_shown_in_a_tab(
    tree: RunningServer, kind: str, shown: str | None
) -> None:
    """?view=1 shows what is safe under the sandbox, text of all kinds as plain text.

    Without it, a file is sent as before; headers stay strict in both.
    """
    key = f"viewed/{abs(hash(kind))}"
    requests.put(
        f"{tree.url}/files/{key}",
        data=b"<script>1</script>",
        headers={"Content-Type": kind},
        timeout=TIMEOUT,
    )
    viewed = requests.get(f"{tree.url}/files/{key}?view=1", timeout=TIMEOUT)
    plain = requests.get(f"{tree.url}/files/{key}", timeout=TIMEOUT)

    assert viewed.headers["Content-Disposition"].startswith("inline" if shown else "attachment")
    assert viewed.headers["Content-Type"] == (shown or kind)
    assert plain.headers["Content-Type"] == kind
    for answer in (viewed, plain):
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_draft_is_left_under_way(tree: RunningServer) -> None:
    """After all of it, refusals and renames included."""
    eventually(lambda: tree.drafts() == [])
