"""Rights, verbs and dialects: one table, each of its cells a request to a real server.

A name gets 401 without a secret that opens, 403 for what its rights do not have, and 404 for what
it must not know of: files outside its folder, and whatever others brought to its drop box.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import eventually
from fix_uvicorn import uvicorn
from sluiceway import Sluiceway
from token_names import Client, token_file

COLUMNS = ["", "late", "drop", "reader", "blind", "lister", "cleaner", "acme", "boss"]
TUS = {"Tus_Resumable": "1.0.0"}
OFFSET = "application/offset+octet-stream"
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="form.txt"\r\n\r\nabcd\r\n--b--\r\n'
)
FORM_TYPE = {"Content_Type": "multipart/form-data; boundary=b"}
UPLOAD_ID = "an-upload-of-the-boss-0123456789"

Cell = Callable[[Client, "Place"], requests.Response]


class Place:
    """A server with files and uploads of the boss, fresh ones for each cell."""

    def __init__(self, url: str) -> None:
        self.url, self.boss, self._count = url, Client(url, "boss"), 0

    def fresh(self, folder: str = "") -> str:
        """The path of no file."""
        self._count += 1
        return f"/files/{folder}n{self._count}"

    def file(self, folder: str = "") -> str:
        """The path of a file of the boss."""
        path = self.fresh(folder)
        assert self.boss("PUT", path, b"boss").status_code == 201
        return path

    def tus(self, client: Client | None = None) -> str:
        made = (client or self.boss)("POST", "/files", b"", Upload_Length="4", **TUS)
        assert made.status_code == 201, made.text
        return "/uploads/" + made.headers["Location"].rpartition("/")[2]

    def resumable(self, client: Client | None = None) -> str:
        fields = {"Upload_Complete": "?0", "Upload_Draft_Interop_Version": "8"}
        made = (client or self.boss)("POST", "/files", b"ab", **fields)
        assert made.status_code == 201, made.text
        return "/uploads/" + made.headers["Location"].rpartition("/")[2]


def tus_patch(client: Client, path: str) -> requests.Response:
    return client("PATCH", path, b"abcd", Upload_Offset="0", Content_Type=OFFSET, **TUS)


def append(client: Client, path: str) -> requests.Response:
    fields = {"Upload_Complete": "?1", "Upload_Draft_Interop_Version": "8"}
    kind = "application/partial-upload"
    return client("PATCH", path, b"cd", Upload_Offset="2", Content_Type=kind, **fields)


def many(as_: str) -> str:
    return f"/files?as={as_}"


CELLS: dict[str, tuple[Cell, str]] = {
    # columns:                                  none late drop reader blind lister cleaner acme boss
    "raw PUT": (
        lambda c, p: c("PUT", p.fresh(), b"x"),
        "401 401 201 403 403 403 403 403 201",
    ),
    "raw PUT into the folder": (
        lambda c, p: c("PUT", p.fresh("acme/"), b"x"),
        "401 401 201 403 403 403 403 201 201",
    ),
    "raw PUT over a file of another": (
        lambda c, p: c("PUT", p.file("acme/"), b"x"),
        "401 401 409 403 403 403 403 200 200",
    ),
    "large PUT over a file of another": (
        lambda c, p: c("PUT", p.file("acme/"), bytes(1 << 20)),
        "401 401 409 403 403 403 403 200 200",
    ),
    "raw POST": (
        lambda c, p: c("POST", "/files", b"x"),
        "401 401 201 403 403 403 403 201 201",
    ),
    "raw POST that replaces": (
        lambda c, p: c("POST", "/files?conflict=replace", b"x"),
        "401 401 403 403 403 403 403 201 201",
    ),
    "form POST": (
        lambda c, p: c("POST", "/files", FORM, **FORM_TYPE),
        "401 401 201 403 403 403 403 201 201",
    ),
    "form PUT": (
        lambda c, p: c("PUT", p.fresh("acme/"), FORM, **FORM_TYPE),
        "401 401 201 403 403 403 403 201 201",
    ),
    "form PUT over a file of another": (
        lambda c, p: c("PUT", p.file("acme/"), FORM, **FORM_TYPE),
        "401 401 409 403 403 403 403 200 200",
    ),
    "what runs": (lambda c, p: c("GET", "/uploads"), "401 401 403 403 403 403 403 403 200"),
    "metrics": (lambda c, p: c("GET", "/metrics"), "401 401 403 403 403 403 403 403 200"),
    "tus creation": (
        lambda c, p: c("POST", "/files", b"", Upload_Length="4", **TUS),
        "401 401 201 403 403 403 403 201 201",
    ),
    "tus HEAD of another's": (
        lambda c, p: c("HEAD", p.tus(), **TUS),
        "401 401 404 403 403 403 403 404 200",
    ),
    "tus PATCH of another's": (
        lambda c, p: tus_patch(c, p.tus()),
        "401 401 404 403 403 403 403 404 204",
    ),
    "tus DELETE of another's": (
        lambda c, p: c("DELETE", p.tus(), **TUS),
        "401 401 404 403 403 403 403 404 204",
    ),
    "tus DELETE of another's by POST": (
        lambda c, p: c("POST", p.tus(), b"", X_HTTP_Method_Override="DELETE", **TUS),
        "401 401 404 403 403 403 403 404 204",
    ),
    "tus joins parts of another": (
        lambda c, p: c("POST", "/files", b"", Upload_Concat=f"final;{p.tus()}", **TUS),
        "401 401 400 403 403 403 403 400 400",
    ),
    "resumable creation": (
        lambda c, p: c("POST", "/files", b"ab", Upload_Complete="?0"),
        "401 401 201 403 403 403 403 201 201",
    ),
    "resumable creation by PUT": (
        lambda c, p: c("PUT", p.fresh(), b"ab", Upload_Complete="?0"),
        "401 401 201 403 403 403 403 403 201",
    ),
    "resumable HEAD of another's": (
        lambda c, p: c("HEAD", p.resumable()),
        "401 401 404 403 403 403 403 404 204",
    ),
    "resumable append to another's": (
        lambda c, p: append(c, p.resumable()),
        "401 401 404 403 403 403 403 404 201",
    ),
    "resumable DELETE of another's": (
        lambda c, p: c("DELETE", p.resumable()),
        "401 401 404 403 403 403 403 404 204",
    ),
    "piece by PUT": (
        lambda c, p: c("PUT", p.fresh(), b"ab", Content_Range="bytes 0-1/4"),
        "401 401 308 403 403 403 403 403 308",
    ),
    "first piece over a file of another": (
        lambda c, p: c("PUT", p.file("acme/"), b"ab", Content_Range="bytes 0-1/4"),
        "401 401 409 403 403 403 403 308 308",
    ),
    "import": (
        lambda c, p: c(
            "POST", "/files", '{"url": "http://127.0.0.1:1/x"}', Content_Type="application/json"
        ),
        "401 401 502 403 403 403 403 502 502",
    ),
    "fetch": (
        lambda c, p: c("GET", "/fetch?url=" + quote("http://127.0.0.1:1/x")),
        "401 401 403 502 502 403 403 502 502",
    ),
    "GET": (
        lambda c, p: c("GET", p.file()),
        "401 401 404 200 200 403 403 404 200",
    ),
    "GET in the folder": (
        lambda c, p: c("GET", p.file("acme/")),
        "401 401 404 200 200 403 403 200 200",
    ),
    "HEAD": (
        lambda c, p: c("HEAD", p.file()),
        "401 401 404 200 200 403 403 404 200",
    ),
    "GET of no file": (
        lambda c, p: c("GET", p.fresh()),
        "401 401 404 404 404 403 403 404 404",
    ),
    "list": (
        lambda c, p: c("GET", "/files"),
        "401 401 200 200 403 200 403 200 200",
    ),
    "view": (
        lambda c, p: c("GET", "/files?folder=&search=n"),
        "401 401 200 200 403 200 403 200 200",
    ),
    "zip of a folder": (
        lambda c, p: c("GET", f"/files?as=zip&prefix={p.file('acme/z')[7:]}"),
        "401 401 404 200 403 403 403 200 200",
    ),
    "zip of a selection": (
        lambda c, p: c(
            "POST",
            "/files?as=zip",
            f"key={quote(p.file('acme/')[7:])}",
            Content_Type="application/x-www-form-urlencoded",
        ),
        "401 401 404 200 200 403 403 200 200",
    ),
    "small files together": (
        lambda c, p: c("GET", f"/files?as=objects&key={quote(p.file('acme/')[7:])}"),
        "401 401 200 200 200 403 403 200 200",
    ),
    "DELETE": (
        lambda c, p: c("DELETE", p.file()),
        "401 401 403 403 403 403 204 404 204",
    ),
    "DELETE in the folder": (
        lambda c, p: c("DELETE", p.file("acme/")),
        "401 401 403 403 403 403 204 204 204",
    ),
    "rename": (
        lambda c, p: c("MOVE", p.file("acme/"), Destination=p.fresh("acme/")),
        "401 401 403 403 403 403 403 201 201",
    ),
    "rename out of the folder": (
        lambda c, p: c("MOVE", p.file("acme/"), Destination=p.fresh()),
        "401 401 403 403 403 403 403 403 201",
    ),
    "rename into the folder": (
        lambda c, p: c("MOVE", p.file(), Destination=p.fresh("acme/")),
        "401 401 403 403 403 403 403 404 201",
    ),
    "progress of another's": (
        lambda c, p: c("GET", p.tus()),
        "401 401 404 403 403 403 403 404 200",
    ),
    "make a link": (  # the server of this table has no keys for links: 404 for the boss
        lambda c, p: c("POST", "/links", '{"prefix": "a/"}'),
        "401 401 403 403 403 403 403 403 404",
    ),
    "revoke a link": (
        lambda c, p: c("DELETE", "/links/0123456789abcdef"),
        "401 401 403 403 403 403 403 403 404",
    ),
    "doctor": (
        lambda c, p: c("GET", "/doctor"),
        "401 401 403 403 403 403 403 403 200",
    ),
    "page": (
        lambda c, p: c("GET", "/"),
        "401 401 200 200 200 200 200 200 200",
    ),
    "asset of the page": (
        lambda c, p: c("GET", "/page/page.css"),
        "401 401 200 200 200 200 200 200 200",
    ),
    "OPTIONS": (
        lambda c, p: c("OPTIONS", "/files"),
        "401 401 204 204 204 204 204 204 204",
    ),
    "probes": (
        lambda c, p: c("GET", "/readyz"),
        "200 200 200 200 200 200 200 200 200",
    ),
}
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


def one_of_each(turn: int, expected: list[str]) -> list[int]:
    """A column for each status of a row."""
    places: dict[str, list[int]] = {}
    for column, status in enumerate(expected):
        places.setdefault(status, []).append(column)
    return [columns[turn % len(columns)] for columns in places.values()]


def check_row(place: Place, row: str, columns: Sequence[int]) -> None:
    cell, statuses = CELLS[row]
    expected = {COLUMNS[column]: statuses.split()[column] for column in columns}
    # no two rows of a server meet in one key
    place._count = 1000 * list(CELLS).index(row)
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
