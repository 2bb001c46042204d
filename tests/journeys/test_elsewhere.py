"""Two equal servers over one ledger: each shows and cancels what the other one receives."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from event_stream_decoder import EventStreamDecoder
from fix_postgres import Database
from fix_server import RunningServer, start_server
from fix_taking import eventually
from raw_http import Wire, head
from tus_by_hand import OFFSET_STREAM, Tus

SIZE = 300_000
SECRETS = {name: f"secret-of-{name}-which-is-long-enough" for name in ("anna", "ben", "boss")}


@pytest.fixture(scope="module")
def ledger(database: Database) -> Iterator[str]:
    name = database.fresh()
    yield f"{database.url}&table={name}"
    for (table,) in database.rows(f"SELECT tablename FROM pg_tables WHERE tablename ~ '^{name}'"):
        database.rows(f"DROP TABLE {table}")


@pytest.fixture(scope="module")
def pair(ledger: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    root = tmp_path_factory.mktemp("pair")
    tokens = root / "tokens"
    rights = {"boss": "admin"}
    lines = [f"{name} {SECRETS[name]} {rights.get(name, 'upload,delete')}" for name in SECRETS]
    tokens.write_text("\n".join(lines))
    tokens.chmod(0o600)
    options = ("--ledger", ledger, "--token-file", str(tokens))
    servers = [start_server(root / "files", *options) for _ in range(2)]
    yield servers
    for server in servers:
        server.stop()


def bearer(name: str) -> str:
    return f"Bearer {SECRETS[name]}"


def shown(server: RunningServer, upload: str, name: str = "anna") -> dict[str, object]:
    headers = {"Authorization": bearer(name)}
    response = requests.get(f"{server.url}/uploads/{upload}", headers=headers, timeout=30)
    return dict(response.json())


class Watcher:
    """What a stream of events says, from a thread."""

    def __init__(self, server: RunningServer, upload: str) -> None:
        self.events: list[dict[str, object]] = []
        self._response = requests.get(
            f"{server.url}/uploads/{upload}",
            headers={"Authorization": bearer("anna"), "Accept": "text/event-stream"},
            stream=True,
            timeout=60,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        decoder = EventStreamDecoder()
        with suppress(requests.RequestException):
            for data in self._response.iter_content(None):
                self.events += [json.loads(event.data) for event in decoder.feed(data)]

    @property
    def last(self) -> dict[str, object]:
        return self.events[-1] if self.events else {}

    def end(self) -> dict[str, object]:
        self._thread.join(60)
        self._response.close()
        return self.last


def begun(wire: Wire, upload: str) -> None:
    length = f"Content-Length: {2 * SIZE}"
    target = f"/files/{upload}?upload={upload}"
    wire.send(head("PUT", target, length, f"Authorization: {bearer('anna')}") + bytes(SIZE))


def test_a_server_shows_live_what_another_one_receives(pair: list[RunningServer]) -> None:
    """An upload of one request, which is in no ledger: from before its beginning to its end."""
    here, there = pair
    upload = "shown-" + "a" * 25
    watcher = Watcher(there, upload)
    with Wire(here.port) as wire:
        begun(wire, upload)
        eventually(lambda: watcher.last.get("received") == SIZE, "the stream moves")
        assert watcher.last["state"] == "receiving"
        assert shown(there, upload)["received"] == SIZE
        assert shown(there, upload, "ben")["code"] == "not-found"
        operator = {"Authorization": bearer("boss")}

        def listed() -> list[tuple[str, str]]:
            answer = requests.get(f"{there.url}/uploads", headers=operator, timeout=30).json()
            return [(one["id"], one["name"]) for one in answer["uploads"]]

        eventually(lambda: listed() == [(upload, "anna")], "an operator sees it there, too")
        wire.send(bytes(SIZE))
        assert wire.answer().status == 201
        last = watcher.end()
    assert (last["state"], last["kept"], last["length"]) == ("complete", 2 * SIZE, 2 * SIZE)
    kept = [int(str(event["kept"])) for event in watcher.events]
    assert kept == sorted(kept)


def test_a_server_cancels_what_another_one_receives(pair: list[RunningServer]) -> None:
    """Only for the name that the upload is from."""
    here, there = pair
    upload = "cancelled-" + "c" * 25
    with Wire(here.port) as wire:
        begun(wire, upload)
        eventually(lambda: shown(here, upload).get("received") == SIZE, "it is under way")
        statuses = [
            requests.delete(
                f"{there.url}/uploads/{upload}",
                headers={"Authorization": bearer(name)},
                timeout=30,
            ).status_code
            for name in ("ben", "anna")
        ]
        assert statuses == [404, 204]
        assert wire.answer().code == "cancelled"
    eventually(lambda: shown(there, upload)["state"] == "cancelled", "it is known there, too")


def test_a_stream_goes_on_when_another_server_takes_up_the_upload(
    ledger: str, pair: list[RunningServer], tmp_path: Path
) -> None:
    """Its server is killed in the middle of a piece; the watcher, at a third one, sees the end."""
    here, there = pair
    root = here.root
    tokens = root.parent / "tokens"
    options = ("--ledger", ledger, "--token-file", str(tokens))
    dying = start_server(root, *options)
    tus = Tus(dying.url)
    tus.session.headers["Authorization"] = bearer("anna")
    upload = tus.create(2 * SIZE, filename="pieces").rpartition("/")[2]
    watcher = Watcher(there, upload)
    with Wire(dying.port) as wire:
        fields = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Length: {2 * SIZE}")
        more = (f"Content-Type: {OFFSET_STREAM}", f"Authorization: {bearer('anna')}")
        wire.send(head("PATCH", f"/uploads/{upload}", *fields, *more) + bytes(SIZE))
        eventually(lambda: watcher.last.get("received") == SIZE, "the stream moves")
        dying.stop(signal.SIGKILL)
    tus.session.close()
    going_on = Tus(here.url)
    going_on.session.headers["Authorization"] = bearer("anna")
    address = f"{here.url}/uploads/{upload}"
    eventually(lambda: going_on.head(address).status_code == 200, "it is taken up")
    offset = going_on.offset(address)
    assert going_on.patch(address, offset, bytes(2 * SIZE - offset)).status_code == 204
    last = watcher.end()
    going_on.session.close()
    assert (last["state"], last["kept"]) == ("complete", 2 * SIZE)
