"""The programs in examples/ do what their first lines say, under a production server.

Each file there has its rows in TESTED, at most 40 lines, and says in its docstring how to run and
to try it.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.example_files import DATA, EXAMPLES, SHA
from fix_gateway import parts, takes
from fix_taking import eventually, noise
from fix_wsgi import WsgiApp, running
from raw_http import Wire, form_begun, form_body, form_head, head
from rude_peer import Exchange, Peer, ranged

MOST_LINES = 45  # of 100 columns
MIB = 1 << 20
TESTED = {  # file -> what stands in the names of its tests
    "raw_to_disk.py": "raw_to_disk",
    "download_through.py": "download_through",
    "proxy_form.py": "proxy_form",
    "many_files.py": "many_files",
    "restore.py": "restore",
    "uploader.py": "uploader",
    "bookshelf.py": "bookshelf",  # in tests/browser/test_bookshelf.py
    "clamd_gate.py": "a_second_destination_scans",  # in tests/journeys/test_virus_scan.py
}


Run = Callable[..., AbstractContextManager[WsgiApp]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], WsgiApp]]:
    """An example under gunicorn before a backend that answers 201; emptied for each test."""
    apps: dict[str, WsgiApp] = {}
    with ExitStack() as stack:

        def get(name: str) -> WsgiApp:
            if name not in apps:
                apps[name] = stack.enter_context(
                    under_gunicorn(name, tmp_path_factory.mktemp(name))
                )
            for path in apps[name].folder.iterdir():
                path.unlink()
            apps[name].peer.seen.clear()
            return apps[name]

        yield get


@pytest.fixture
def run(tmp_path: Path, shared: Callable[[str], WsgiApp]) -> Run:
    """An example, shared by the tests unless one wants another backend or environment."""

    def start(
        name: str, act: Callable[[Exchange], object] = takes, **env: str
    ) -> AbstractContextManager[WsgiApp]:
        return (
            under_gunicorn(name, tmp_path, act, **env)
            if env or act is not takes
            else nullcontext(shared(name))
        )

    return start


def under_gunicorn(
    name: str, base: Path, act: Callable[[Exchange], object] = takes, **env: str
) -> AbstractContextManager[WsgiApp]:
    return running("gunicorn gthread", base, act, f"--chdir {EXAMPLES} {name}:app", **env)


def saved(app: WsgiApp) -> dict[str, bytes]:
    """What can be seen in the folder, and by which name."""
    return {path.name: path.read_bytes() for path in app.folder.iterdir()}


# The files themselves


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_example_is_short_and_says_how_to_run_and_to_try_it(path: Path) -> None:
    text = path.read_text("utf-8")
    docstring = text.split('"""')[1]

    assert text.startswith('"""')
    assert text.count("\n") <= MOST_LINES
    assert f"{path.stem}:app" in docstring or f"python {path.name}" in docstring
    assert "curl " in docstring


def test_each_example_has_its_tests_and_its_line_in_the_table() -> None:
    files = (
        *Path(__file__).parent.glob("test_*.py"),
        EXAMPLES.parent / "tests/browser/test_bookshelf.py",
        EXAMPLES.parent / "tests/journeys/test_virus_scan.py",
    )
    here = "".join(file.read_text("utf-8") for file in files)
    table = (EXAMPLES / "README.md").read_text("utf-8")

    assert sorted(TESTED) == sorted(path.name for path in EXAMPLES.rglob("*.py"))
    for name, words in TESTED.items():
        assert f"def test_{words}_" in here, name
        assert f"({name})" in table, name


# raw_to_disk.py


def test_raw_to_disk_keeps_what_came_under_a_name_of_its_own(run: Run) -> None:
    """PUT and POST, empty and large.

    A name that tries to be a path is repeated and nothing else.
    """
    with run("raw_to_disk") as app:
        put = requests.put(f"{app.url}/upload/..%5C..%5Cetc", data=DATA, timeout=30)
        post = requests.post(f"{app.url}/upload/empty", data=b"", timeout=30)
        assert (
            requests.put(f"{app.url}/upload/..%2Foutside", data=b"1", timeout=30).status_code == 404
        )

        assert (put.status_code, post.status_code) == (201, 201)
        assert put.json() | {"key": ""} == {
            "key": "",
            "name": "..\\..\\etc",
            "size": len(DATA),
            "sha-256": SHA,
        }
        assert saved(app) == {put.json()["key"]: DATA, post.json()["key"]: b""}
        assert sorted(path.name for path in app.folder.parent.iterdir()) == [
            "printed",
            "saved",
            "temporary",
        ]
        assert not app.spools()


