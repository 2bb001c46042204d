"""POST /files with a raw body: the server makes the key; the client may give name and id."""

from __future__ import annotations

import re
import secrets
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer, Serve
from raw_http import head, talk


def post(
    server: RunningServer, query: str = "", data: bytes = b"data", **headers: str
) -> requests.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{server.url}/files{query}", data=data, headers=fields, timeout=10)


def test_a_name_in_the_query_is_the_filename(taker: RunningServer) -> None:
    """?name= is kept as the filename, the key is a fresh id and the name, Location points to it."""
    response = post(taker, "?name=" + quote("Übersicht 1.pdf"))
    (entry,) = response.json()["files"]

    assert response.status_code == 201
    assert (entry["filename"], entry["type"]) == ("Übersicht 1.pdf", "application/pdf")
    assert re.fullmatch(r"[a-z0-9]{25}/Übersicht 1\.pdf", entry["key"])
    assert response.headers["Location"] == entry["url"]
    assert requests.get(taker.url + entry["url"], timeout=10).content == b"data"


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ('attachment; filename="C:\\\\dir\\\\x.txt"', "x.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ("attachment", "unnamed"),
    ],
)
def test_a_name_in_content_disposition_is_the_filename(
    taker: RunningServer, disposition: str, filename: str
) -> None:
    """Content-Disposition gives the name too, cleaned."""
    response = post(taker, Content_Disposition=disposition)

    assert (201, filename) == (response.status_code, response.json()["files"][0]["filename"])


def test_the_query_wins_over_the_header(taker: RunningServer) -> None:
    """Both given: the name in the URL counts."""
    response = post(taker, "?name=query.txt", Content_Disposition="attachment; filename=header.txt")

    assert response.json()["files"][0]["filename"] == "query.txt"


