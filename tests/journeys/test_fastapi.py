"""FastAPI's `file: LiveUpload` on plain uvicorn: live where it can be, spooled where it must be.

The same app without `add(app)` gives the same answers, and reads nothing live.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import sluiceway
from fix_gateway import takes
from fix_taking import eventually, noise
from fix_uvicorn import UvicornApp, uvicorn
from raw_http import Wire, form_begun, form_body, form_head
from rude_peer import Exchange, Peer
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
DATA = noise(2_500_009)
SMALL = noise(70_001)
VIEWS = "fastapi_live_views:app"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer(begins_and_takes) as running:
        yield running


def begins_and_takes(exchange: Exchange) -> None:
    """Sets `go` at the first byte of the body."""
    exchange.wait()
    exchange.go.set()
    takes(exchange)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, peer: Peer) -> Iterator[UvicornApp]:
    with uvicorn(VIEWS, tmp_path_factory.mktemp("live"), BACKEND=peer.url) as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, peer: Peer) -> Iterator[UvicornApp]:
    """Without the line."""
    root = tmp_path_factory.mktemp("plain")
    with uvicorn(VIEWS, root, BACKEND=peer.url, ADDED="no") as running:
        yield running


@pytest.fixture
def both(app: UvicornApp, plain: UvicornApp) -> list[UvicornApp]:
    return [app, plain]


Part = tuple[str, Any]


def post(app: UvicornApp, path: str, *parts: Part) -> requests.Response:
    return requests.post(app.url + path, files=list(parts), timeout=60)


def file(name: str = "file", data: bytes = DATA, filename: str = "a.bin") -> Part:
    return name, (filename, data, "application/x-book")


def field(name: str, value: str) -> Part:
    return name, (None, value)


def test_a_file_behind_its_fields_is_live(app: UvicornApp) -> None:
    answer = post(app, "/book", field("title", "ü"), file())

    assert answer.json() == {
        "title": "ü",
        "filename": "a.bin",
        "type": "application/x-book",
        "live": True,
        "sha256": sha(DATA),
    }


def test_the_next_server_gets_the_first_bytes_while_the_client_still_sends(
    app: UvicornApp, peer: Peer
) -> None:
    before = len(peer.seen)
    begun = form_begun(("title", None, b"T"), ("file", "a.bin", b""))
    with Wire(app.port) as wire:
        wire.send(form_head(len(begun) + 2 * len(DATA), target="/forward") + begun + DATA[:MIB])
        eventually(lambda: len(peer.seen) > before, "the backend gets the request")
        exchange = peer.seen[before]
        assert exchange.go.wait(20), "it gets bytes"
        wire.send(DATA[MIB:])  # then the client hangs up
    assert exchange.was_cut()


def test_a_response_made_while_the_file_arrives_has_all_of_it(app: UvicornApp) -> None:
    """Starlette waits beside it for the client's end: it gets that, and no bytes of the file."""
    begun, data = form_begun(("file", "a.bin", b"")), SMALL[:20_000]
    body = begun + data + form_body(("file", "a.bin", b"")).removeprefix(begun)
    with Wire(app.port) as wire:
        answered = b""

        def receive_until(end: bytes) -> None:
            nonlocal answered
            while end not in answered:
                answered += (more := wire.sock.recv(65536))
                assert more, answered

        wire.send(form_head(len(body), target="/paced?name=left"))
        for at in range(0, len(data), 5000):  # each when the one before is answered
            wire.send(body[:5200] if at == 0 else body[at + 200 : at + 5200])
            receive_until(sha(data[at : at + 5000]).encode())
        wire.send(body[len(data) + 200 :])
        receive_until(b"\r\n.\r\n")
        assert not (app.folder / "left").exists()
    eventually((app.folder / "left").exists, "the response ends when the client leaves")


