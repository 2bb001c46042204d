"""The table of rights: for each request its status, by the name that sends it (token_names.py)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from urllib.parse import quote

import requests

from token_names import Client

__all__ = [
    "CELLS",
    "COLUMNS",
    "OFFSET",
    "TUS",
    "Place",
    "append",
    "one_of_each",
    "tus_patch",
]

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

    _numbers = count(1)  # of all tests: no two of them meet in one key of a server

    def __init__(self, url: str) -> None:
        self.url, self.boss = url, Client(url, "boss")

    def fresh(self, folder: str = "") -> str:
        """The path of no file."""
        return f"/files/{folder}n{next(self._numbers)}"

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


def part_beside(client: Client, path: str) -> requests.Response:
    fields = {"Upload_Concat": "partial", "Upload_Part_Of": path.rpartition("/")[2], **TUS}
    return client("POST", "/files", b"", Upload_Length="1", **fields)


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
    "tus creation by PUT": (
        lambda c, p: c("PUT", p.fresh(), b"", Upload_Length="2", **TUS),
        "401 401 201 403 403 403 403 403 201",
    ),
    "tus part by PUT": (
        lambda c, p: c("PUT", p.fresh(), b"", Upload_Length="2", Upload_Concat="partial", **TUS),
        "401 401 201 403 403 403 403 403 201",
    ),
    "tus part beside another's upload": (
        lambda c, p: part_beside(c, p.resumable()),
        "401 401 404 403 403 403 403 404 400",
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


def one_of_each(turn: int, expected: list[str]) -> list[int]:
    """A column for each status of a row."""
    places: dict[str, list[int]] = {}
    for column, status in enumerate(expected):
        places.setdefault(status, []).append(column)
    return [columns[turn % len(columns)] for columns in places.values()]
