"""sluiceway.flask on real WSGI servers: files are live, order is told, nothing is spooled, no cut passes for an end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest
import requests

import sluiceway
from fix_gateway import takes
from fix_taking import eventually, noise
from fix_wsgi import WsgiApp, running
from raw_http import Wire, chunk, form_begun, form_body, form_head, head
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
DATA = noise(2_000_003)
FORM_TYPE = form_head(1).decode().partition("Content-Type: ")[2].partition("\r\n")[0]


@pytest.fixture(scope="module", params=["gunicorn gthread", "flask run"])
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WsgiApp]:
    with running(request.param, tmp_path_factory.mktemp("flask"), takes) as app:
        yield app


def post(
    app: WsgiApp, path: str, *parts: tuple[str, str | None, bytes], framing: str = "length"
) -> requests.Response:
    body = form_body(*parts)
    headers = {"Content-Type": FORM_TYPE}
    data = (
        body
        if framing == "length"
        else iter([body[at : at + 50_000] for at in range(0, len(body), 50_000)])
    )
    return requests.post(f"{app.url}{path}", data=data, headers=headers, timeout=30)


def test_unchanged_view_code_passes_a_file_on_while_it_arrives(app: WsgiApp) -> None:
    """The backend has the first bytes before one in twenty was sent."""
    before = len(app.peer.seen)
    size = 40 * MIB
    begun = form_begun(("title", None, b"The book"), ("file", "book.pdf", b""))
    end = form_body(("x", "y", b"@@")).partition(b"@@")[2]
    with Wire(app.port) as wire:
        wire.send(form_head(len(begun) + size + len(end), target="/relay") + begun + bytes(MIB))
        eventually(lambda: len(app.peer.seen) > before, "the backend hears of it")
        exchange = app.peer.seen[before]
        eventually(lambda: len(exchange.body) >= 256 << 10, "its first bytes are over there")
        for _ in range(size // MIB - 1):
            wire.send(bytes(MIB))
        wire.send(end)
        answer = wire.answer()

    assert answer.status == 201
    assert exchange.headers["x-title"] == "The book"
    assert exchange.headers["content-length"] == str(size)
    assert len(exchange.body) == size


def test_memory_and_temporary_files_stay_as_they_are(app: WsgiApp) -> None:
    """64 MiB cost what 4 MiB do, and nothing is written to the temporary folder."""
    peaks = {}
    for size in (4 * MIB, 4 * MIB, 64 * MIB):
        meters = [MemoryMeter(pid) for pid in app.pids]
        for meter in meters:
            meter.reset()
        form = sluiceway.Form({"title": "x"}).file(
            "file", (bytes(MIB) for _ in range(size // MIB)), size=size
        )
        assert (
            requests.post(
                f"{app.url}/relay", data=form, headers=form.headers, timeout=60
            ).status_code
            == 201
        )
        peaks[size] = sum(meter.peak() for meter in meters)
        assert not list(app.temporary.iterdir())

    assert peaks[64 * MIB] - peaks[4 * MIB] <= 8 * MIB


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_file_is_saved_whole(app: WsgiApp, framing: str) -> None:
    """With its name, type and, where the form has a length, its size."""
    answer = post(app, "/save", ("title", None, b"T"), ("file", "a ü.pdf", DATA), framing=framing)

    assert answer.json() == {
        "filename": "a ü.pdf", "type": "application/octet-stream", "head": "application/octet-stream",
        "size": len(DATA) if framing == "length" else None, "title": "T",
    }  # fmt: skip
    assert (app.folder / "saved.bin").read_bytes() == DATA
    assert [path.name for path in app.folder.iterdir()] == ["saved.bin"]


def test_a_length_that_was_taken_for_granted_is_no_short_body(app: WsgiApp) -> None:
    """Something follows the file: the next server sees a body that breaks off, the client reads why; in chunks it goes."""
    before = len(app.peer.seen)
    answer = post(app, "/relay", ("title", None, b"T"), ("file", "a", DATA), ("more", "b", b"2"))

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-form")
    assert "one file in a form" in answer.json()["detail"]
    assert "iter(file)" in app.printed.read_text("utf-8")  # the view's author learns more
    eventually(
        lambda: len(app.peer.seen) > before, "the backend has seen it"
    )  # it may read its head after our answer
    assert app.peer.seen[before].done.wait(10)
    assert app.peer.seen[before].cut
    assert post(app, "/relay-chunked", ("file", "a", DATA), ("more", "b", b"2")).status_code == 201
    assert app.peer.seen[-1].body == DATA


def test_a_file_goes_on_in_another_form_with_its_name_and_type(app: WsgiApp) -> None:
    """And something behind it is told as the sender's affair, with the cure."""
    assert post(app, "/relay-form", ("file", "emma ü.epub", DATA)).status_code == 201
    sent = app.peer.seen[-1].body
    assert (
        'name="book"; filename="emma ü.epub"\r\nContent-Type: application/octet-stream\r\n'.encode()
        in sent
    )
    assert DATA in sent
    answer = post(app, "/relay-form", ("file", "a", DATA), ("more", "b", b"2"))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-form")


