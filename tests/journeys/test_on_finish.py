"""`--on-finish`: each kept file is reported once, whatever brought it, whoever is killed meanwhile.

Real servers, and a receiver that checks each signature with the library of Standard Webhooks.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, Serve
from fix_taking import eventually
from tus_by_hand import Tus
from webhook_receiver import SECRET, WebhookReceiver

DIES = """
import os, signal
from sluiceway.{module} import {name}
async def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
{name}.{method} = die
"""


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def put(server: RunningServer, key: str, data: bytes = b"abc", **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = requests.put(f"{server.url}/files/{key}", data=data, headers=named, timeout=30)
    assert response.ok, response.text


def test_each_kept_file_is_reported_once(serve: Serve, receiver: WebhookReceiver) -> None:
    """Raw, form, tus, IETF, in pieces. Not what was refused, and not what is asked once more."""
    server = serve("--on-finish", receiver.url, env=receiver.env)
    files = f"{server.url}/files"
    put(server, "raw/ü.txt", b"raw", Content_Type="text/plain")
    requests.post(f"{files}?name=posted", data=b"posted", timeout=30).raise_for_status()
    form = [("f", (f"f{at}", b"%d" % at)) for at in range(3)]
    requests.post(files, files=form, timeout=30).raise_for_status()
    put(server, "pieces", b"12", Content_Range="bytes 0-1/4")
    put(server, "pieces", b"34", Content_Range="bytes 2-3/4")
    put(server, "ietf", b"abc", Upload_Complete="?1", Upload_Draft_Interop_Version="6")
    tus = Tus(server.url)
    upload = tus.create(3, filename="by-tus")
    for offset in (0, 3):
        tus.patch(upload, offset, b"tus"[offset:])
    assert tus.send("HEAD", upload).status_code == 200
    wrong = {"Content-Digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"}
    assert requests.put(f"{files}/no", b"x", headers=wrong, timeout=30).status_code >= 400
    once = {"If-None-Match": "*"}
    assert requests.put(f"{files}/ietf", b"x", headers=once, timeout=30).status_code == 412
    receiver.wait_for(8)
    assert server.stop() == 0  # what waited was sent by now
    assert len(receiver.deliveries) == len({one.id for one in receiver.deliveries}) == 8
    names = sorted(one.event["data"]["filename"] for one in receiver.taken)
    assert names == ["by-tus", "f0", "f1", "f2", "ietf", "pieces", "posted", "ü.txt"]
    raw = next(one for one in receiver.taken if one.event["data"]["key"] == "raw/ü.txt")
    data = raw.event["data"]
    assert (raw.event["id"], raw.event["type"]) == (raw.id, "sluiceway.upload.finished")
    assert data["digests"] == {"sha-256": hashlib.sha256(b"raw").hexdigest()}
    assert (data["size"], data["type"], data["metadata"]) == (3, "text/plain", {})
    assert raw.event["subject"] == "raw/ü.txt"
    assert data["upload"]
    assert str(server.root) not in str(receiver.deliveries)


def test_an_event_waits_for_its_receiver(serve: Serve, receiver: WebhookReceiver) -> None:
    """Refused once, it does not stop the others. The log hides the query of the URL."""
    receiver.next_responses += [503]
    receiver.headers = {"Retry-After": "3600"}
    server = serve("--on-finish", receiver.url, env=receiver.env)
    put(server, "a")
    while not receiver.deliveries:
        time.sleep(0.02)
    put(server, "b")
    receiver.wait_for(1)
    assert [one.status for one in receiver.deliveries] == [503, 204]
    eventually(lambda: "answered 503" in server.log(), "the refusal is logged")
    server.stop(signal.SIGKILL)
    assert "of-the-query" not in server.log()
    assert SECRET not in server.log()


def test_a_killed_server_reports_after_its_restart(serve: Serve, receiver: WebhookReceiver) -> None:
    """The receiver refused it before, and gets the same event."""
    receiver.next_responses += [500]
    server = serve("--on-finish", receiver.url, env=receiver.env)
    put(server, "a")
    while not receiver.deliveries:
        time.sleep(0.02)
    time.sleep(0.3)  # it is written down when to try again, or its lease of 20 s ends first
    server.stop(signal.SIGKILL)
    again = serve("--on-finish", receiver.url, env=receiver.env, root=server.root)
    [taken] = receiver.wait_for(1)
    assert taken.id == receiver.deliveries[0].id
    assert again.stop() == 0
    assert len(receiver.deliveries) == 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_kill_around_the_publishing_of_one_request(
    serve: Serve, receiver: WebhookReceiver, tmp_path: Path, is_kept: bool
) -> None:
    """The file decides: it is there, and is reported, or it is not."""
    place = ("uploads.outbox.outbox", "Outbox", "settle")
    if not is_kept:
        place = ("stores.disk.drafts.draft", "DiskDraft", "publish")
    died = dying(serve, receiver, tmp_path, place)
    with pytest.raises(requests.ConnectionError):
        put(died, "a", b"abc")
    died.process.wait(20)
    assert died.stored() == ({"a": 3} if is_kept else {})
    again = serve("--on-finish", receiver.url, env=receiver.env, root=died.root)
    put(again, "b", b"b")
    expected = ["a", "b"] if is_kept else ["b"]
    receiver.wait_for(len(expected))
    assert again.stop() == 0
    assert sorted(one.event["data"]["key"] for one in receiver.deliveries) == expected


def test_a_kill_behind_the_publishing_of_a_resumable_upload(
    serve: Serve, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """Its client never comes back; the event comes all the same, and once."""
    place = ("uploads.resumable.held", "HeldUpload", "_save_published")
    died = dying(serve, receiver, tmp_path, place)
    tus = Tus(died.url)
    upload = tus.create(3, filename="t")
    with pytest.raises(requests.ConnectionError):
        tus.patch(upload, 0, b"tus")
    died.process.wait(20)
    again = serve("--on-finish", receiver.url, env=receiver.env, root=died.root)
    [taken] = receiver.wait_for(1)
    assert taken.event["data"]["digests"] == {"sha-256": hashlib.sha256(b"tus").hexdigest()}
    assert Tus(again.url).send("HEAD", upload.replace(died.url, again.url)).status_code == 200
    assert again.stop() == 0
    assert len(receiver.deliveries) == 1


def test_a_server_that_stops_sends_what_waits(serve: Serve, receiver: WebhookReceiver) -> None:
    def slow(handler: object) -> None:
        time.sleep(0.5)
        receiver.next_responses.insert(0, 204)
        receiver._take(handler)  # type: ignore[arg-type]

    receiver.next_responses += [slow]
    server = serve("--on-finish", receiver.url, env=receiver.env)
    put(server, "a")
    assert server.stop() == 0
    assert len(receiver.taken) == 1


def test_two_servers_report_from_one_ledger(
    serve: Serve, receiver: WebhookReceiver, database: Database
) -> None:
    """Each event comes, and hardly one of them twice; also those of a server that was killed."""
    table = database.fresh()
    ledger = f"{database.url}&table={table}"
    options = ("--on-finish", receiver.url, "--ledger", ledger)
    one = serve(*options, env=receiver.env)
    other = serve(*options, env=receiver.env, root=one.root)
    for at in range(20):
        put((one, other)[at % 2], f"f{at}")
    receiver.wait_for(20)
    receiver.next_responses += [500] * 3
    for name in ("x", "y", "z"):
        put(one, name)
    while len(receiver.deliveries) < 23:
        time.sleep(0.02)
    time.sleep(0.3)
    one.stop(signal.SIGKILL)
    taken = receiver.wait_for(23)
    assert other.stop() == 0
    assert {one.event["data"]["key"] for one in taken} == {*(f"f{at}" for at in range(20)), *"xyz"}
    assert len(receiver.taken) <= 24  # the killed server may have sent one just then
    for suffix in ("", "_parts", "_events", "_processes", "_usage", "_reserved", "_changes"):
        database.rows(f"DROP TABLE {table}{suffix}")


def test_a_place_without_a_ledger_needs_one(
    serve: Serve, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """A relayed file, which keeps nothing here, is reported from --state."""
    with pytest.raises(AssertionError, match="--on-finish writes its events down"):
        serve("--on-finish", receiver.url, env=receiver.env, to="memory:")
    backend = serve()
    options = ("--on-finish", receiver.url, "--state", str(tmp_path / "state"))
    relay = serve(*options, env=receiver.env, to=f"{backend.url}/files/")
    put(relay, "a", b"abc")
    [taken] = receiver.wait_for(1)
    assert (taken.event["data"]["key"], taken.event["data"]["size"]) == ("a", 3)


def test_the_secret_is_not_taken_from_the_command_line(serve: Serve) -> None:
    options = ("--on-finish", "http://127.0.0.1:9/", "--hook-secret", SECRET)
    with pytest.raises(AssertionError, match="would show the secret") as raised:
        serve(*options)
    assert SECRET not in str(raised.value)


def dying(
    serve: Serve, receiver: WebhookReceiver, folder: Path, place: tuple[str, str, str]
) -> RunningServer:
    """A server that is killed where it would run this method."""
    module, name, method = place
    (folder / "sitecustomize.py").write_text(DIES.format(module=module, name=name, method=method))
    env = {**receiver.env, "PYTHONPATH": str(folder)}
    return serve("--on-finish", receiver.url, env=env)