def test_raw_to_disk_gives_each_of_many_at_once_a_file_of_its_own(run: Run) -> None:
    """Eight uploads under the same name, all of them under way together."""
    with run("raw_to_disk") as app:
        keys: dict[int, str] = {}

        def send(seed: int) -> None:
            keys[seed] = requests.put(
                f"{app.url}/upload/same", data=noise(500_000, seed), timeout=30
            ).json()["key"]

        threads = [threading.Thread(target=send, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert saved(app) == {keys[seed]: noise(500_000, seed) for seed in range(8)}


def test_raw_to_disk_shows_nothing_of_a_body_that_is_not_whole(run: Run) -> None:
    """In the middle only a draft is there.

    After the cut not even that, and the client gets an error.
    """
    with run("raw_to_disk") as app, Wire(app.port) as wire:
        wire.send(head("PUT", "/upload/cut", f"Content-Length: {2 * MIB}") + bytes(MIB))
        eventually(lambda: any(saved(app).values()), "the draft grows")
        assert [name for name in saved(app) if not name.startswith(".")] == []
        wire.half_close()
        answer = wire.answer()

        assert (answer.status, answer.code) == (400, "body-cut")
        assert saved(app) == {}


# download_through.py


def through(app: WsgiApp, url: str, **headers: str) -> requests.Response:
    return requests.get(f"{app.url}/through", params={"url": url}, headers=headers, timeout=30)


def test_download_through_passes_status_type_length_and_ranges(run: Run) -> None:
    """What the remote server says is what the client hears; a part is asked for as a part."""

    def act(exchange: Exchange) -> None:
        if exchange.target.startswith("/missing"):
            exchange.reply(404, {}, b"not here")
        else:
            ranged(DATA, **{"Content-Type": "image/png", "Accept-Ranges": "bytes"})(exchange)

    with Peer(act, "127.0.0.2") as remote:
        with run("download_through", ALLOW="127.0.0.2", INTERNAL="127.0.0.2/32") as app:
            whole = through(app, f"{remote.url}/a.png?size=1&b=2")
            rest = through(
                app, f"{remote.url}/a.png", Range="bytes=2999999-", **{"If-Range": '"v1"'}
            )
            missing = through(app, f"{remote.url}/missing")

        assert (whole.status_code, whole.headers["Content-Type"], whole.content) == (
            200,
            "image/png",
            DATA,
        )
        assert whole.headers["Content-Length"] == str(len(DATA))
        assert remote.seen[0].target == "/a.png?size=1&b=2"
        assert (rest.status_code, rest.content) == (206, DATA[2999999:])
        assert missing.status_code == 404


def test_download_through_is_no_open_proxy(run: Run) -> None:
    """Another host, and an address inside that a host's name hides, are refused in words.

    Without a URL it is a 400.
    """
    with run("download_through", ALLOW="127.0.0.2 localhost") as app:
        assert through(app, "http://example.com/").json()["code"] == "forbidden"
        assert through(app, f"http://localhost:{app.port}/through").json()["code"] == "forbidden"
        assert through(app, "http://127.0.0.2:8000/").json()["code"] == "forbidden"
        assert requests.get(f"{app.url}/through", timeout=10).status_code == 400


# proxy_form.py


def test_proxy_form_is_a_form_again_and_the_backends_word_comes_back(
    run: Run, tmp_path: Path
) -> None:
    """Fields, then the file with its name and type and a known length.

    Status and text are the backend's.
    """
    with run("proxy_form") as app:
        answer = requests.post(
            f"{app.url}/proxy",
            data=[("title", "Emma"), ("tag", "a"), ("tag", "b")],
            files={"file": ("emma ü.epub", DATA, "application/epub+zip")},
            timeout=30,
        )
        (exchange,) = app.peer.seen

        assert (answer.status_code, answer.json()) == (201, {"ok": True})
        assert answer.headers["Content-Type"] == "application/json"
        assert "content-length" in exchange.headers
        title, first, second, file = parts(exchange)
        assert [one.partition(b"\r\n\r\n")[2] for one in (title, first, second)] == [
            b"Emma",
            b"a",
            b"b",
        ]
        metadata, _, content = file.partition(b"\r\n\r\n")
        assert 'name="file"; filename="emma ü.epub"'.encode() in metadata
        assert b"Content-Type: application/epub+zip" in metadata
        assert content == DATA
        assert not app.spools()
        assert saved(app) == {}


def test_proxy_form_is_at_the_backend_while_the_client_still_sends(run: Run) -> None:
    """A twentieth was sent, and the backend has bytes of the file."""
    begun = form_begun(("title", None, b"Emma"), ("file", "emma.epub", b""))
    with run("proxy_form") as app, Wire(app.port) as wire:
        wire.send(form_head(40 * MIB, target="/proxy") + begun + bytes(MIB))
        eventually(
            lambda: app.peer.seen and len(app.peer.seen[0].body) > 1000,
            "the backend has bytes of the file",
        )


def test_proxy_form_tells_what_goes_wrong(run: Run) -> None:
    """A refusal is the backend's own; a backend that hangs up is 502.

    A cut form never looks whole to it.
    """
    answers = iter([(422, b"no such title"), None])

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        response = next(answers, None)
        if response and not exchange.cut:
            exchange.reply(response[0], {"Content-Type": "text/plain"}, response[1])

    with run("proxy_form", act) as app:
        refused = requests.post(f"{app.url}/proxy", files={"file": DATA}, timeout=30)
        gone = requests.post(f"{app.url}/proxy", files={"file": DATA}, timeout=30)
        with Wire(app.port) as wire:
            begun = form_begun(("file", "cut.bin", b""))
            wire.send(form_head(2 * MIB, target="/proxy") + begun + bytes(MIB))
            wire.half_close()
            cut = wire.answer()
        eventually(lambda: app.peer.seen[-1].cut, "the backend saw the cut")

        assert (refused.status_code, refused.text) == (422, "no such title")
        assert gone.status_code == 502
        assert (cut.status, cut.code) == (400, "body-cut")
        assert requests.post(f"{app.url}/proxy", data={"title": "x"}, timeout=30).status_code == 400


def test_proxy_form_says_at_once_that_its_backend_is_not_there(run: Run) -> None:
    """Nobody listens at the backend's address: 502 is read while the client still sends."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        backend = f"http://127.0.0.1:{closed.getsockname()[1]}/books"
    begun = form_begun(("file", "emma.epub", b""))
    with run("proxy_form", BACKEND=backend) as app, Wire(app.port) as wire:
        wire.send(form_head(40 * MIB, target="/proxy") + begun + bytes(MIB))

        assert wire.answer().status == 502


# many_files.py


def test_many_files_are_kept_one_by_one_and_listed(run: Run) -> None:
    """Three files in one field and another, fields between them.

    A list in their order, each whole on disk.
    """
    body = form_body(
        ("file", "1.pdf", DATA),
        ("note", None, b"x"),
        ("file", "2.doc", b""),
        ("other", "../3", b"abc"),
        ("end", None, b""),
    )
    with run("many_files") as app, Wire(app.port) as wire:
        wire.send(form_head(len(body), target="/convert") + body)
        answer = wire.answer()
        files: list[dict[str, Any]] = answer.json()

        assert answer.status == 201
        assert [(one["name"], one["size"]) for one in files] == [
            ("1.pdf", len(DATA)),
            ("2.doc", 0),
            ("../3", 3),
        ]
        assert files[0]["sha-256"] == SHA
        assert [saved(app)[one["key"]] for one in files] == [DATA, b"", b"abc"]
        assert len(saved(app)) == 3
        assert not app.spools()


def test_many_files_work_with_the_line_for_curl(run: Run, tmp_path: Path) -> None:
    """curl -F file=@1.pdf -F file=@2.doc."""
    paths = [tmp_path / "1.pdf", tmp_path / "2.doc"]
    for number, path in enumerate(paths):
        path.write_bytes(noise(70_000, number))
    with run("many_files") as app:
        line = [
            "curl",
            "-sS",
            *(word for path in paths for word in ("-F", f"file=@{path}")),
            f"{app.url}/convert",
        ]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True)

        assert [f'"name":"{path.name}"' in done.stdout for path in paths] == [True, True]
        assert sorted(saved(app).values()) == sorted(path.read_bytes() for path in paths)
