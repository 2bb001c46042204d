"""sluiceway.flask on real WSGI servers.

Views read files while they arrive, in the client's order, without temporary files. A truncated body
is an error.
"""

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


def test_an_unchanged_view_relays_a_file_while_it_arrives(app: WsgiApp) -> None:
    """The backend has the first bytes before a twentieth was sent."""
    before = len(app.peer.seen)
    size = 40 * MIB
    begun = form_begun(("title", None, b"The book"), ("file", "book.pdf", b""))
    end = form_body(("x", "y", b"@@")).partition(b"@@")[2]
    with Wire(app.port) as wire:
        wire.send(form_head(len(begun) + size + len(end), target="/relay") + begun + bytes(MIB))
        eventually(lambda: len(app.peer.seen) > before, "the backend gets the request")
        exchange = app.peer.seen[before]
        eventually(lambda: len(exchange.body) >= 256 << 10, "the backend has its first bytes")
        for _ in range(size // MIB - 1):
            wire.send(bytes(MIB))
        wire.send(end)
        answer = wire.answer()

    assert answer.status == 201
    assert exchange.headers["x-title"] == "The book"
    assert exchange.headers["content-length"] == str(size)
    assert len(exchange.body) == size


def test_a_large_file_costs_no_memory_and_no_temporary_file(app: WsgiApp) -> None:
    """64 MiB cost as much as 4 MiB, and the temporary folder stays empty."""
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
    """With its name and type, and its size if the form has a length."""
    answer = post(app, "/save", ("title", None, b"T"), ("file", "a ü.pdf", DATA), framing=framing)

    assert answer.json() == {
        "filename": "a ü.pdf", "type": "application/octet-stream",
        "head": "application/octet-stream", "title": "T",
        "size": len(DATA) if framing == "length" else None,
    }  # fmt: skip
    assert (app.folder / "saved.bin").read_bytes() == DATA
    assert [path.name for path in app.folder.iterdir()] == ["saved.bin"]


def test_a_part_after_the_file_breaks_the_relayed_request(app: WsgiApp) -> None:
    """The next server sees a body that breaks off, and the client reads why.

    A request in chunks succeeds.
    """
    before = len(app.peer.seen)
    answer = post(app, "/relay", ("title", None, b"T"), ("file", "a", DATA), ("more", "b", b"2"))

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-form")
    assert "one file in a form" in answer.json()["detail"]
    assert "file.chunks()" in app.printed.read_text("utf-8")  # the log helps the view's author
    # The backend may read the head after our answer.
    eventually(lambda: len(app.peer.seen) > before, "the backend has seen it")
    assert app.peer.seen[before].was_cut()
    assert post(app, "/relay-chunked", ("file", "a", DATA), ("more", "b", b"2")).status_code == 201
    assert app.peer.seen[-1].body == DATA


def test_a_file_is_relayed_in_another_form_with_its_name_and_type(app: WsgiApp) -> None:
    """A part that follows the file is the client's error, and gets a 400."""
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
    """A file that the view does not read is skipped, also a large one."""
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


def test_the_methods_of_werkzeugs_mappings_work(app: WsgiApp) -> None:
    answer = post(
        app,
        "/mapping?q=5",
        ("n", None, b"1"),
        ("n", None, b"2"),
        ("f", "a", b"123"),
        ("g", "b", b"1"),
    )

    assert answer.json() == {
        "fields": {"n": "1"}, "list": [1, 2], "typed": 1, "items": [["n", "1"], ["n", "2"]],
        "values": "5", "any": True, "files": [["f", "a", 3], ["g", "b", 1]], "none": None,
    }  # fmt: skip


def test_a_field_behind_an_unread_file_is_answered(app: WsgiApp) -> None:
    """The file is spooled, as without Sluiceway."""
    answer = post(app, "/late", ("file", "a.bin", DATA), ("title", None, b"T"))

    assert answer.json() == {"title": "T", "sha-256": hashlib.sha256(DATA).hexdigest()}


def test_a_strict_app_refuses_a_field_behind_an_unread_file_and_logs_it(app: WsgiApp) -> None:
    """The client learns which file precedes the field and what to do, but no path of the app.

    The log names the line of the view.
    """
    answer = post(app, "/strict/late", ("file", "a.bin", DATA), ("title", None, b"T"))
    problem = answer.json()

    assert (answer.status_code, problem["code"]) == (422, "wrong-order")
    assert "flask_views.py" not in answer.text
    assert "'a.bin'" in problem["detail"]
    assert "fields before files" in problem["detail"]
    assert "flask_views.py:" in app.printed.read_text("utf-8")


def test_a_form_with_the_file_first_is_refused_early(app: WsgiApp) -> None:
    """The client reads a 422 after the first bytes of a gigabyte."""
    assert post(app, "/needs", ("title", None, b"T"), ("file", "a", b"123")).text == "T 3"
    begun = form_begun(("file", "a.bin", b""))
    with Wire(app.port) as wire:
        wire.send(form_head(1 << 30, target="/needs") + begun + bytes(64 << 10))
        answer = wire.answer()

    assert (answer.status, answer.code) == (422, "missing-field")
    assert "'title'" in answer.json()["detail"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("path", ["/save", "/raw", "/relay"])
def test_a_truncated_body_is_an_error(app: WsgiApp, path: str, framing: str) -> None:
    """The client hangs up in the middle: no file is saved, no complete request is relayed."""
    for left in app.folder.iterdir():
        left.unlink()
    before = len(app.peer.seen)
    begun = b"" if path == "/raw" else form_begun(("title", None, b"T"), ("file", "a.bin", b""))
    kind = [] if path == "/raw" else [f"Content-Type: {FORM_TYPE}"]
    framing_field = (
        f"Content-Length: {len(begun) + len(DATA) * 2}"
        if framing == "length"
        else "Transfer-Encoding: chunked"
    )
    data = begun + DATA
    with Wire(app.port) as wire:
        wire.send(
            head("POST", path, framing_field, *kind)
            + (data if framing == "length" else chunk(data))
        )
        time.sleep(0.2)
        wire.half_close()
        answer = wire.answer()

    assert (answer.status, answer.code) == (400, "body-cut")
    eventually(lambda: not list(app.folder.iterdir()), "nothing is saved")
    for exchange in app.peer.seen[before:]:
        assert exchange.was_cut()


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("path", ["/save-alone", "/relay-alone"])
def test_a_form_that_is_cut_behind_its_file_is_an_error(
    app: WsgiApp, path: str, framing: str
) -> None:
    """The view has all bytes of the file and asks for nothing else."""
    for left in app.folder.iterdir():
        left.unlink()
    before, whole = len(app.peer.seen), form_body(("file", "a.bin", DATA))
    begun = form_begun(("file", "a.bin", DATA), ("title", None, b"")).removesuffix(b"\r\n\r\n")
    for data in (whole[:-2], begun, begun[:-20]):
        length = len(whole) + 100 if framing == "length" else None
        with Wire(app.port) as wire:
            wire.send(form_head(length, target=path) + (data if length else chunk(data)))
            wire.half_close()
            answer = wire.answer()

        assert (answer.status, answer.code) == (400, "body-cut")
        assert not list(app.folder.iterdir())
    for exchange in app.peer.seen[before:]:
        assert exchange.was_cut()


def test_a_file_is_read_in_a_thread_without_an_app_context(app: WsgiApp) -> None:
    """To take it whole, or to seek, writes to the log; that needs no context."""
    answer = post(app, "/in-a-thread", ("file", "a.bin", DATA))

    assert answer.json() == {"sha-256": hashlib.sha256(DATA).hexdigest()}


def test_a_form_whose_stream_was_read_is_empty(app: WsgiApp) -> None:
    """As in Werkzeug: the view took the body as it is."""
    body = form_body(("title", None, b"T"), ("file", "a.bin", DATA))
    answer = requests.post(
        f"{app.url}/stream-first", data=body, headers={"Content-Type": FORM_TYPE}, timeout=30
    )

    assert answer.json() == {"size": len(body), "form": [], "files": []}


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_raw_bodies_arrive_complete(app: WsgiApp, framing: str) -> None:
    data = DATA if framing == "length" else iter([DATA[:1000], DATA[1000:]])
    result = requests.put(f"{app.url}/raw", data=data, timeout=30).json()
    assert result == {"size": len(DATA), "sha-256": hashlib.sha256(DATA).hexdigest()}


def test_a_raw_body_is_relayed_with_its_length(app: WsgiApp) -> None:
    """A body with a length is relayed with it; a chunked body is relayed in chunks."""
    for data in (DATA, iter([DATA[:1000], DATA[1000:]])):
        assert requests.post(f"{app.url}/relay-stream", data=data, timeout=30).status_code == 201
    (known, unknown) = app.peer.seen[-2:]

    assert known.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in known.headers
    assert unknown.headers["transfer-encoding"] == "chunked"
    assert known.body == unknown.body == DATA


def test_flask_reads_other_bodies(app: WsgiApp) -> None:
    """JSON and forms without files."""
    assert requests.post(f"{app.url}/json", json={"a": [1]}, timeout=10).json() == [
        {"a": [1]},
        "application/json",
    ]
    assert requests.post(f"{app.url}/urlencoded", data={"a": "b"}, timeout=10).json() == {"a": "b"}
    assert requests.post(f"{app.url}/relay", data={"a": "b"}, timeout=10).status_code == 400


def test_reading_a_body_into_memory_warns_in_debug_mode(app: WsgiApp) -> None:
    """The warning has file and line, and a test can turn it into an error."""
    (warning,) = post(app, "/debug", ("file", "a", b"123")).json()
    assert "flask_views.py:" in warning
    assert "whole body into memory" in warning
