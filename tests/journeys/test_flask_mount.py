"""The whole service inside a Flask app, on all supported WSGI servers.

It keeps the promises of `sluiceway serve`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_taking import TORTURE, eventually, noise
from fix_wsgi import SERVERS, WsgiApp, running
from raw_http import Wire, form_begun, form_body, form_head, head
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
DATA = noise(3_000_017)


# One that streams and one that stores first; test_wsgi_servers.py has something on each server.
QUICK = ("gunicorn gthread", "waitress")


@pytest.fixture(
    scope="module",
    params=[
        name if name in QUICK else pytest.param(name, marks=pytest.mark.torture) for name in SERVERS
    ],
)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WsgiApp]:
    with running(
        request.param, tmp_path_factory.mktemp("mounted"), takes, "mount_views:app"
    ) as running_app:
        yield running_app


def stored(app: WsgiApp) -> list[str]:
    """All files in the folder, drafts too, but not the service's lock files."""
    return sorted(
        path.name for path in app.folder.rglob("*") if path.is_file() and "lock" not in path.name
    )


def test_the_page_and_its_parts_are_served(app: WsgiApp) -> None:
    page = requests.get(f"{app.url}/drop/", timeout=10)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    parts = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert parts
    for part in parts:
        assert requests.get(f"{app.url}/drop/{part}", timeout=10).status_code == 200, part


def test_a_raw_file_is_stored_read_and_deleted(app: WsgiApp) -> None:
    """PUT, GET whole and in ranges, HEAD, conditions, DELETE."""
    url = f"{app.url}/drop/files/a/ä b.bin"
    put = requests.put(url, data=DATA, timeout=30)
    assert put.status_code == 201
    assert put.headers["Location"] == "/drop/files/a/%C3%A4%20b.bin"
    got = requests.get(url, timeout=30)
    assert got.content == DATA
    assert requests.get(url, headers={"Range": "bytes=5-9"}, timeout=10).content == DATA[5:10]
    assert (
        requests.get(url, headers={"If-None-Match": got.headers["ETag"]}, timeout=10).status_code
        == 304
    )
    for _ in range(5):  # more than threads: an unclosed response would hold one
        assert requests.head(url, timeout=10).headers["Content-Length"] == str(len(DATA))
    assert (
        requests.put(url, data=b"2", headers={"If-None-Match": "*"}, timeout=10).status_code == 412
    )
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).json()["code"] == "not-found"
    assert (
        requests.put(f"{app.url}/drop/files/empty", data=b"", timeout=10).json()["files"][0]["size"]
        == 0
    )


def test_a_form_of_many_files_is_stored(app: WsgiApp) -> None:
    answer = requests.post(
        f"{app.url}/drop/files",
        data={"title": "T"},
        files=[("f", ("one.txt", b"1")), ("f", ("two.bin", DATA)), ("f", ("ü.txt", b""))],
        timeout=30,
    )

    assert answer.status_code == 201
    result = answer.json()
    assert [(one["filename"], one["size"]) for one in result["files"]] == [
        ("one.txt", 1),
        ("two.bin", len(DATA)),
        ("ü.txt", 0),
    ]
    assert result["fields"] == {"title": ["T"]}
    assert requests.get(f"{app.url}{result['files'][1]['url']}", timeout=30).content == DATA


