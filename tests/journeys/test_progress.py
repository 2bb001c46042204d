"""Honest progress: three counters, 100 % only when the destination confirms it, and cancel."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from event_stream_decoder import EventStreamDecoder
from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, chunk, form_begun, form_body, form_head, head
from sluiceway.testing.store_suite import pattern

ENDED = ("complete", "failed", "cancelled")
COUNTERS = ("received", "forwarded", "kept")
PIECE = 60_000


@dataclass
class Watcher:
    """All events of a stream, until it closed."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def states(self) -> list[str]:
        """The states in order, without repeats."""
        states = [data["state"] for _, data in self.seen]
        return [
            state
            for number, state in enumerate(states)
            if number == 0 or states[number - 1] != state
        ]

    @property
    def last(self) -> dict[str, Any]:
        return self.seen[-1][1]

    def check(self) -> None:
        """Check the rules of every upload, whatever its end."""
        assert self.closed.wait(20), "the stream did not close"
        events = [event for event, _ in self.seen]
        assert events == ["progress"] * (len(events) - 1) + ["end"]
        for _, event in self.seen:
            assert sorted(event) == [
                "code",
                "forwarded",
                "id",
                "kept",
                "kept_by",
                "length",
                "received",
                "state",
            ]
            assert 0 <= event["kept"] <= event["forwarded"] <= event["received"]
            if event["state"] != "complete" and event["length"]:
                assert event["kept"] < event["length"], (
                    f"100 % before the destination said so: {event}"
                )
        for (_, earlier), (_, later) in zip(self.seen, self.seen[1:], strict=False):
            assert all(earlier[name] <= later[name] for name in COUNTERS), (earlier, later)
            assert earlier != later or later["state"] in ENDED
        assert self.last["state"] in ENDED
        assert all(event["state"] not in ENDED for _, event in self.seen[:-1])


@contextmanager
def watching(server: RunningServer, upload: str) -> Iterator[Watcher]:
    """Watch an upload from a thread; the block begins after the first event."""
    watcher, first = Watcher(), threading.Event()

    def listen() -> None:
        decoder = EventStreamDecoder()
        try:
            with requests.get(
                f"{server.url}/uploads/{upload}",
                headers={"Accept": "text/event-stream"},
                stream=True,
                timeout=30,
            ) as response:
                assert response.headers["Content-Type"].startswith("text/event-stream")
                assert response.headers["Cache-Control"] == "no-store"
                for data in response.iter_content(None):
                    for event in decoder.feed(data):
                        watcher.seen.append((event.event, json.loads(event.data)))
                        first.set()
        finally:
            watcher.closed.set()
            first.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert first.wait(10)
    try:
        yield watcher
    finally:
        thread.join(30)


def fresh() -> str:
    return secrets.token_urlsafe(20)


def slowly(wire: Wire, data: bytes, pieces: int = 12, pause: float = 0.1) -> None:
    size = len(data) // pieces + 1
    for at in range(0, len(data), size):
        wire.send(data[at : at + size])
        time.sleep(pause)


def test_a_watched_upload_counts_up_to_its_end(taker: RunningServer) -> None:
    """waiting, receiving, … complete; kept moves on the way and is complete only at the end."""
    upload, data = fresh(), pattern(700_000)
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/watched-{upload}?upload={upload}", f"Content-Length: {len(data)}")
        )
        sent, small = 0, PIECE // 20
        while len({event["kept"] for _, event in [*watcher.seen]}) < 4:  # as the disk allows
            assert sent < len(data) - small, "the bar stood still"
            wire.send(data[sent : sent + small])
            sent += small
            time.sleep(0.05)
        wire.send(data[sent:])
        response = wire.answer()
    watcher.check()

    assert response.status == 201
    assert response.headers["upload-id"] == upload
    assert watcher.states()[0] == "waiting"
    assert watcher.states()[1] == "receiving"
    assert watcher.states()[-1] == "complete"
    assert [watcher.last[name] for name in COUNTERS] == [len(data)] * 3
    assert watcher.last["length"] == len(data)


