"""The table of rights where the service is watched, and where an app mounts it.

The rows of `test_rights.py`, and one for event streams: of each dialect's uploads, and behind Flask
and Django.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_wsgi import Backend, WsgiApp
from fix_wsgi import running as running_app
from rights_table import CELLS, COLUMNS, Cell, Place, one_of_each, tus_patch
from token_names import Client, secret_of, token_file


def watched(client: Client, path: str, *known_to: str) -> requests.Response:
    """The first event of a stream, which would go on for as long as the upload does.

    A name that must not know of an upload sees what it sees of one that has not begun.
    """
    headers = {"Accept": "text/event-stream"}
    if client.name:
        headers["Authorization"] = f"Bearer {secret_of(client.name)}"
    with requests.get(client.url + path, headers=headers, stream=True, timeout=60) as response:
        if response.status_code == 200:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.iter_lines()
            event, data = next(lines), json.loads(next(lines).removeprefix(b"data:"))
            nothing = {"state": "waiting", "received": 0, "kept": 0, "length": None}
            known = event == b"event: end" or data.items() & nothing.items() != nothing.items()
            assert known == (client.name in known_to), (client.name, event, data)
    return response


def finished(client: Client, place: Place) -> requests.Response:
    """The upload has ended, and is remembered."""
    upload = place.tus()
    assert tus_patch(place.boss, upload).status_code == 204
    return watched(client, upload, "boss")


def own(client: Client, place: Place) -> requests.Response:
    """Of an upload that this name began, where it may begin one."""
    may = client.name in ("drop", "acme", "boss")
    return watched(client, place.tus(client if may else None), "drop", "acme", "boss")


STREAM = "401 401 200 403 403 403 403 200 200"
STREAMS: dict[str, tuple[Cell, str]] = {
    # columns: none late drop reader blind lister cleaner acme boss, as in rights_table.py
    "events of another's tus upload": (lambda c, p: watched(c, p.tus(), "boss"), STREAM),
    "events of another's resumable upload": (
        lambda c, p: watched(c, p.resumable(), "boss"),
        STREAM,
    ),
    "events of an upload that is not there": (
        lambda c, p: watched(c, "/uploads/no-upload-with-this-id-0123456"),
        STREAM,
    ),
    "events of its own upload": (own, STREAM),
    "events of a finished upload of another": (finished, STREAM),
}


# What a mount adds is the way of a request through the framework: rows of each dialect and verb.
MOUNTED = [
    "raw PUT into the folder",
    "form POST",
    "tus creation",
    "tus PATCH of another's",
    "resumable append to another's",
    "first piece over a file of another",
    "what runs",
    "GET in the folder",
    "list",
    "zip of a selection",
    "DELETE",
    "make a link",
    "progress of another's",
    "page",
]


RENAME: tuple[Cell, str] = (
    lambda c, p: c("MOVE", p.file("acme/"), Destination=urlsplit(p.url).path + p.fresh("acme/")),
    "401 401 403 403 403 403 403 201 201",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("watched")
    server = start_server(folder / "root", "--token-file", str(token_file(folder / "tokens")))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WsgiApp]:
    """One server with both frameworks."""
    folder = tmp_path_factory.mktemp("mounted")
    tokens = str(token_file(folder / "tokens"))
    views = "mounted_wsgi_names:app"
    with running_app("gunicorn gthread", folder, Backend(), views, TOKENS=tokens) as app:
        yield app


def check(place: Place, row: str, cell: Cell, statuses: str, columns: list[int]) -> None:
    """Each column answers as the table says; a refusal is a problem."""
    expected = {COLUMNS[column]: statuses.split()[column] for column in columns}
    found = {}
    for name in expected:
        response = cell(Client(place.url, name), place)
        found[name] = str(response.status_code)
        if response.status_code in (401, 403, 404) and response.request.method != "HEAD":
            assert response.headers["content-type"] == "application/problem+json"
    assert found == expected, row


@pytest.mark.parametrize("row", STREAMS)
def test_each_cell_of_the_event_streams(server: RunningServer, row: str) -> None:
    cell, statuses = STREAMS[row]
    check(Place(server.url), row, cell, statuses, list(range(len(COLUMNS))))


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_mount_has_the_same_table(app: WsgiApp, framework: str) -> None:
    """One name for each status of a row, another one in each row."""
    place = Place(f"{app.url}/{framework}/drop")
    for turn, row in enumerate(MOUNTED):
        cell, statuses = CELLS[row]
        check(place, row, cell, statuses, one_of_each(turn, statuses.split()))
    for cell, statuses in (STREAMS["events of another's tus upload"], RENAME):
        check(place, "more", cell, statuses, one_of_each(0, statuses.split()))


@pytest.mark.torture
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_each_cell_of_a_mount(app: WsgiApp, framework: str) -> None:
    place = Place(f"{app.url}/{framework}/drop")
    # these apps allow no host to fetch from; a new name is below the mount (`RENAME`)
    left_out = {"import", "fetch", *(row for row in CELLS if row.startswith("rename"))}
    for row, (cell, statuses) in CELLS.items():
        if row not in left_out:
            check(place, row, cell, statuses, list(range(len(COLUMNS))))
