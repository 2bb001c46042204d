"""The honest bar of an app's own views, in Flask on several worker processes.

A request with `?upload=ID` can be watched from any process. The bar counts what the view has read
and what is kept, and is full only with the view's success.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from fix_taking import eventually
from fix_wsgi import WsgiApp, running
from raw_http import Wire
from sluiceway.uploads.keys import new_id
from watched_uploads import (
    BEGUN,
    END,
    MB,
    NEAR,
    SIZE,
    STOP,
    WINDOW,
    Backend,
    Sending,
    Stopping,
    ended,
    events,
    post,
    seen,
)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend()


@pytest.fixture(scope="module")
def app(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WsgiApp]:
    folder = tmp_path_factory.mktemp("watched")
    views = "--workers 3 watched_views:app"
    with running("gunicorn gthread", folder, backend, views, WINDOW) as app:
        yield app


@pytest.mark.parametrize("path", ["/relay", "/relay-form", "/relay-stream"])
def test_the_bar_of_a_view_follows_its_backend(app: WsgiApp, backend: Backend, path: str) -> None:
    """The backend stops, and so does the bar, as every process shows it. It lacks a byte until the
    view has answered 201."""
    act, upload = Stopping(), new_id()
    with backend.does(act), Wire(app.port) as wire:
        sending = Sending(wire, path, upload)
        sending.send(STOP + 4 * NEAR)
        eventually(
            lambda: seen(app, upload).get("kept", 0) >= STOP - NEAR, "the bar reaches the stop"
        )
        for _ in range(12):  # some of them reach each of the three processes
            found = seen(app, upload)
            assert found["kept"] <= STOP + NEAR
            assert found["kept"] <= found["forwarded"] <= found["received"]
            assert (found["kept_by"], found["state"]) == ("kernel", "receiving")
        act.goes_on.set()
        while sending.left:
            sending.send(min(sending.left, MB))
        wire.send(END)
        eventually(lambda: seen(app, upload)["state"] == "checking", "it was read whole")
        # a raw body is sent on with the form around the file
        whole = SIZE if path != "/relay-stream" else len(BEGUN) + SIZE + len(END)
        eventually(lambda: seen(app, upload)["kept"] == whole - 1, "the backend has it")
        act.answers.set()
        assert wire.answer().status == 201
    assert ended(app, upload) == ("complete", None)
    assert seen(app, upload)["kept"] == whole


def test_a_copy_to_a_server_moves_the_bar(app: WsgiApp, backend: Backend) -> None:
    """`sluiceway.copy` says what the other server has acknowledged."""
    act, upload = Stopping(), new_id()
    with backend.does(act), Wire(app.port) as wire, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(Sending(wire, "/copy", upload).rest)
        eventually(lambda: seen(app, upload).get("kept", 0) >= STOP - NEAR, "it nears the stop")
        assert seen(app, upload)["kept"] <= STOP + NEAR
        act.goes_on.set()
        act.answers.set()
        assert answer.result(30) == 200
    assert ended(app, upload) == ("complete", None)
    assert seen(app, upload)["kept"] == SIZE


def test_a_copy_to_a_file_moves_the_bar(app: WsgiApp, tmp_path: Path) -> None:
    """`forwarded` while it is written; `kept` when the copy has confirmed it."""
    upload = new_id()
    with Wire(app.port) as wire:
        sending = Sending(wire, f"/copy?to={tmp_path / 'copied.bin'}", upload, 8 * MB)
        sending.send(5 * MB)
        while seen(app, upload).get("forwarded", 0) < 4 * MB:
            sending.send(10_000)  # a copy reports at most ten times a second, when bytes come
        assert seen(app, upload)["kept"] < 4 * MB
        assert sending.rest() == 200
    assert ended(app, upload) == ("complete", None)
    assert (tmp_path / "copied.bin").stat().st_size == 8 * MB


def test_a_file_with_a_field_behind_it_is_copied_to_a_place(app: WsgiApp, tmp_path: Path) -> None:
    """Forms end with a button often. A place takes a file of any length, so none is relied on."""
    answer = requests.post(
        f"{app.url}/copy?to={tmp_path / 'copied.bin'}",
        files=[("file", ("a.bin", b"0123456789" * 100_000)), ("button", (None, "send"))],
        timeout=60,
    )
    assert (answer.status_code, answer.text) == (200, "1000000")
    assert (tmp_path / "copied.bin").read_bytes() == b"0123456789" * 100_000


def test_the_bar_of_a_spooled_file_counts_what_is_sent_on(app: WsgiApp, backend: Backend) -> None:
    """The view asked for the whole file, so all of it was received; it is kept as the backend
    takes it."""
    act, upload = Stopping(), new_id()
    with backend.does(act), Wire(app.port) as wire:
        sending = Sending(wire, "/relay-spooled", upload)
        while sending.left:
            sending.send(min(sending.left, MB))
        wire.send(END)
        eventually(lambda: seen(app, upload).get("kept", 0) >= STOP - NEAR, "it nears the stop")
        found = seen(app, upload)
        assert found["kept"] <= STOP + NEAR
        assert (found["received"], found["state"]) == (found["length"], "checking")
        act.goes_on.set()
        act.answers.set()
        assert wire.answer().status == 201
    assert ended(app, upload) == ("complete", None)


def test_an_event_stream_shows_the_upload_to_its_end(app: WsgiApp) -> None:
    """It waits for the upload to begin; no counter goes back, and the end is its last event."""
    upload = new_id()
    with Wire(app.port) as wire:
        sending = Sending(wire, "/read", upload, 4 * MB)
        sending.send(MB)
        with requests.get(
            f"{app.url}/uploads/{upload}",
            headers={"Accept": "text/event-stream"},
            timeout=60,
            stream=True,
        ) as stream:
            lines = stream.iter_lines()
            assert next(lines) == b"event: progress"
            assert sending.rest() == 200
            rest = list(lines)
    shown = [json.loads(line[6:]) for line in rest if line.startswith(b"data: ")]
    received = [one["received"] for one in shown]
    assert received == sorted(received)
    assert b"event: end" in rest
    assert shown[-1]["state"] == "complete"
    assert shown[-1]["kept"] == 4 * MB
    assert [one for one in shown[:-1] if one["state"] == "complete"] == []
    assert events(app, upload) == [("end", shown[-1])]


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/read?status=201", ("complete", None)),
        ("/read?status=302", ("failed", "redirected")),
        ("/read?status=413", ("failed", "too-large")),
        ("/read?status=422", ("failed", "refused")),
        ("/read?status=500", ("failed", "error")),
        ("/read?fails=1", ("failed", "error")),
        ("/nowhere", ("failed", "refused")),
    ],
)
def test_the_view_decides_how_the_bar_ends(
    app: WsgiApp, path: str, end: tuple[str, str | None]
) -> None:
    """Complete only with a 2xx; what the view has kept is never more than it says."""
    upload = new_id()
    # a view that nobody reads for may close the connection before a larger body was sent
    post(app, path, upload, 100_000 if path == "/nowhere" else MB)
    assert ended(app, upload) == end
    assert seen(app, upload)["kept"] == (MB if end[0] == "complete" else 0)


@pytest.mark.parametrize("path", ["/read", "/swallow", "/save"])
def test_a_cut_body_is_an_error_whatever_the_view_makes_of_it(app: WsgiApp, path: str) -> None:
    """Also for a view that answers 200."""
    upload = new_id()
    with Wire(app.port) as wire:
        Sending(wire, path, upload).send(2 * MB)
        eventually(lambda: seen(app, upload).get("received", 0) > MB, "the view reads")
    assert ended(app, upload) == ("failed", "body-cut")


def test_a_view_says_what_it_has_kept(app: WsgiApp) -> None:
    """`f.kept()` moves the bar; the rest counts with the view's success."""
    upload = new_id()
    with Wire(app.port) as wire:
        sending = Sending(wire, "/kept", upload, 2 * MB)
        sending.send(MB + 200_000)
        eventually(lambda: seen(app, upload).get("kept", 0) >= 100_000, "the view says so")
        assert seen(app, upload)["kept"] % 100_000 == 0
        assert seen(app, upload)["kept_by"] == "destination"
        assert sending.rest() == 200
    assert ended(app, upload) == ("complete", None)