def test_events_come_about_ten_times_a_second(taker: RunningServer) -> None:
    """Hundreds of small writes make about ten events a second, not hundreds."""
    upload = fresh()
    began = time.monotonic()
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(head("PUT", f"/files/pace-{upload}?upload={upload}", "Content-Length: 300"))
        for _ in range(300):
            wire.send(b"x")
            time.sleep(0.004)
        assert wire.answer().status == 201
    watcher.check()

    assert len(watcher.seen) <= 12 * (time.monotonic() - began) + 5


def test_a_chunked_upload_has_no_length(taker: RunningServer) -> None:
    """Its length is unknown, so no event has one."""
    upload = fresh()
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/chunked-{upload}?upload={upload}", "Transfer-Encoding: chunked")
        )
        for _ in range(6):
            wire.send(chunk(pattern(PIECE)))
            time.sleep(0.1)
        wire.send(b"0\r\n\r\n")
        assert wire.answer().status == 201
    watcher.check()

    assert {event["length"] for _, event in watcher.seen} == {None}
    assert watcher.last["kept"] == 6 * PIECE


def test_a_form_with_several_files_never_goes_back(taker: RunningServer) -> None:
    """Its length is the request's; kept adds up over the files and never falls."""
    upload = fresh()
    body = form_body(
        ("title", None, b"holiday"),
        ("a", "a.bin", pattern(300_000)),
        ("b", "b.bin", pattern(400_000)),
    )
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(form_head(len(body), target=f"/files?upload={upload}"))
        slowly(wire, body, pieces=16)
        assert wire.answer().status == 201
    watcher.check()

    assert watcher.last["received"] == watcher.last["length"] == len(body)
    assert watcher.last["forwarded"] == watcher.last["kept"] == 700_000


def test_the_last_byte_alone_does_not_show_as_everything_kept(taker: RunningServer) -> None:
    """All but one byte, a pause, the last byte: all is kept only when the upload is complete."""
    upload = fresh()
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/last-{upload}?upload={upload}", f"Content-Length: {PIECE + 1}")
            + pattern(PIECE)
        )
        time.sleep(0.6)
        wire.send(b"x")
        assert wire.answer().status == 201
    watcher.check()


@pytest.mark.parametrize("how", ["cut", "mismatch", "exists"])
def test_a_failed_upload_ends_with_its_code(taker: RunningServer, how: str) -> None:
    """The watcher gets the same code as the sender."""
    upload, key = fresh(), f"fails-{how}"
    extra = {
        "cut": "X: y",
        "mismatch": "Repr-Digest: sha-256=:" + "A" * 43 + "=:",
        "exists": "If-None-Match: *",
    }[how]
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/{key}?upload={upload}", f"Content-Length: {2 * PIECE}", extra)
            + pattern(PIECE)
        )
        time.sleep(0.4)
        if how == "exists":
            assert (
                requests.put(f"{taker.url}/files/{key}", data=b"quicker", timeout=10).status_code
                == 201
            )
        if how == "cut":
            wire.half_close()
        else:
            wire.send(pattern(PIECE))
        response = wire.answer()
    watcher.check()

    assert watcher.last["state"] == "failed"
    assert watcher.last["code"] == response.code
    assert (
        response.code
        == {"cut": "body-cut", "mismatch": "digest-mismatch", "exists": "precondition-failed"}[how]
    )


@pytest.mark.parametrize("kind", ["raw", "chunked", "form"])
def test_a_cancelled_upload_is_answered_and_stores_nothing(taker: RunningServer, kind: str) -> None:
    """DELETE ends it at once, also while the sender is silent: a response, an event, no draft."""
    upload = fresh()
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        if kind == "form":
            wire.send(
                form_head(None, target=f"/files?upload={upload}")
                + chunk(form_begun(("f", "cancelled.bin", pattern(PIECE))))
            )
        else:
            framing = (
                "Transfer-Encoding: chunked" if kind == "chunked" else "Content-Length: 10000000"
            )
            wire.send(head("PUT", f"/files/cancelled?upload={upload}", framing))
            wire.send(chunk(pattern(PIECE)) if kind == "chunked" else pattern(PIECE))
        eventually(lambda: watcher.last["received"] >= PIECE, "the upload is under way")
        assert requests.delete(f"{taker.url}/uploads/{upload}", timeout=10).status_code == 204
        response = wire.answer()
        assert requests.delete(f"{taker.url}/uploads/{upload}", timeout=10).status_code == 404
    watcher.check()

    assert (response.status, response.code) == (499, "cancelled")
    assert (watcher.last["state"], watcher.last["code"]) == ("cancelled", "cancelled")
    assert not [key for key in taker.stored() if "cancelled" in key]
    eventually(lambda: not taker.drafts(), "no draft stays")