def test_a_large_file_costs_no_memory_and_no_temporary_file(app: UvicornApp) -> None:
    peaks = {}
    for size in (4 * MIB, 4 * MIB, 64 * MIB):
        meter = MemoryMeter(app.pid)
        meter.reset()
        form = sluiceway.Form({"title": "x"}).file(
            "file", (bytes(MIB) for _ in range(size // MIB)), size=size
        )
        answer = requests.post(f"{app.url}/save", data=form, headers=form.headers, timeout=60)
        assert (answer.status_code, answer.json()) == (201, "x")
        assert (app.folder / "saved.bin").stat().st_size == size
        peaks[size] = meter.peak()
        assert not list(app.temporary.iterdir())

    assert peaks[64 * MIB] - peaks[4 * MIB] <= 8 * MIB


def test_a_field_behind_the_file_spools_it_and_the_log_names_the_view(app: UvicornApp) -> None:
    app.log.take()
    answer = post(app, "/book", file(), field("title", "late"))

    found = answer.json()
    assert (found["title"], found["live"], found["sha256"]) == ("late", False, sha(DATA))
    notes = [line for line in app.log.take() if "is spooled" in line]
    assert len(notes) == 1
    assert "fastapi_live_views.py:" in notes[0]
    assert "the field 'title'" in notes[0]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/book", [file(), field("title", "late")]),
        ("/book", [field("title", "a"), field("title", "b"), file(data=SMALL)]),
        ("/sniffed", [file()]),
        ("/sniffed?seek=5", [file()]),
        ("/sniffed?first=900000", [file()]),
        ("/sniffed?seek=2000000", [file()]),
        ("/sniffed", [file(data=b"")]),
        ("/sniffed?seek=20", [file(data=b"0123456789")]),
        ("/sync", [file(), field("number", "7")]),
        ("/sync", [field("number", "7"), file(data=SMALL)]),
        ("/lines", [file(data=b"one\ntwo\nthree")]),
        ("/optional", [field("note", "n")]),
        ("/optional", [file(data=b"x"), field("note", "n")]),
        ("/optional", [file()]),
        ("/optional", []),
        ("/many", [file("files"), file("files", SMALL, "b"), field("other", "x")]),
        ("/many", [file("files", SMALL)]),
        ("/two", [file("a"), file("b", SMALL)]),
        ("/two", [file("b"), file("a", SMALL)]),
        ("/two", [file("a"), file("x", SMALL), file("b", SMALL)]),
        ("/beside", [file("file"), file("cover", SMALL)]),
        ("/beside", [file("cover"), file("file", SMALL)]),
        ("/first", [field("title", "T"), field("note", "N"), file()]),
        ("/first", [field("title", "T"), file()]),
        ("/shelf/model", [field("title", "T"), field("pages", "9"), file()]),
        ("/shelf/depends", [field("key", "k"), file("cover")]),
        ("/shelf/depends", [file("cover"), field("key", "k")]),
        ("/again/shelf/model", [field("key", "k"), field("title", "T"), file()]),
        ("/sub/book", [field("title", "T"), file()]),
        ("/sub/book", [file(), field("title", "T")]),
        ("/echo", [file()]),
    ],
)
def test_the_answer_is_the_same_as_without_the_line(
    both: list[UvicornApp], path: str, parts: list[Part]
) -> None:
    """Only `live` may differ."""
    with_line, without = (post(each, path, *parts) for each in both)

    assert (with_line.status_code, without.status_code) == (200, 200)
    if path == "/echo":
        assert with_line.content == without.content == DATA
    else:
        assert not_live(with_line.json()) == not_live(without.json())


