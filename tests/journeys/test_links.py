"""Links by a real server: the table of rights below each kind, limits, counts, revocation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from fork_programs import IN_A_FORK
from rights_table import CELLS, OFFSET, TUS, Place, one_of_each
from sluiceway.server.access.link_keys import add_key, first_key, read_link_keys
from sluiceway.uploads.access.links import new_link_key
from token_names import Client, token_file

# row -> what it answers below a link that uploads into acme/, one that reads one file, one that
# reads acme/. A link that is over is 410, a forged one 404, everywhere.
EXPECTED = {
    "raw PUT": "403 403 403",
    "raw PUT into the folder": "201 403 403",
    "raw PUT over a file of another": "409 403 403",
    "large PUT over a file of another": "409 403 403",
    "raw POST": "201 403 403",
    "raw POST that replaces": "403 403 403",
    "form POST": "201 403 403",
    "form PUT": "201 403 403",
    "form PUT over a file of another": "409 403 403",
    "what runs": "403 403 403",
    "metrics": "403 403 403",
    "tus creation": "201 403 403",
    "tus HEAD of another's": "404 403 403",
    "tus PATCH of another's": "404 403 403",
    "tus DELETE of another's": "404 403 403",
    "tus DELETE of another's by POST": "404 403 403",
    "tus joins parts of another": "400 403 403",
    "tus creation by PUT": "403 403 403",
    "tus part by PUT": "403 403 403",
    "tus part beside another's upload": "404 403 403",
    "resumable creation": "201 403 403",
    "resumable creation by PUT": "403 403 403",
    "resumable HEAD of another's": "404 403 403",
    "resumable append to another's": "404 403 403",
    "resumable DELETE of another's": "404 403 403",
    "piece by PUT": "403 403 403",
    "first piece over a file of another": "409 403 403",
    "import": "403 403 403",
    "fetch": "403 403 403",
    "GET": "404 404 404",
    "GET in the folder": "404 404 200",
    "HEAD": "404 404 404",
    "GET of no file": "404 404 404",
    "list": "403 403 200",
    "view": "403 403 200",
    "zip of a folder": "403 403 200",
    "zip of a selection": "404 404 200",
    "small files together": "200 200 200",
    "DELETE": "403 403 403",
    "DELETE in the folder": "403 403 403",
    "rename": "403 403 403",
    "rename out of the folder": "403 403 403",
    "rename into the folder": "403 403 403",
    "progress of another's": "404 403 403",
    "make a link": "403 403 403",
    "revoke a link": "403 403 403",
    "doctor": "403 403 403",
    "page": "200 303 200",
    "asset of the page": "200 200 200",
    "OPTIONS": "204 204 204",
    "probes": "200 200 200",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    add_key(str(path))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("links")
    tokens = token_file(folder / "tokens")
    server = start_server(
        folder / "root",
        *("--token-file", str(tokens), "--link-key-file", str(keys)),
        *("--fetch-from", "127.0.0.1:1", "--fetch-internal", "127.0.0.0/8"),
    )
    yield server
    server.stop()


Made = Callable[..., Client]


@pytest.fixture
def made(running: RunningServer, keys: Path) -> Made:
    """A client whose server is a link."""

    def make(**limits: Any) -> Client:
        url = sluiceway.link(running.url, first_key(str(keys)), **limits)
        return Client(url.rstrip("/"), "")

    return make


def test_the_links_table_has_each_row() -> None:
    assert list(EXPECTED) == list(CELLS)


@pytest.mark.parametrize("row", EXPECTED)
def test_each_outcome_below_a_link(running: RunningServer, made: Made, row: str) -> None:
    turn = list(EXPECTED).index(row)
    ended = [3 + turn % 2]  # over, forged
    check_row(running, made, row, [*one_of_each(turn, EXPECTED[row].split()), *ended])


@pytest.mark.torture
@pytest.mark.parametrize("row", EXPECTED)
def test_each_cell_below_a_link(running: RunningServer, made: Made, row: str) -> None:
    check_row(running, made, row, range(5))


def check_row(running: RunningServer, made: Made, row: str, columns: Sequence[int]) -> None:
    place = Place(running.url)
    clients = {
        "up": made(prefix="acme/"),
        "down": made(key="acme/given", method="GET"),
        "shelf": made(prefix="acme/", method="GET"),
        "over": made(prefix="acme/", method=["GET", "POST"], expires=-1),
        "forged": made(prefix="acme/"),
    }
    clients["forged"].url = clients["forged"].url[:-1] + "_"
    statuses, names = [*EXPECTED[row].split(), "410", "404"], list(clients)
    expected = {names[column]: statuses[column] for column in columns}
    found = {name: str(CELLS[row][0](clients[name], place).status_code) for name in expected}
    assert found == expected


def test_a_link_uploads_in_each_dialect(running: RunningServer, made: Made) -> None:
    """By curl, by tus from its relative Location on, with its own progress; its files have its
    owner and fields, and it reads none of them."""
    link = made(prefix="inbox/", owner="ann", fields={"order": "17"})
    sent = running.root.parent / "photo.jpg"
    sent.write_bytes(b"jpeg")
    curl = subprocess.run(
        ["curl", "-sS", "-F", f"file=@{sent}", f"{link.url}/files"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    key = json.loads(curl.stdout)["files"][0]["key"]
    assert re.fullmatch(r"inbox/[a-z0-9]{25}/photo\.jpg", key)
    note = json.loads(os.getxattr(running.root / key, "user.sluiceway"))
    assert note["user"] == {"order": "17", "owner": "ann"}
    assert link("GET", f"/files/{key}").status_code == 404

    created = link("POST", "/files", b"", Upload_Length="4", **TUS)
    upload = requests.compat.urljoin(f"{link.url}/files", created.headers["Location"])
    assert upload.startswith(f"{link.url}/uploads/")
    headers = {"Upload-Offset": "0", "Content-Type": OFFSET, "Tus-Resumable": "1.0.0"}
    assert requests.get(upload, timeout=60).json()["state"] == "waiting"
    assert requests.patch(upload, b"abcd", headers=headers, timeout=60).status_code == 204
    other = made(prefix="inbox/")
    created = link("POST", "/files", b"", Upload_Length="4", **TUS)
    theirs = "/uploads/" + created.headers["Location"].rpartition("/")[2]
    assert other("HEAD", theirs, **TUS).status_code == 404


def test_a_link_to_one_file_stores_and_reads_that(running: RunningServer, made: Made) -> None:
    """Under the signed key, whichever way it comes; never over what is there."""
    link = made(key="exact/name.txt", method="PUT")
    assert link("PUT", "/files/exact/other.txt", b"x").status_code == 403
    posted = link("POST", "/files", b"one", Content_Disposition='attachment; filename="x.txt"')
    assert (posted.status_code, posted.json()["files"][0]["key"]) == (201, "exact/name.txt")
    assert link("PUT", "/files/exact/name.txt", b"two").status_code == 409
    assert (running.root / "exact" / "name.txt").read_bytes() == b"one"
    read = made(key="exact/name.txt", method="GET")
    found = requests.get(f"{read.url}/", timeout=60)  # as a browser goes to it
    assert (found.status_code, found.content) == (200, b"one")
    assert requests.get(read.url, timeout=60).content == b"one"
    assert read("GET", "/files/exact/other.txt").status_code == 404


def test_size_type_and_count_are_signed(made: Made) -> None:
    link = made(prefix="in/", max_size=3, types=["image/*"], count=2)
    image, image_type = {"Content_Type": "image/png"}, {"Content-Type": "image/png"}
    larger = link("POST", "/files", b"1234", **image)
    assert (larger.status_code, "this link takes at most 3" in larger.text) == (413, True)
    chunked = requests.post(
        f"{link.url}/files", iter([b"12", b"34"]), headers=image_type, timeout=60
    )
    assert (chunked.status_code, "this link takes at most 3" in chunked.text) == (413, True)
    unnamed = link("POST", "/files", b"123")
    assert (unnamed.status_code, "-H 'Content-Type: image/jpeg'" in unnamed.text) == (415, True)
    refused = link("POST", "/files", b"123", Content_Type="text/html")
    assert (refused.status_code, "image/*" in refused.json()["detail"]) == (415, True)
    assert link("POST", "/files", b"", Upload_Length="4", **TUS).status_code == 413
    kind = "filetype aW1hZ2UvcG5n"
    begun = link("POST", "/files", b"", Upload_Defer_Length="1", Upload_Metadata=kind, **TUS)
    upload = requests.compat.urljoin(f"{link.url}/files", begun.headers["Location"])
    piece = {"Upload-Offset": "0", "Content-Type": OFFSET, "Tus-Resumable": "1.0.0"}
    longer = requests.patch(upload, b"1234", headers=piece, timeout=60)
    assert (longer.status_code, "this link takes at most 3" in longer.text) == (413, True)
    for status in (201, 201, 403):
        assert link("POST", "/files", b"123", **image).status_code == status
    tus = link("POST", "/files", b"", Upload_Length="3", Upload_Metadata=kind, **TUS)
    assert tus.status_code == 403


def test_a_count_is_exact_among_uploads_at_once(running: RunningServer, made: Made) -> None:
    """Twelve at once against a link for five: five are stored. A failed one costs nothing."""
    link = made(prefix="five/", count=5)
    wrong = {"Repr_Digest": "sha-256=:" + "A" * 43 + "=:"}
    assert link("POST", "/files", b"x", **wrong).status_code == 400
    with ThreadPoolExecutor(12) as pool:
        found = [*pool.map(lambda _: link("POST", "/files", b"x").status_code, range(12))]
    assert sorted(found) == [201] * 5 + [403] * 7
    assert len([key for key in running.stored() if key.startswith("five/")]) == 5


def test_the_admin_makes_and_revokes_links(running: RunningServer) -> None:
    """By request; the link is dead at the next look, and the log has its id only."""
    boss = Client(running.url, "boss")
    assert Client(running.url, "acme")("POST", "/links", "{}").status_code == 403
    for wrong in ("", "[]", "{}", '{"key": 1}', '{"key": "a", "colour": 1}', '{"prefix": "x"}'):
        assert boss("POST", "/links", wrong).status_code == 400, wrong
    assert boss("POST", "/links", " " * (16 << 10) + "{}").status_code == 413
    answer = boss("POST", "/links", json.dumps({"prefix": "made/", "count": 2, "expires": 60}))
    assert answer.status_code == 201
    link = Client(answer.json()["url"].rstrip("/"), "")
    assert link("POST", "/files", b"x").status_code == 201
    assert boss("DELETE", f"/links/{answer.json()['id']}").status_code == 204
    assert boss("DELETE", "/links/no-such.id").status_code == 400
    eventually(lambda: link("POST", "/files", b"x").status_code == 404, "the link is revoked")
    log = running.log()
    assert f"link {answer.json()['id']} made by boss" in log
    assert answer.json()["path"].split("/")[2] not in log
    assert '"POST /l/.../files"' in log


def test_keys_rotate(serve: Serve, tmp_path: Path) -> None:
    """The newest signs, the older ones still check; without its key a link is none. A browser's
    page of a server without a token does not open the links of another key."""
    path = tmp_path / "keys"
    run = [sys.executable, "-m", "sluiceway", "link"]

    def link(*words: str) -> str:
        words = (*words, "--link-key-file", str(path))
        return subprocess.run(
            [*run, *words], capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    link("new-key")
    assert path.stat().st_mode & 0o777 == 0o600
    server = serve("--link-key-file", str(path))
    old = link("make", server.url, "--prefix", "a/", "--count", "9", "--field", "order=1")
    for wrong in ("--expires=-5", "--expires=nan", "--method=GET --count=3"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            link("make", server.url, "--prefix", "a/", *wrong.split())
        assert refused.value.returncode == 2
    link("new-key")
    new = link("make", server.url, "--prefix", "a/")
    assert len(read_link_keys(str(path)).keys) == 2
    eventually(lambda: requests.get(new, timeout=60).status_code == 200, "the new key counts")
    assert requests.get(old, timeout=60).status_code == 200
    link("revoke", new)
    eventually(lambda: requests.get(new, timeout=60).status_code == 404, "it is revoked")
    path.write_text(path.read_text().splitlines()[0])
    eventually(lambda: requests.get(old, timeout=60).status_code == 404, "its key is gone")
    stranger = sluiceway.link(server.url, new_link_key(), prefix="a/")
    assert requests.get(stranger, timeout=60).status_code == 404


ASKED = {
    "Flask": """
