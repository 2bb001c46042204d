"""Hostile requests and stored attributes cause no 500, no traceback and no leftover.

A failure names the seed; HOSTILE_SEED repeats it. `make torture`
runs it for a minute for each server, with a fresh seed.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import TORTURE, eventually
from fix_wsgi import Backend, running
from hostile_requests import Attack
from raw_http import Wire, head
from sluiceway.stores.sqlite.readers import READERS

SECONDS = 60.0 if TORTURE else 2.5
SEED = os.environ.get("HOSTILE_SEED") or (secrets.token_hex(4) if TORTURE else "sluice")
# bytes: buffers that a process keeps after its first crowd; a leak of one request in ten is more
GROWTH = 48 << 20
LEDGER = ".sluiceway/uploads.sqlite"
# In the server's process: how many tasks its event loop has, printed at a signal.
TASKS = """
import asyncio, signal, sys
def tell(*_):
    print("tasks", len(asyncio.all_tasks()), file=sys.stderr, flush=True)
signal.signal(signal.SIGUSR1, tell)
"""


@contextmanager
def observed(folder: Path, *options: str, to: str | None = None) -> Iterator[RunningServer]:
    """A server that prints the number of its tasks."""
    hook = folder / "hook"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(TASKS)
    path = os.pathsep.join([str(hook), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = start_server(folder / "root", *options, to=to, env={"PYTHONPATH": path})
    try:
        yield server
    finally:
        server.stop()


def held(server: RunningServer) -> tuple[int, int]:
    """Returns the numbers of open files and tasks.

    Without the files of the ledger, of which each thread opens its own with its first upload.
    """
    before = server.log().count("tasks ")
    os.kill(server.pid, signal.SIGUSR1)
    eventually(lambda: server.log().count("tasks ") > before, "the server prints its tasks")
    tasks = int(re.findall(r"tasks (\d+)", server.log())[-1])
    files = open_files(server)
    ledger = [one for one in files if LEDGER in one]
    assert len(ledger) <= 3 * (READERS + 1), ledger  # the readers and a writer; database, WAL, shm
    return len(files) - len(ledger), tasks


def open_files(server: RunningServer) -> list[str]:
    """Returns what each open file of the server is; one that is closed meanwhile is left out."""
    found = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(f"{entry.name}: {entry.readlink()}")
    return sorted(found)


def resident(server: RunningServer) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def check(server: RunningServer, seed: str, *, root: Path | None = None) -> None:
    """Attack for a while. Afterwards the server holds what it held before."""
    Attack(server.port, f"{seed}/first", root).run(
        min(2.0, SECONDS / 4)
    )  # modules that load late, and buffers that grow once
    before, opened = held(server), open_files(server)
    memory = resident(server)
    attack = Attack(server.port, seed, root)
    attack.run(SECONDS)
    why = f"seed {seed!r}, {attack.sent} connections"

    assert attack.found == [], why
    log = server.log()
    for word in (
        "Traceback",
        "The app returned",
        "unexpected error",
        "Task exception",
        "never retrieved",
        "handler is closed",
    ):
        assert word not in log, f"{word} in the log; {why}: {log[log.index(word) - 500 :][:3000]}"
    assert not re.search(r'" 500 \d', log), why

    def quiet() -> bool:
        now = held(server)
        return now[0] <= before[0] + 2 and now[1] <= before[1]

    end = time.monotonic() + 40
    while (
        not quiet()
    ):  # a watcher of an upload that never began stays for a minute, unless its client leaves
        assert time.monotonic() < end, (
            f"{before} files and tasks became {held(server)}; {why};"
            f" new: {sorted({*open_files(server)} - {*opened})}"
        )
        time.sleep(0.5)
    assert resident(server) - memory < GROWTH, why
    with Wire(server.port) as wire:
        wire.send(head("GET", "/healthz"))
        assert wire.answer().status == 200, why


@pytest.mark.timeout(400)
def test_a_server_of_a_folder(tmp_path: Path) -> None:
    """Requests, while the attributes of stored files are changed by another program.

    No draft stays, and the listing is still whole.
    """
    with observed(tmp_path, "--max-size", "1MiB", "--fetch-from", "files.example") as server:
        check(server, f"{SEED}/folder", root=server.root)
        eventually(lambda: server.drafts() == [], f"no draft stays; seed {SEED!r}")
        with Wire(server.port) as wire:
            wire.send(head("GET", "/files?limit=1000"))
            assert wire.answer().status == 200, SEED


@pytest.mark.timeout(400)
def test_a_gateway(tmp_path: Path) -> None:
    """A gateway forwards requests as they arrive. No truncated one is complete at the backend."""
    with (
        observed(tmp_path / "behind") as backend,
        observed(tmp_path / "front", to=f"{backend.url}/files") as server,
    ):
        check(server, f"{SEED}/gateway")
        eventually(lambda: backend.drafts() == [], f"no draft stays; seed {SEED!r}")
        assert "Traceback" not in backend.log(), SEED


@pytest.mark.timeout(400)
def test_an_app_on_a_wsgi_server(tmp_path: Path) -> None:
    """The service in a Flask app: the same checks, where the WSGI server passes the request."""
    with running("waitress", tmp_path, Backend(), "mount_views:app") as app:
        attack = Attack(app.port, f"{SEED}/wsgi", prefix="/drop")
        attack.run(SECONDS)
        printed = app.printed.read_text(errors="replace")
        assert attack.found == [], f"seed {SEED!r}: {printed[-3000:]}"
        tracebacks = re.findall(r"Traceback \(most recent call last\):\n(?:  .*\n)+\S.*", printed)
        ours = [
            one for one in tracebacks if "/sluiceway/" in one
        ]  # waitress holds some files of its own
        assert ours == [], f"seed {SEED!r}"