def test_a_snapshot_can_be_requested(taker: RunningServer) -> None:
    """A plain GET returns JSON, 404 for an unknown id, and the upload for a while after its end."""
    upload = fresh()
    where = f"{taker.url}/uploads/{upload}"
    assert requests.get(where, timeout=10).status_code == 404
    assert requests.delete(where, timeout=10).status_code == 404
    with Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/snap-{upload}?upload={upload}", "Content-Length: 10") + b"12345"
        )
        eventually(lambda: requests.get(where, timeout=10).status_code == 200, "it began")
        eventually(
            lambda: requests.get(where, timeout=10).json()["received"] == 5, "five bytes came"
        )
        snapshot = requests.get(where, timeout=10).json()
        assert (snapshot["id"], snapshot["state"], snapshot["length"], snapshot["code"]) == (
            upload,
            "receiving",
            10,
            None,
        )
        wire.send(b"67890")
        assert wire.answer().status == 201

    assert requests.get(where, timeout=10).json()["state"] == "complete"


def test_watchers_may_come_and_leave(taker: RunningServer) -> None:
    """Watchers that leave midway disturb neither the upload nor the others."""
    upload = fresh()
    with watching(taker, upload) as watcher, Wire(taker.port) as wire:
        wire.send(
            head("PUT", f"/files/many-{upload}?upload={upload}", f"Content-Length: {4 * PIECE}")
        )
        for _ in range(4):
            with Wire(taker.port) as other:
                other.send(head("GET", f"/uploads/{upload}", "Accept: text/event-stream"))
                assert other.sock.recv(100)
                other.reset()
            wire.send(pattern(PIECE))
            time.sleep(0.15)
        assert wire.answer().status == 201
    watcher.check()

    assert watcher.last["state"] == "complete"


def test_any_process_of_a_server_can_report_and_cancel(serve: Serve) -> None:
    """--workers 2: a watcher or a cancel may reach any process; all see the same upload."""
    server = serve("--workers", "2")
    upload, second = fresh(), fresh()
    with Wire(server.port) as wire:
        wire.send(
            head("PUT", f"/files/shared?upload={upload}", f"Content-Length: {3 * PIECE}")
            + pattern(PIECE)
        )
        eventually(
            lambda: requests.get(f"{server.url}/uploads/{upload}", timeout=10).status_code == 200,
            "it began",
        )
        watchers: list[Watcher] = []
        threads = []
        for _ in range(8):
            ready = threading.Event()

            def watch(ready: threading.Event = ready) -> None:
                with watching(server, upload) as watcher:
                    watchers.append(watcher)
                    ready.set()

            threads.append(threading.Thread(target=watch))
            threads[-1].start()
            assert ready.wait(10)
        wire.send(pattern(2 * PIECE))
        assert wire.answer().status == 201
        for thread in threads:
            thread.join()
    for watcher in watchers:
        watcher.check()
        assert watcher.last["state"] == "complete"
        assert watcher.last["kept"] == 3 * PIECE

    for _ in range(6):
        second = fresh()
        with Wire(server.port) as wire:
            wire.send(
                head("PUT", f"/files/cancelled?upload={second}", "Content-Length: 1000") + b"x"
            )
            url = f"{server.url}/uploads/{second}"
            eventually(lambda url=url: requests.get(url, timeout=10).ok, "it began")  # type: ignore[misc]
            assert requests.delete(f"{server.url}/uploads/{second}", timeout=10).status_code == 204
            assert wire.answer().status == 499
    assert list(server.stored()) == ["shared"]
    eventually(lambda: not server.drafts(), "no draft stays")
