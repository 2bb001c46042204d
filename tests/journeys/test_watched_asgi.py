"""The honest bar of an app's own views, in FastAPI on uvicorn with two worker processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from fix_taking import eventually
from raw_http import Wire, form_body, form_head
from sluiceway.uploads.keys import new_id
from watched_uploads import (
    BEGUN,
    END,
    MB,
    NEAR,
    SIZE,
    STOP,
    AsgiApp,
    Backend,
    Sending,
    Stopping,
    ended,
    events,
    post,
    running_asgi,
    seen,
)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend()


@pytest.fixture(scope="module")
def app(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiApp]:
    folder = tmp_path_factory.mktemp("watched")
    with running_asgi("watched_asgi_views:app", folder, backend, "--workers", "2") as app:
        yield app


@pytest.mark.parametrize("path", ["/relay", "/relay-form", "/relay-def", "/relay-stream"])
def test_the_bar_of_a_view_follows_its_backend(app: AsgiApp, backend: Backend, path: str) -> None:
    """The backend stops, and so does the bar, in each process. It lacks a byte until the view has
    answered 201."""
    act, upload = Stopping(), new_id()
    whole = SIZE if path != "/relay-stream" else len(BEGUN) + SIZE + len(END)
    with backend.does(act), Wire(app.port) as wire:
        sending = Sending(wire, path, upload)
        sending.send(STOP + 4 * NEAR)
        eventually(lambda: seen(app, upload).get("kept", 0) >= STOP - NEAR, "it nears the stop")
        for _ in range(8):  # some of them reach each process
            found = seen(app, upload)
            assert found["kept"] <= STOP + NEAR
            assert found["kept"] <= found["forwarded"] <= found["received"]
            assert (found["kept_by"], found["state"]) == ("kernel", "receiving")
        act.goes_on.set()
        while sending.left:
            sending.send(min(sending.left, MB))
        wire.send(END)
        # Starlette asks for nothing behind a raw body, so its last piece counts at the answer.
        least = whole - (NEAR if path == "/relay-stream" else 1)
        eventually(lambda: seen(app, upload)["kept"] >= least, "the backend has it")
        assert seen(app, upload)["kept"] < whole
        act.answers.set()
        assert wire.answer().status == 201
    assert ended(app, upload) == ("complete", None)
    assert seen(app, upload)["kept"] == whole


def test_a_client_that_closes_reads_the_answer_to_a_file_that_no_view_read(app: AsgiApp) -> None:
    """It sends the whole form first. The server reads that before it closes the connection."""
    form = form_body(("file", "a.bin", bytes(30_000_000)))
    request = form_head(len(form), "Connection: close", target="/copy")
    with socket.create_connection(("127.0.0.1", app.port), timeout=60) as sock:
        sock.sendall(request + form)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 422 ")
    assert answer.endswith(b"}")


def test_an_answered_client_that_sends_no_end_is_let_go(app: AsgiApp) -> None:
    """After DRAIN_TIMEOUT. It has the answer at once."""
    form = form_body(("file", "a.bin", bytes(3_000_000)))
    request = form_head(len(form), "Connection: close", target="/copy")
    with socket.create_connection(("127.0.0.1", app.port), timeout=60) as sock:
        sock.sendall(request + form[:2_000_000])
        assert sock.recv(9) == b"HTTP/1.1 "
        with suppress(ConnectionResetError):
            while sock.recv(65536):
                pass


def test_a_file_with_a_field_behind_it_is_copied_to_a_place(app: AsgiApp, tmp_path: Path) -> None:
    """Forms end with a button often. A place takes a file of any length, so none is relied on."""
    answer = requests.post(
        f"{app.url}/copy?to={tmp_path / 'copied.bin'}",
        files=[("file", ("a.bin", b"0123456789" * 100_000)), ("button", (None, "send"))],
        timeout=60,
    )
    assert (answer.status_code, answer.json()) == (200, "1000000")
    assert (tmp_path / "copied.bin").read_bytes() == b"0123456789" * 100_000


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/read?status=201", ("complete", None)),
        ("/read?status=302", ("failed", "redirected")),
        ("/read?status=413", ("failed", "too-large")),
        ("/read?status=422", ("failed", "refused")),
        ("/read?fails=1", ("failed", "error")),
        ("/nowhere", ("failed", "refused")),
        ("/spooled", ("complete", None)),
    ],
)
def test_the_view_decides_how_the_bar_ends(
    app: AsgiApp, path: str, end: tuple[str, str | None]
) -> None:
    """Complete only with a 2xx."""
    upload = new_id()
    # a view that nobody reads for may close the connection before a larger body was sent
    post(app, path, upload, 100_000 if path == "/nowhere" else MB)
    assert ended(app, upload) == end
    if path != "/spooled":
        assert seen(app, upload)["kept"] == (MB if end[0] == "complete" else 0)
    assert events(app, upload)[-1][0] == "end"


@pytest.mark.parametrize("path", ["/read", "/swallow", "/save"])
def test_a_cut_body_is_an_error_whatever_the_view_makes_of_it(app: AsgiApp, path: str) -> None:
    """Also for a view that answers 200."""
    upload = new_id()
    with Wire(app.port) as wire:
        Sending(wire, path, upload).send(2 * MB)
        eventually(lambda: seen(app, upload).get("received", 0) > MB, "the view reads")
    assert ended(app, upload) == ("failed", "body-cut")


def test_a_view_says_what_it_has_kept_and_save_says_it_itself(app: AsgiApp) -> None:
    """`file.kept()` moves the bar; `save` moves it as far as the disk has it."""
    for path in ("/kept", "/save"):
        upload = new_id()
        with Wire(app.port) as wire:
            sending = Sending(wire, path, upload, 4 * MB)
            sending.send(2 * MB)

            def kept(sending: Sending = sending, upload: str = upload) -> int:
                sending.send(10_000)
                return int(seen(app, upload).get("kept", 0))

            while kept() < MB:
                assert sending.left
            assert seen(app, upload)["kept_by"] == "destination"
            assert sending.rest() == 200
        assert ended(app, upload) == ("complete", None)
        assert seen(app, upload)["kept"] == 4 * MB


def test_an_id_belongs_to_its_first_request(app: AsgiApp) -> None:
    """A second request with the id works as ever, and changes nothing that watchers see."""
    upload = new_id()
    assert post(app, "/read", upload) == 200
    assert post(app, "/read?fails=1", upload) == 500
    assert ended(app, upload) == ("complete", None)
    assert post(app, "/read", "1234") == 200


def test_the_app_decides_who_may_watch(app: AsgiApp) -> None:
    """Its global dependencies, and the callable it gave. A route of its own keeps what is not
    watched."""
    upload = new_id()
    assert post(app, "/read", upload) == 200
    url = f"{app.url}/uploads/{upload}"
    assert requests.get(url, headers={"X-Stranger": "1"}, timeout=10).status_code == 401
    assert requests.get(url, headers={"X-Shut-Out": "1"}, timeout=10).status_code == 403
    assert "own cat.png" in requests.get(f"{app.url}/uploads/cat.png", timeout=10).text
    unknown = new_id()
    assert unknown in requests.get(f"{app.url}/uploads/{unknown}", timeout=10).json()
    assert "/uploads/" not in str(
        [
            path
            for path in requests.get(f"{app.url}/openapi.json", timeout=10).json()["paths"]
            if path != "/uploads/{name}"
        ]
    )
    script = requests.get(f"{app.url}/uploads/page/sluice.js", timeout=10)
    assert script.headers["Content-Type"].startswith("text/javascript")
