"""Folders keep their tree, the list walks through it, files get new names and are opened safely.

One server whose keys are the clients' own paths, and one with an id in front of them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_server import RunningServer, start_server
from fix_taking import eventually
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


def test_two_forms_that_overlap_and_are_refused_leave_the_old_files(tree: RunningServer) -> None:
    """Both replace the same files; the last one of each is refused, because a folder is there."""
    send(tree, "pair/folder/a.txt")
    names = [f"pair/{number:02}" for number in range(20)]
    for name in names:
        (tree.root / name).write_bytes(b"old")

    def form(data: bytes) -> int:
        files = [("f", (name, data)) for name in [*names, "pair/folder"]]
        url, wanted = f"{tree.url}/files", {"conflict": "replace"}
        return requests.post(url, params=wanted, files=files, timeout=TIMEOUT).status_code

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(form, (b"1", b"2"))) == [409, 409]
    assert {(tree.root / name).read_bytes() for name in names} == {b"old"}


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