PIECES = {
    "Content-Range": "bytes 0-3/10",  # jQuery File Upload's chunks, as forms
    "Upload-Complete": "?0",  # resumable uploads, the HTTP working group's draft
    "Upload-Incomplete": "?1",  # the same in its first drafts, which phones still send
    "Upload-Length": "10",  # FilePond asks with an empty body where its pieces go
    "Upload-Offset": "4",
    "Tus-Resumable": "1.0.0",
}


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_of_a_form_is_refused(taker: RunningServer, name: str) -> None:
    """The sender would take the response for the whole file's; a form has no way to go on."""
    headers, before = {name: PIECES[name]}, taker.stored()
    if name == "Tus-Resumable":
        headers["Upload-Offset"] = "4"
    response = requests.put(
        f"{taker.url}/files/x", files={"f": ("x", b"part")}, headers=headers, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")
    assert name in response.json()["detail"]
    assert "can be resumed" in response.json()["detail"]
    assert taker.stored() == before


@pytest.mark.parametrize("name", ["Content-Range", "Upload-Length", "Upload-Offset"])
def test_a_piece_that_does_not_say_how_it_goes_on_is_refused(
    taker: RunningServer, name: str
) -> None:
    """Of a raw POST: there is no key to go on at."""
    before = taker.stored()
    response = post(taker, "?name=x", b"part", **{name.replace("-", "_"): PIECES[name]})

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")
    assert name in response.json()["detail"]
    assert taker.stored() == before


@pytest.mark.parametrize("name", ["Upload-Complete", "Upload-Incomplete"])
def test_a_first_piece_becomes_no_file(taker: RunningServer, name: str) -> None:
    """The response says where the upload goes on."""
    before = taker.stored()
    response = post(taker, "?name=x", b"part", **{name.replace("-", "_"): PIECES[name]})

    assert response.status_code == 201
    assert response.headers["Location"].startswith("/uploads/")
    assert response.headers[name] == PIECES[name]
    assert taker.stored() == before


@pytest.mark.parametrize("mark", ["0", "no", "?0, ?1"])
def test_a_file_whose_mark_may_mean_a_piece_is_refused(taker: RunningServer, mark: str) -> None:
    """A structured field that cannot be read may mean anything."""
    assert post(taker, "?name=piece", Upload_Complete=mark).status_code == 400


def test_a_whole_file_may_be_marked_as_whole(taker: RunningServer) -> None:
    """A client that could resume sends everything at once where the server does not offer it."""
    response = post(
        taker,
        "?name=whole",
        Upload_Complete="?1",
        Upload_Incomplete="?0",
        Upload_Offset="0",
        Upload_Length="4",
    )
    assert response.status_code == 201


def test_without_a_name_a_file_is_unnamed(taker: RunningServer) -> None:
    """No name is no error."""
    assert post(taker).json()["files"][0]["filename"] == "unnamed"


def test_the_same_name_twice_is_two_objects(taker: RunningServer) -> None:
    """The default template holds an id: no upload overwrites another."""
    keys = {
        post(taker, "?name=same.txt", str(number).encode()).json()["files"][0]["key"]
        for number in range(5)
    }

    assert len(keys) == 5
    assert {(taker.root / key).read_bytes() for key in keys} == {b"0", b"1", b"2", b"3", b"4"}


def test_the_type_is_sent_or_guessed(taker: RunningServer) -> None:
    """A type is kept with its parameters; curl's default type, and none, is guessed by the name."""
    kept = post(taker, "?name=x.bin", Content_Type="Image/PNG; x=y").json()["files"][0]["type"]
    curl = post(taker, "?name=x.jpg", Content_Type="application/x-www-form-urlencoded").json()[
        "files"
    ][0]["type"]

    assert (kept, curl) == ("image/png; x=y", "image/jpeg")


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_zero_bytes_are_a_file_too(taker: RunningServer, size: int) -> None:
    """POST of any size, empty included."""
    response = post(taker, "?name=empty", b"x" * size)

    assert (201, size) == (response.status_code, response.json()["files"][0]["size"])


def test_a_template_without_an_id_never_overwrites(serve: Serve) -> None:
    """--key-template '{filename}': the second upload of a name gets 409, the first one stays."""
    server = serve("--key-template", "in/{filename}")
    first, second = post(server, "?name=a.txt", b"first"), post(server, "?name=a.txt", b"second")

    assert (first.status_code, first.json()["files"][0]["key"]) == (201, "in/a.txt")
    assert (second.status_code, second.json()["code"]) == (409, "exists")
    assert (server.root / "in" / "a.txt").read_bytes() == b"first"
    assert server.drafts() == []


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (".{filename}", "sluiceway"),
        (".{filename}", "Sluiceway-drafts"),
        ("{filename}-{filename}", "x" * 150),
        ("{filename}:{id}", "C"),
        ("{filename}{id}", "a"),
    ],
)
def test_a_template_makes_no_key_that_cannot_be_requested(
    serve: Serve, template: str, name: str
) -> None:
    """Name and template are valid by themselves; the key that they make is checked as well."""
    server = serve("--key-template", template)
    raw = post(server, f"?name={name}")
    form = requests.post(f"{server.url}/files", files={"f": (name, b"1")}, timeout=10)

    for response in (raw, form):
        if response.status_code == 201:
            url = server.url + response.json()["files"][0]["url"]
            assert requests.get(url, timeout=10).status_code == 200
        else:
            assert (response.status_code, response.json()["code"]) == (400, "bad-name")
    assert (raw.status_code == 400) is ((template, name) in REFUSED)
    assert server.drafts() == []
    assert not [key for key in server.stored() if key.lower().startswith(".sluiceway")]


REFUSED = [
    (".{filename}", "sluiceway"),
    (".{filename}", "Sluiceway-drafts"),
    ("{filename}-{filename}", "x" * 150),
    ("{filename}:{id}", "C"),
]


def test_an_upload_id_is_chosen_once(taker: RunningServer) -> None:
    """?upload= comes back in Upload-Id; a second upload under it is refused and stores nothing."""
    chosen = secrets.token_urlsafe(24)
    first = post(taker, f"?upload={chosen}&name=one.txt")
    before = taker.stored()
    second = post(taker, f"?upload={chosen}&name=two.txt")

    assert (first.status_code, first.headers["Upload-Id"]) == (201, chosen)
    assert (second.status_code, second.json()["code"]) == (409, "exists")
    assert taker.stored() == before


@pytest.mark.parametrize(
    "bad", ["", "short", "x" * 65, "ä" * 22, "a/../../../../../../../b", "a b" * 10]
)
def test_an_upload_id_that_could_be_guessed_is_refused(taker: RunningServer, bad: str) -> None:
    """22 to 64 letters, digits, - and _."""
    response = post(taker, "?upload=" + quote(bad, safe=""))

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")


def test_a_post_below_files_is_not_offered(taker: RunningServer) -> None:
    """POST makes new keys; at an object's own path there is PUT. 405 names what is offered."""
    response = talk(taker.port, head("POST", "/files/x", "Content-Length: 1") + b"x")

    assert response.status == 405
    assert "PUT" in response.headers["allow"]