def not_live(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: not_live(value) for name, value in answer.items() if name != "live"}
    if isinstance(answer, list):
        return [not_live(value) for value in answer if value not in (True, False)]
    return "UploadFile" if answer == "LiveUpload" else answer


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/book", [field("title", "T")]),
        ("/book", [file()]),
        ("/book", [field("title", "T"), field("file", "no file")]),
        ("/sync", [field("number", "many"), file()]),
        ("/many", [field("files", "no file")]),
        ("/book", [file("title", SMALL), file()]),
        ("/book", [file(), file("title", SMALL)]),
        ("/shelf/model", [field("pages", "3"), file("title", SMALL), file()]),
        ("/shelf/model", [field("pages", "many"), field("title", "T"), file()]),
        ("/again/shelf/depends", [file("cover")]),
        ("/sniffed?seek=x", [file()]),
    ],
)
def test_what_is_not_valid_is_fastapis_422(
    both: list[UvicornApp], path: str, parts: list[Part]
) -> None:
    with_line, without = (post(each, path, *parts) for each in both)

    assert (with_line.status_code, without.status_code) == (422, 422)
    found = [
        [(one["type"], one["loc"]) for one in each.json()["detail"]]
        for each in (with_line, without)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("body", [{"json": {"title": "T"}}, {"data": {"title": "T"}}, {}])
def test_a_body_that_is_no_form_is_fastapis_422(
    both: list[UvicornApp], body: dict[str, Any]
) -> None:
    with_line, without = (requests.post(f"{each.url}/book", timeout=10, **body) for each in both)

    assert (with_line.status_code, with_line.json()) == (422, without.json())


def test_the_openapi_description_offers_a_file_upload(both: list[UvicornApp]) -> None:
    with_line, without = (requests.get(f"{each.url}/openapi.json", timeout=10) for each in both)

    assert with_line.json() == without.json()
    described = with_line.json()
    body = described["paths"]["/book"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    properties = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert properties["properties"]["file"]["type"] == "string"
    assert properties["properties"]["file"]["format"] == "binary"
    assert properties["required"] == ["title", "file"]
    many = described["components"]["schemas"]["Body_many_many_post"]["properties"]["files"]
    assert (many["type"], many["items"]["format"]) == ("array", "binary")


def test_of_two_files_the_last_is_live(app: UvicornApp) -> None:
    for names in (("a", "b"), ("b", "a")):
        found = {one[0]: one[1] for one in post(app, "/two", *two_files(*names)).json()}
        assert found == {names[0]: False, names[1]: True}


def two_files(*names: str) -> list[Part]:
    return [file(name, SMALL, filename=name) for name in names]


def test_fields_first_refuses_what_comes_behind(app: UvicornApp) -> None:
    answer = post(app, "/first", field("title", "T"), file(), field("note", "late"))
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-order")

    answer = post(app, "/first", file(), field("title", "late"))
    assert answer.json()["detail"][0]["loc"] == ["body", "title"]


def test_fields_first_is_live_although_an_optional_field_is_missing(app: UvicornApp) -> None:
    assert post(app, "/first", field("title", "T"), file()).json()[1:3] == ["-", True]
    assert post(app, "/optional", file()).json()[1][0] is False


def test_a_seek_back_beyond_the_window_is_an_error_with_a_cure(app: UvicornApp) -> None:
    answer = post(app, "/sniffed?first=1500000", file())
    assert answer.status_code == 500
    assert b"spool" not in answer.content

    assert post(app, "/sniffed?first=1000000", file()).json()["sha256"] == sha(DATA)


def test_a_zip_is_read_after_spool(app: UvicornApp) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("one.txt", b"1" * 100)
        archive.writestr("two.bin", DATA)
    assert post(app, "/zip", file(data=made.getvalue())).json() == ["one.txt", "two.bin"]
    assert not list(app.temporary.iterdir())


def test_a_plain_view_reads_the_file_in_its_thread(app: UvicornApp) -> None:
    answer = post(app, "/sync", field("number", "2"), file()).json()
    assert answer == {"live": True, "number": 2, "sha256": sha(DATA)}


def test_a_blocking_read_in_the_event_loop_is_an_error(app: UvicornApp) -> None:
    assert post(app, "/blocking", file()).status_code == 500


def test_background_tasks_can_read_the_file(app: UvicornApp) -> None:
    assert post(app, "/background", file()).json() == "soon"
    later = app.folder / "later"
    eventually(lambda: later.exists() and later.read_text() == sha(DATA), "the task has read it")


@pytest.mark.parametrize("path", ["/save", "/sub/book"])
def test_a_truncated_form_is_a_400_and_saves_nothing(app: UvicornApp, path: str) -> None:
    for left in app.folder.iterdir():
        left.unlink()
    begun = form_begun(("title", None, b"T"), ("file", "a.bin", b"")) + DATA
    with Wire(app.port) as wire:
        wire.send(form_head(len(begun) + 44, target=path) + begun + b"x" * 44)
        answer = wire.answer()
    assert (answer.status, answer.code) == (400, "bad-form")
    eventually(lambda: not list(app.folder.iterdir()), "nothing is left")


def test_the_headers_of_a_part_are_there(both: list[UvicornApp]) -> None:
    """A live file has what UploadFile has of it, such as its own Content-Encoding."""
    own = {"Content-Encoding": "gzip", "X-Own": "yes"}
    for app in both:
        headers = post(app, "/headers", ("file", ("a", SMALL, "text/x", own))).json()
        headers.pop("content-disposition")
        assert headers == {"content-type": "text/x", "content-encoding": "gzip", "x-own": "yes"}


def test_an_encoded_body_is_refused_in_words(app: UvicornApp) -> None:
    answer = requests.post(
        f"{app.url}/book",
        data=gzip.compress(SMALL),
        headers={"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported")
