"""Rights, verbs and dialects: one table, each of its cells a request to a real server.

A name gets 401 without a secret that opens, 403 for what its rights do not have, and 404 for what
it must not know of: files outside its folder, and whatever others brought to its drop box.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import eventually
from fix_uvicorn import uvicorn
from rights_table import CELLS, COLUMNS, TUS, Place, append, one_of_each, tus_patch
from sluiceway import Sluiceway
from token_names import Client, token_file

# In an app that mounts the service, the same door stands before each dialect.
MOUNTED = ["raw PUT over a file of another", "tus PATCH of another's", "GET", "list", "DELETE"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("rights")
    tokens = token_file(folder / "tokens")
    server = start_server(
        folder / "root",
        "--token-file",
        str(tokens),
        *("--fetch-from", "127.0.0.1:1", "--fetch-internal", "127.0.0.0/8"),
    )
    yield server
    server.stop()


@pytest.fixture
def place(running: RunningServer) -> Place:
    return Place(running.url)


@pytest.mark.parametrize("row", CELLS)
def test_each_outcome_of_a_row(running: RunningServer, row: str) -> None:
    """For each status of the row one name, another one in each row."""
    check_row(Place(running.url), row, one_of_each(list(CELLS).index(row), CELLS[row][1].split()))


@pytest.mark.torture
@pytest.mark.parametrize("row", CELLS)
def test_each_cell_of_the_table(running: RunningServer, row: str) -> None:
    check_row(Place(running.url), row, range(len(COLUMNS)))


def check_row(place: Place, row: str, columns: Sequence[int]) -> None:
    cell, statuses = CELLS[row]
    expected = {COLUMNS[column]: statuses.split()[column] for column in columns}
    found = {}
    for name in expected:
        response = cell(Client(place.url, name), place)
        found[name] = str(response.status_code)
        if response.status_code in (401, 403, 404) and response.request.method != "HEAD":
            assert response.headers["content-type"] == "application/problem+json"
    assert found == expected


def test_a_mounted_service_has_the_same_table(tmp_path: Path) -> None:
    """Below a path of another app; the tokens are those of the service inside."""
    tokens = token_file(tmp_path / "tokens")
    with uvicorn("mounted_names:app", tmp_path / "app", TOKENS=str(tokens)) as app:
        for row in MOUNTED:
            columns = one_of_each(MOUNTED.index(row), CELLS[row][1].split())
            check_row(Place(f"{app.url}/drop"), row, columns)


def test_each_route_names_the_rights_that_it_needs() -> None:
    """A new route without rights would be open to every name: it is added here, or guarded."""
    app = Sluiceway(to="memory:", token="s" * 20)
    open_to_all = {route for route, one in app._endpoints.routes.items() if not one.rights}
    methods = ["GET", "HEAD"]
    assert open_to_all == {
        "OPTIONS /files",
        "OPTIONS /files/{key}",
        "OPTIONS /uploads/{id}",
        *(f"{method} {path}" for method in methods for path in ["", "/", "/healthz", "/readyz"]),
        *(f"{method} /page/{{name}}" for method in methods),
    }


def test_a_drop_box_sees_its_own_files_and_uploads(place: Place) -> None:
    """And goes on with them in each dialect, but deletes nothing; the boss sees all."""
    drop = Client(place.url, "drop")
    own, other = "/files/drop/mine.txt", place.file("drop/")
    assert drop("PUT", own, b"one").status_code == 201
    assert drop("PUT", own, b"two").status_code == 200  # its own may be replaced
    assert drop("GET", own).content == b"two"
    assert drop("DELETE", own).status_code == 403
    listed = {file["key"] for file in drop("GET", "/files?limit=1000").json()["files"]}
    assert own[7:] in listed
    assert other[7:] not in listed
    viewed = {file["key"] for file in drop("GET", "/files?search=e").json()["files"]}
    assert own[7:] in viewed
    assert other[7:] not in viewed
    archive = zipfile.ZipFile(io.BytesIO(drop("GET", "/files?as=zip&prefix=drop/").content))
    assert archive.namelist() == ["drop/mine.txt"]
    everything = {file["key"] for file in place.boss("GET", "/files?limit=1000").json()["files"]}
    assert {own[7:], other[7:]} <= everything

    upload = place.tus(drop)
    assert drop("HEAD", upload, **TUS).headers["Upload-Offset"] == "0"
    assert drop("GET", upload).json()["state"] == "waiting"
    assert place.boss("GET", upload).status_code == 200
    assert tus_patch(drop, upload).status_code == 204
    upload = place.resumable(drop)
    assert append(drop, upload).status_code == 201
    upload = place.tus(drop)
    assert drop("DELETE", upload, **TUS).status_code == 204


def test_two_names_do_not_meet_in_one_key_before_it_is_stored(place: Place) -> None:
    """Pieces that each sends to the same key are files of their own; the first to end wins."""
    drop, acme = Client(place.url, "drop"), Client(place.url, "acme")
    path = place.fresh("acme/pieces")
    for client, data in ((drop, b"dr"), (acme, b"ac")):
        assert client("PUT", path, data, Content_Range="bytes 0-1/4").status_code == 308
    assert drop("PUT", path, b"op", Content_Range="bytes 2-3/4").status_code == 201
    assert drop("GET", path).content == b"drop"
    assert acme("PUT", path, b"me", Content_Range="bytes 2-3/4").status_code in (200, 201)
    assert acme("GET", path).content == b"acme"
    assert drop("GET", path).status_code == 404  # it is another's now


def test_the_owner_is_kept_with_the_file_and_stands_in_the_log(
    running: RunningServer, place: Place
) -> None:
    drop = Client(place.url, "drop")
    made = drop("POST", "/files", b"x", Content_Disposition='attachment; filename="o.txt"')
    key = made.json()["files"][0]["key"]
    note = json.loads(os.getxattr(running.root / key, "user.sluiceway"))
    assert note["user"] == {"owner": "drop"}
    eventually(lambda: 'POST /files" 201' in running.log(), "the request is logged")
    assert any(line.rstrip().endswith(" by drop") for line in running.lines)
    assert "secret-of" not in running.log()