def test_chunked_bodies_are_stored_or_refused_with_advice(app: WsgiApp) -> None:
    """Refused where the server hides the end (uWSGI) or a truncation (granian)."""
    pieces = iter([DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000)])
    url = f"{app.url}/drop/files/chunked"
    try:
        answer = requests.put(url, data=pieces, timeout=30)
    except requests.ConnectionError:
        assert app.name in ("uWSGI", "granian"), "the answer could not be read"
        assert requests.get(url, timeout=10).status_code == 404
        return
    if answer.status_code == 411:
        assert "Content-Length" in answer.json()["detail"]
        assert app.name in ("uWSGI", "granian")
    else:
        assert (answer.status_code, requests.get(url, timeout=30).content) == (201, DATA)


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_a_truncated_body_leaves_nothing(app: WsgiApp, kind: str) -> None:
    before = stored(app)
    begun = b"" if kind == "raw" else form_begun(("f", "cut.bin", b""))
    length = len(begun) + 2 * len(DATA)
    start = (
        head("PUT", "/drop/files/cut", f"Content-Length: {length}")
        if kind == "raw"
        else form_head(length, target="/drop/files")
    )
    with Wire(app.port) as wire:
        wire.send(start + begun + DATA)
        time.sleep(0.2)
        wire.half_close()
        try:
            answer = wire.answer()
            assert (answer.status, answer.code) == (400, "body-cut")
        except (ConnectionError, ValueError):  # waitress does not call the app; uWSGI closes
            assert app.name in ("waitress", "uWSGI")
    eventually(lambda: stored(app) == before, "nothing is left")


def test_a_too_large_body_is_refused_before_it_is_read(app: WsgiApp) -> None:
    """413 for a length beyond the limit."""
    if app.name == "waitress":
        pytest.skip("waitress stores the whole body before it calls the app")
    with Wire(app.port) as wire:
        wire.send(head("PUT", "/drop/files/big", f"Content-Length: {41 * MIB}") + bytes(1000))
        answer = wire.answer()

    assert (answer.status, answer.code) == (413, "too-large")


