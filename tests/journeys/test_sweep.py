"""`sluiceway sweep`, and the server's own sweeps: what has expired goes, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_postgres import Database
from fix_server import Serve
from fix_taking import eventually, noise
from raw_http import Wire, head
from sluiceway.pipe.budget import Budget
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.postgres.store import PostgresStore
from tus_by_hand import OFFSET_STREAM, Tus

DATA = noise(100_000)


def sweep(*arguments: str) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "sluiceway", "sweep", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.fixture(params=["folder", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where files go, and the options that say where uploads are written down."""
    if request.param == "folder":
        yield str(tmp_path / "root"), []
        return
    database: Database = request.getfixturevalue("database")
    table, ledger = database.fresh(), database.fresh()
    asyncio.run(_init(f"{database.url}&table={table}"))
    yield f"{database.url}&table={table}", ["--ledger", f"{database.url}&table={ledger}"]
    database.drop(table)
    suffixes = ("", "_parts", "_events", "_processes")
    database.rows(f"DROP TABLE IF EXISTS {', '.join(ledger + suffix for suffix in suffixes)}")


async def _init(url: str) -> None:
    store = PostgresStore(url, Budget(16 << 20))
    await store.init()
    await store.aclose()


def test_a_sweep_removes_exactly_what_has_expired(
    place: tuple[str, list[str]], serve: Serve
) -> None:
    """Beside running servers. Their own sweeps end it; its client learns that it is gone."""
    where, options = place
    server = serve(*options, "--expire-after", "3", to=where)
    keeping = serve(*options, "--expire-after", "900", to=where)
    short, long = Tus(server.url), Tus(keeping.url)
    old, kept = short.create(len(DATA)), long.create(len(DATA), filename="kept")
    for client, upload in (short, old), (long, kept):
        assert client.patch(upload, 0, DATA[:60_000]).status_code == 204
    eventually(lambda: short.head(old).status_code == 410)
    assert long.head(upload_at(long, old)).status_code == 410
    assert "0 drafts without an upload removed, 0 uploads without bytes" in sweep(
        where, *options, "--older-than", "0"
    )
    assert long.offset(kept) == 60_000
    done = long.patch(kept, 60_000, DATA[60_000:])
    assert done.status_code == 204
    for client in (short, long):
        client.session.close()


def upload_at(client: Tus, upload: str) -> str:
    return client.url + upload[upload.index("/uploads/") :]


def test_a_sweep_removes_what_a_crash_left(serve: Serve, tmp_path: Path) -> None:
    """A draft of no upload, and an upload whose bytes are gone; others stay."""
    server = serve(root=tmp_path / "root")
    client = Tus(server.url)
    lost, fine = client.create(len(DATA)), client.create(len(DATA))
    lasting = tmp_path / "root" / ".sluiceway" / "lasting"
    assert client.patch(lost, 0, DATA[:5000]).status_code == 204
    (draft,) = lasting.iterdir()
    assert client.patch(fine, 0, DATA[:7000]).status_code == 204
    draft.rename(lasting / ("0" * 32))
    printed = sweep(str(tmp_path / "root"))
    assert "0 drafts without an upload removed, 1 upload without bytes ended" in printed
    assert client.head(lost).status_code == 410
    printed = sweep(str(tmp_path / "root"), "--older-than", "0")
    assert "1 draft without an upload removed, 0 uploads without bytes ended" in printed
    assert client.offset(fine) == 7000
    client.session.close()


def test_bytes_that_a_kill_left_unwritten_go_with_their_upload(
    serve: Serve, tmp_path: Path
) -> None:
    """The server dies before it has written an offset down. Its client ends the upload, or the
    upload expires; and a sweep removes the bytes of one whose end a kill cut short."""
    places = [tmp_path / "root0", tmp_path / "other"]
    options = ["--state", str(tmp_path / "state"), "--to", str(places[1])]

    def left() -> int:
        return sum(len(list((each / ".sluiceway" / "lasting").iterdir())) for each in places)

    server = serve(*options, root=places[0])
    ids = []
    for _ in range(2):
        client = Tus(server.url)
        ids.append(client.create(100 << 20).rpartition("/")[2])
        with Wire(server.port) as wire:
            fields = ["Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Type: {OFFSET_STREAM}"]
            wire.send(head("PATCH", f"/uploads/{ids[-1]}", *fields, f"Content-Length: {100 << 20}"))
            wire.send(noise(1 << 20))
            eventually(lambda: left() >= 2, "the first bytes to be written")
            server.stop(signal.SIGKILL)
        server = serve(*options, root=places[0])
        client = Tus(server.url)
        assert client.send("DELETE", f"{server.url}/uploads/{ids[-1]}").status_code == 204
        assert left() == 0
        client.session.close()
    store = DiskStore(str(places[0]), Budget(16 << 20))
    name = store.draft_name(ids[0])
    asyncio.run(store.aclose())
    (places[0] / ".sluiceway" / "lasting" / name).write_bytes(b"left")
    printed = sweep(*map(str, places), "--state", str(tmp_path / "state"), "--older-than", "0")
    assert "1 draft without an upload removed, 0 uploads without bytes ended" in printed
    assert left() == 0


def test_drafts_of_no_upload_are_removed_at_each_of_several_places(
    serve: Serve, tmp_path: Path
) -> None:
    """As a crash may leave them in one folder or in both; others stay."""
    places = [str(tmp_path / "root0"), str(tmp_path / "other")]
    state = ["--state", str(tmp_path / "state")]
    server = serve(*state, "--to", places[1])
    client = Tus(server.url)
    fine = client.create(len(DATA))
    assert client.patch(fine, 0, DATA[:7000]).status_code == 204
    for place in places:
        (draft,) = (Path(place) / ".sluiceway" / "lasting").iterdir()
        (draft.parent / ("0" * 32)).write_bytes(b"left")
    printed = sweep(*places, *state, "--older-than", "0")
    assert "2 drafts without an upload removed, 0 uploads without bytes ended" in printed
    done = client.patch(fine, 7000, DATA[7000:])
    assert done.status_code == 204
    client.session.close()


def test_an_upload_expires_at_a_fixed_time(serve: Serve) -> None:
    """Although its client goes on: each offset comes with the same time, and then it is gone."""
    server = serve("--expire-after", "4", "--expire-fixed")
    client = Tus(server.url)
    upload = client.create(len(DATA))
    offset, times, status = 0, set[str](), 204
    until = time.monotonic() + 60
    while status == 204 and time.monotonic() < until:
        response = client.patch(upload, offset, DATA[offset : offset + 100])
        if (status := response.status_code) == 204:
            offset += 100
            times.add(response.headers["Upload-Expires"])
        time.sleep(0.2)
    assert offset
    assert len(times) == 1
    assert status == 410
    eventually(lambda: not list((server.root / ".sluiceway" / "lasting").iterdir()))
    client.session.close()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sluiceway", "sweep", str(tmp_path / "none")],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, (tmp_path / "none").exists()) == (2, False)