def test_parts_come_in_order_one_or_many(app: WsgiApp) -> None:
    """What the view skips is skipped, also when it is large."""
    digest = hashlib.sha256(DATA).hexdigest()
    answer = post(
        app,
        "/parts",
        ("f", "a", DATA),
        ("f", "b", DATA),
        ("t", None, b"v"),
        ("g", "c", b""),
        ("empty", "", b""),
    )

    assert answer.json() == [
        ["f", "a"],
        ["f", "b", digest],
        ["t", "v"],
        ["g", "c", hashlib.sha256(b"").hexdigest()],
    ]


def test_code_for_werkzeugs_mappings_runs(app: WsgiApp) -> None:
    answer = post(
        app,
        "/mapping?q=5",
        ("n", None, b"1"),
        ("n", None, b"2"),
        ("f", "a", b"123"),
        ("g", "b", b"1"),
    )

    assert answer.json() == {
        "fields": {"n": "1"}, "list": [1, 2], "typed": 1, "items": [["n", "1"], ["n", "2"]], "values": "5", "any": True,
        "files": [["f", "a", 3], ["g", "b", 1]], "none": None,
    }  # fmt: skip


def test_a_field_behind_an_unread_file_is_refused_and_the_line_is_in_the_log(app: WsgiApp) -> None:
    """The client, who can change it, learns which file stands before it and what to do; no path of the app."""
    answer = post(app, "/late", ("file", "a.bin", DATA), ("title", None, b"T"))
    told = answer.json()

    assert (answer.status_code, told["code"]) == (422, "wrong-order")
    assert "flask_views.py" not in answer.text
    assert "'a.bin'" in told["detail"]
    assert "fields before files" in told["detail"]
    assert "flask_views.py:" in app.printed.read_text("utf-8")


def test_a_file_first_form_is_refused_before_it_is_sent(app: WsgiApp) -> None:
    """422 that the client reads, after the first bytes of a gigabyte."""
    assert post(app, "/needs", ("title", None, b"T"), ("file", "a", b"123")).text == "T 3"
    begun = form_begun(("file", "a.bin", b""))
    with Wire(app.port) as wire:
        wire.send(form_head(1 << 30, target="/needs") + begun + bytes(64 << 10))
        answer = wire.answer()

    assert (answer.status, answer.code) == (422, "missing-field")
    assert "'title'" in answer.json()["detail"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("path", ["/save", "/raw", "/relay"])
def test_a_cut_body_is_no_end(app: WsgiApp, path: str, framing: str) -> None:
    """The client hangs up in the middle: nothing is saved, nothing complete goes on."""
    for left in app.folder.iterdir():
        left.unlink()
    before = len(app.peer.seen)
    begun = b"" if path == "/raw" else form_begun(("title", None, b"T"), ("file", "a.bin", b""))
    kind = [] if path == "/raw" else [f"Content-Type: {FORM_TYPE}"]
    told = (
        f"Content-Length: {len(begun) + len(DATA) * 2}"
        if framing == "length"
        else "Transfer-Encoding: chunked"
    )
    data = begun + DATA
    with Wire(app.port) as wire:
        wire.send(head("POST", path, told, *kind) + (data if framing == "length" else chunk(data)))
        time.sleep(0.2)
        wire.half_close()
        answer = wire.answer()

    assert (answer.status, answer.code) == (400, "body-cut")
    time.sleep(0.2)
    assert not list(app.folder.iterdir())
    for exchange in app.peer.seen[before:]:
        assert exchange.done.wait(10)
        assert exchange.cut


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_raw_bodies_come_whole(app: WsgiApp, framing: str) -> None:
    data = DATA if framing == "length" else iter([DATA[:1000], DATA[1000:]])
    told = requests.put(f"{app.url}/raw", data=data, timeout=30).json()
    assert told == {"size": len(DATA), "sha-256": hashlib.sha256(DATA).hexdigest()}


def test_a_raw_body_goes_on_with_its_length(app: WsgiApp) -> None:
    """As the view got it, without chunks; a body that came in chunks goes on in chunks."""
    for data in (DATA, iter([DATA[:1000], DATA[1000:]])):
        assert requests.post(f"{app.url}/relay-stream", data=data, timeout=30).status_code == 201
    (known, unknown) = app.peer.seen[-2:]

    assert known.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in known.headers
    assert unknown.headers["transfer-encoding"] == "chunked"
    assert known.body == unknown.body == DATA


def test_other_bodies_are_flasks(app: WsgiApp) -> None:
    """JSON and forms without files."""
    assert requests.post(f"{app.url}/json", json={"a": [1]}, timeout=10).json() == [
        {"a": [1]},
        "application/json",
    ]
    assert requests.post(f"{app.url}/urlencoded", data={"a": "b"}, timeout=10).json() == {"a": "b"}
    assert requests.post(f"{app.url}/relay", data={"a": "b"}, timeout=10).status_code == 400


def test_what_takes_a_body_into_memory_is_told_in_debug_mode(app: WsgiApp) -> None:
    """With file and line, as a warning that a test can make an error."""
    (told,) = post(app, "/debug", ("file", "a", b"123")).json()
    assert "flask_views.py:" in told
    assert "whole body into memory" in told