def test_progress_is_sent_during_the_upload(app: WsgiApp) -> None:
    """The event stream shows an upload that pauses in the middle, and ends with it."""
    if app.name == "waitress":
        pytest.skip("waitress stores the whole body before it calls the app")
    upload = "progressprogressprogress1"
    events_seen: list[dict[str, object]] = []

    def watch() -> None:
        with requests.get(
            f"{app.url}/drop/uploads/{upload}",
            headers={"Accept": "text/event-stream"},
            stream=True,
            timeout=30,
        ) as events:
            events_seen.extend(
                json.loads(line[6:])
                for line in events.iter_lines(chunk_size=1)
                if line.startswith(b"data: ")
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Wire(app.port) as wire:
            wire.send(
                head("PUT", f"/drop/files/watched?upload={upload}", f"Content-Length: {2 * MIB}")
                + bytes(MIB)
            )
            eventually(
                lambda: any(0 < int(str(one["received"])) <= MIB for one in events_seen),
                "an event has the first half",
            )
            wire.send(bytes(MIB))
            assert wire.answer().status == 201
    finally:
        watcher.join(30)

    assert events_seen[-1]["state"] == "complete"
    assert events_seen[-1]["kept"] == 2 * MIB


def test_watchers_of_nothing_leave_the_threads_of_the_app(app: WsgiApp) -> None:
    """A stream of an upload that never begins holds a thread: two may, the others end at once."""
    with ExitStack() as stack:
        streams = [
            stack.enter_context(
                requests.get(
                    f"{app.url}/drop/uploads/{number:025}",
                    headers={"Accept": "text/event-stream"},
                    stream=True,
                    timeout=30,
                )
            )
            for number in range(3)
        ]
        last = list(streams[-1].iter_lines())
        assert any(b'"waiting"' in line for line in last)
        assert not any(line.startswith(b":") for line in last)  # no heartbeat: it ended at once
        assert requests.get(f"{app.url}/drop/", timeout=30).status_code == 200


def test_a_gateway_can_be_mounted(app: WsgiApp) -> None:
    """The destination is another server; the client gets its answer."""
    answer = requests.put(f"{app.url}/on/files/x", data=DATA, timeout=30)

    assert answer.status_code == 201
    assert app.peer.seen[-1].body == DATA


def test_the_apps_own_guard_applies(app: WsgiApp) -> None:
    for path in ("/drop/", "/drop/files", "/drop/files/a"):
        assert (
            requests.get(f"{app.url}{path}", headers={"X-Stranger": "1"}, timeout=10).text
            == "not you"
        )
    assert (
        requests.put(
            f"{app.url}/drop/files/a", data=b"1", headers={"X-Stranger": "1"}, timeout=10
        ).status_code
        == 403
    )


def test_a_reader_that_leaves_is_noticed(app: WsgiApp) -> None:
    """More readers than threads leave, and the next one is served.

    So the object is closed and its thread is free.
    """
    url = f"{app.url}/drop/files/left.bin"
    assert requests.put(url, data=bytes(32 * MIB), timeout=30).status_code == 201
    for _ in range(6):
        with Wire(app.port) as wire:
            wire.send(head("GET", "/drop/files/left.bin"))
            wire.sock.recv(1000)
            wire.reset()
    assert len(requests.get(url, timeout=30).content) == 32 * MIB


def test_memory_does_not_grow_with_the_file(app: WsgiApp) -> None:
    """32 MiB in and out cost at most 8 MiB more than 12 MiB do: both fill all blocks of a draft."""
    if app.name == "waitress":
        pytest.skip("waitress stores whole bodies")
    if not TORTURE and app.name != "gunicorn gthread":
        pytest.skip("`make torture` measures all servers")
    growths: list[int] = []
    # the median of three counts: what a round keeps for the next is no growth
    while len(growths) < 3 and sum(growth <= 8 * MIB for growth in growths) < 2:
        peaks = {}
        for size in (12 * MIB, 32 * MIB):
            meters = [MemoryMeter(pid) for pid in app.pids]
            for meter in meters:
                meter.reset()
            assert requests.put(
                f"{app.url}/drop/files/m", data=bytes(size), timeout=60
            ).status_code in (200, 201)
            assert len(requests.get(f"{app.url}/drop/files/m", timeout=60).content) == size
            peaks[size] = sum(meter.peak() for meter in meters)
        growths.append(peaks[32 * MIB] - peaks[12 * MIB])

    assert sum(growth <= 8 * MIB for growth in growths) == 2, growths
    assert not app.spools()


def test_a_filename_cannot_leave_the_folder(app: WsgiApp) -> None:
    body = form_body(("f", "../../outside", b"1"))
    with Wire(app.port) as wire:
        wire.send(form_head(len(body), target="/drop/files") + body)
        assert wire.answer().status == 201
    assert not (app.folder.parent / "outside").exists()
    assert Path(app.folder).exists()


def test_urls_are_decoded_strictly_behind_every_server(app: WsgiApp) -> None:
    """Bytes that are not UTF-8 and control characters never address another object.

    Each gets a 400 bad-name.
    """
    assert requests.put(
        f"{app.url}/drop/files/strict/r", data=b"first", timeout=10
    ).status_code in (200, 201)
    keys = (
        "strict/caf%E9",
        "strict/caf%E8",
        "strict/r%0A",
        "strict/r%00",
        "strict/%0Ar",
        "strict/a%0Ab",
        "strict/r%C2%85",
        "strict/r?name=%E9",
    )
    for key in keys:
        for method in ("PUT", "GET", "DELETE"):
            with Wire(app.port) as wire:
                wire.send(
                    head(method, f"/drop/files/{key}", "Content-Length: 1", "Connection: close")
                    + b"2"
                )
                answer = wire.answer()
            assert (answer.status, answer.code) == (400, "bad-name"), (method, key)
    listed = requests.get(f"{app.url}/drop/files?prefix=strict/", timeout=10).json()["files"]
    assert [file["key"] for file in listed] == ["strict/r"]
    assert requests.get(f"{app.url}/drop/files/strict/r", timeout=10).content == b"first"


def test_an_unknown_host_name_is_refused_by_the_service(app: WsgiApp) -> None:
    """Without a token it answers only under this machine's names (DNS rebinding).

    The app's own views are not concerned.
    """
    for path in ("/drop/", "/drop/files", "/drop/healthz"):
        answer = requests.get(app.url + path, headers={"Host": "evil.example"}, timeout=10)
        assert answer.status_code == 403
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert (
        requests.get(f"{app.url}/bytes", headers={"Host": "app.example"}, timeout=10).status_code
        == 200
    )