def test_a_saved_file_is_kept_as_far_as_it_is_synchronised(app: WsgiApp) -> None:
    """The bar moves while the file is saved, and never shows more than the disk has."""
    upload = new_id()
    with Wire(app.port) as wire:
        sending = Sending(wire, "/save", upload, 4 * MB)

        def kept() -> int:
            sending.send(10_000)
            return int(seen(app, upload).get("kept", 0))

        sending.send(2 * MB)
        eventually(lambda: kept() >= MB, "the bar moves")
        found = seen(app, upload)
        (draft,) = app.folder.glob(".sluiceway-*")
        assert found["kept"] <= draft.stat().st_size
        assert sending.rest() == 200
    assert ended(app, upload) == ("complete", None)
    (app.folder / "saved.bin").unlink()


def test_an_id_belongs_to_its_first_request(app: WsgiApp) -> None:
    """A second request with the id works as ever, and changes nothing that watchers see. Neither
    does one whose id could be guessed."""
    upload = new_id()
    with Wire(app.port) as wire:
        sending = Sending(wire, "/read", upload, 2 * MB)
        sending.send(MB)
        eventually(lambda: seen(app, upload).get("received", 0) > MB // 2, "the first one runs")
        before = seen(app, upload)
        assert [post(app, "/read", upload) for _ in range(6)] == [200] * 6
        assert seen(app, upload) == before
        assert sending.rest() == 200
    assert ended(app, upload) == ("complete", None)
    assert post(app, "/read?status=500", upload) == 500
    assert ended(app, upload) == ("complete", None)
    assert post(app, "/read", "1234") == 200
    assert post(app, "/read", "%00" * 30) == 200


def test_the_app_decides_who_may_watch(app: WsgiApp) -> None:
    """Its `before_request` as for each view, and the callable it gave. A route of its own
    keeps what is not watched."""
    upload = new_id()
    assert post(app, "/read", upload) == 200
    url = f"{app.url}/uploads/{upload}"
    assert requests.get(url, headers={"X-Stranger": "1"}, timeout=10).text == "log in"
    assert requests.get(url, headers={"X-Shut-Out": "1"}, timeout=10).status_code == 403
    assert requests.get(f"{app.url}/uploads/cat.png", timeout=10).text == "the app's own cat.png"
    unknown = new_id()
    assert requests.get(f"{app.url}/uploads/{unknown}", timeout=10).text.endswith(unknown)


def test_a_strange_request_goes_unwatched(app: WsgiApp) -> None:
    """A query of many values, and a request without a body: the app answers as ever."""
    upload, many = new_id(), "&".join(f"n{number}=1" for number in range(100))
    assert post(app, f"/read?{many}", upload) == 200
    assert requests.get(f"{app.url}/nothing?upload={upload}", timeout=10).status_code == 404
    assert seen(app, upload) == {}


def test_a_watcher_of_nothing_leaves_the_thread(app: WsgiApp) -> None:
    """The stream ends after a while although the upload has not begun."""
    (shown,) = events(app, new_id())
    assert (shown[0], shown[1]["state"]) == ("progress", "waiting")


def test_uploads_of_workers_that_are_killed_have_failed(app: WsgiApp) -> None:
    """Their watchers learn it from the worker that is left, and from those that gunicorn starts.

    One is left: without any process the table would be a leftover, which the next app removes,
    also that of another test.
    """
    upload = new_id()
    with Wire(app.port) as wire:
        Sending(wire, "/read", upload).send(2 * MB)
        eventually(lambda: seen(app, upload).get("received", 0) > MB, "the view reads")
        eventually(lambda: seen(app, upload) and all_have_table(app), "each worker shows it")
        taker = worker_of(app, wire)
        left, *others = [pid for pid in app.pids[1:] if pid != taker]
        for pid in (taker, *others):
            os.kill(pid, signal.SIGKILL)

        def has_failed() -> bool:
            try:
                found = seen(app, upload)
            except requests.RequestException:
                return False  # a worker has died with our question
            return (found.get("state"), found.get("code")) == ("failed", "unavailable")

        eventually(has_failed, "the upload has failed")
        eventually(lambda: has_failed() and all_have_table(app), "each new worker shows it")
        assert left in app.pids


def worker_of(app: WsgiApp, wire: Wire) -> int:
    """The process that holds the other end of a connection."""
    port = wire.sock.getsockname()[1]
    (found,) = (
        pid
        for pid in app.pids[1:]
        if any(one.raddr and one.raddr.port == port for one in connections(pid))
    )
    return found


def connections(pid: int) -> list[Any]:
    return psutil.Process(pid).net_connections("tcp")


def test_without_an_id_no_table_is_opened(app: WsgiApp, tmp_path: Path, backend: Backend) -> None:
    """Who does not watch pays nothing: no worker has the shared memory."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    with running("gunicorn gthread", folder, backend, "watched_views:app") as fresh:
        assert post(fresh, "/read", "") == 200
        assert not _has_table(fresh)
        assert post(fresh, "/read", new_id()) == 200
        assert _has_table(fresh)


def all_have_table(app: WsgiApp) -> bool:
    """Each of the three workers, now."""
    workers = app.pids[1:]
    return len(workers) == 3 and all(map(_maps_table, workers))


def _has_table(app: WsgiApp) -> bool:
    return any(map(_maps_table, app.pids))


def _maps_table(pid: int) -> bool:
    try:
        return "sluiceway-" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # it has just ended
        return False