answer = app.test_client().get("/orders/17/photos")
link = answer.location
""",
    "Django": """
import django, sys
from django.conf import settings
sys.modules["urls"] = sys.modules["__main__"]
settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="of these tests", ROOT_URLCONF="urls")
django.setup()
from django.test import Client
link = Client().get("/orders/17/photos")["Location"]
""",
    "FastAPI": """
from fastapi.testclient import TestClient
link = TestClient(app).get("/orders/17/photos", follow_redirects=False).headers["Location"]
""",
}


@pytest.mark.parametrize("framework", ASKED)
def test_the_snippets_of_the_page_make_links(
    running: RunningServer, keys: Path, framework: str
) -> None:
    """Each runs as it is printed; its link takes an image below the order, and no text."""
    page = (Path(__file__).parents[2] / "docs" / "links.md").read_text("utf-8")
    snippet = page.split(f"\n{framework}:\n")[1].split("```python\n")[1].split("```")[0]
    variables = {"FILES_SERVER": running.url, "LINK_KEY": first_key(str(keys))}
    made = subprocess.run(
        [sys.executable, "-c", IN_A_FORK + snippet + ASKED[framework] + "\nprint(link)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, **variables},
    )
    link = Client(made.stdout.strip().rstrip("/"), "")
    assert link("POST", "/files", b"x", Content_Type="text/plain").status_code == 415
    answer = link("POST", "/files", b"x", Content_Type="image/png")
    assert answer.status_code == 201
    assert answer.json()["files"][0]["key"].startswith("orders/17/")
