"""Three servers behind nginx, without sticky sessions, killed at random: no upload notices.

No byte is lost that was acknowledged, no file is stored twice, none gets stuck, and the quota of
each name is right to the byte. The ledger is in PostgreSQL; the files are there, or in a bucket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin

import pytest
import requests

from event_stream_decoder import EventStreamDecoder
from fix_nginx import listens
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer, Serve
from fix_taking import TORTURE, eventually, need, noise
from free_ports import free_port
from pace import Pace
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres.store import PostgresStore
from token_names import secret_of, token_file
from tus_by_hand import Tus, creation

T = TypeVar("T")

UPLOADS = 200 if TORTURE else 10
AT_ONCE = 8 if TORTURE else 4
KILLS = 60 if TORTURE else 2
LARGEST = (12 << 20) if TORTURE else (600 << 10)  # bytes
OWNERS = ("ann", "bob", "cleo")
# Of each, for a third of the uploads, and those whose creation a kill hid from their client.
QUOTA = (UPLOADS // len(OWNERS) + 4) * LARGEST
LONGEST_WAIT = 5.0  # seconds of a quiet machine, from one answer that helps to the next
STUCK = 120.0  # seconds by any clock: then the test ends

CONFIG = """
{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream servers {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_request_buffering off; proxy_buffering off;
      client_max_body_size 0;
    }}
  }}
}}
"""


@dataclass
class Servers:
    """Equal servers, each on a port of its own."""

    serve: Serve
    to: str
    options: list[str]
    env: dict[str, str]
    open_uploads: Callable[[], list[str]]  # their ids in the ledger
    ports: list[int] = field(default_factory=list)
    running: list[RunningServer] = field(default_factory=list)

    def start(self, count: int) -> None:
        for number in range(count):
            self.ports.append(free_port())
            self.running.append(self._start(number))

    def kill(self, number: int) -> None:
        """Kill one, and start it again."""
        self.running[number].stop(signal.SIGKILL)
        self.running[number] = self._start(number)

    def _start(self, number: int) -> RunningServer:
        port = str(self.ports[number])
        return self.serve("--port", port, *self.options, to=self.to, env=self.env)


@pytest.fixture(
    params=["postgresql", pytest.param("s3", marks=pytest.mark.torture)],
)
def servers(
    request: pytest.FixtureRequest, database: Database, serve: Serve, tmp_path: Path
) -> Iterator[Servers]:
    """Three."""
    table, ledger = database.fresh(), database.fresh()
    to, options, env = f"{database.url}&table={table}", list[str](), dict[str, str]()
    if request.param == "s3":
        s3: Objects = request.getfixturevalue("s3")
        to, options, env = s3.url(s3.fresh()), [], dict(s3.env)
    else:
        asyncio.run(_init(to))
    rights = dict.fromkeys(OWNERS, f"upload,read,list quota={QUOTA}") | {"boss": "admin"}
    tokens = token_file(tmp_path / "tokens", rights)
    options += ["--ledger", f"{database.url}&table={ledger}", "--token-file", str(tokens)]
    options += ["--quota", str(2 * len(OWNERS) * QUOTA)]

    def open_uploads() -> list[str]:
        rows = database.rows(f"SELECT id FROM {ledger} WHERE state = 'open'")
        return [str(upload) for (upload,) in rows]

    three = Servers(serve, to, options, env, open_uploads)
    three.start(3)
    yield three
    for server in three.running:
        server.stop()
    database.drop(table)
    tables = database.rows(f"SELECT tablename FROM pg_tables WHERE tablename ~ '^{ledger}(_|$)'")
    database.rows(f"DROP TABLE {', '.join(str(table) for (table,) in tables)}")


async def _init(url: str) -> None:
    store = PostgresStore(url, Budget(16 << 20))
    await store.init()
    await store.aclose()


@pytest.fixture
def front(servers: Servers, tmp_path: Path) -> Iterator[str]:
    """The URL of an nginx that gives each request to the next server."""
    need("nginx")
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    named = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in servers.ports)
    user = "user root; " if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(user=user, folder=folder, port=port, servers=named))
    process = subprocess.Popen(
        ["nginx", "-c", str(config), "-e", str(folder / "error.log")], stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: process.poll() is not None or listens(port), "nginx listens")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Upload:
    """One client: it sends pieces until all is stored, whatever fails on the way."""

    url: str
    name: str
    owner: str
    data: bytes
    chance: random.Random
    pace: Pace
    longest: float = (
        0.0  # seconds without an answer that brought it on, as if the machine was quiet
    )
    slowest: list[str] = field(default_factory=list)  # what it did in that time
    retries: int = 0

    def run(self) -> None:
        client = client_of(self.url, self.owner)
        self._steps = list[str]()
        self.progress = time.monotonic()
        upload = self._until(lambda: self._create(client))
        self.watcher = UploadWatcher(urljoin(self.url, upload), self.owner)
        acknowledged, offset = 0, 0
        while offset < len(self.data):
            size = self.chance.randint(1, len(self.data) // 3)
            try:
                response = client.patch(upload, offset, self.data[offset : offset + size])
                self._did("PATCH", response.status_code)
                if response.status_code == 204:
                    self._progressed()
                    acknowledged = offset = int(response.headers["Upload-Offset"])
                    continue
                assert response.status_code in (409, 423) or response.status_code >= 500, (
                    response.status_code,
                    response.text,
                )
            except requests.RequestException as error:
                self._did("PATCH", error)
            self.retries += 1
            offset = self._until(lambda: self._offset(client, upload))
            assert offset >= acknowledged, f"{acknowledged} bytes were acknowledged, not {offset}"
        client.session.close()

    def _until(self, attempt: Callable[[], T | None]) -> T:
        while (found := attempt()) is None:
            assert time.monotonic() - self.progress < STUCK, f"{self.name} is stuck"
            time.sleep(0.05)
        self._progressed()
        return found

    def _create(self, client: Tus) -> str | None:
        try:
            return client.create(len(self.data), filename=self.name)
        except (requests.RequestException, AssertionError) as error:
            self._did("POST", error)
            return None

    def _offset(self, client: Tus, upload: str) -> int | None:
        try:
            response = client.head(urljoin(self.url, upload))
        except requests.RequestException as error:
            self._did("HEAD", error)
            return None
        self._did("HEAD", response.status_code)
        if response.status_code == 200:
            return int(response.headers["Upload-Offset"])
        assert response.status_code in (409, 423) or response.status_code >= 500, response
        return None

    def _progressed(self) -> None:
        now = time.monotonic()
        waited = self.pace.seconds(self.progress, now)
        if waited > self.longest:
            self.longest, self.slowest = waited, self._steps
        self.progress, self._steps = now, []

    def _did(self, method: str, outcome: object) -> None:
        self._steps.append(f"{method} {time.monotonic() - self.progress:.2f} s: {outcome}")


class UploadWatcher:
    """Reads the events of one upload as a page does: a stream that ends before the upload is opened
    again, at whichever server nginx chooses."""

    def __init__(self, url: str, owner: str) -> None:
        self._url, self._owner = url, owner
        self.streams, self.steps = 0, 0
        self.last: dict[str, object] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[str, object]:
        self._thread.join(STUCK)
        return self.last

    def _run(self) -> None:
        while self.last.get("state") not in ("complete", "failed", "cancelled"):
            self.streams += 1
            with suppress(requests.RequestException):
                self._read()
            time.sleep(0.05)

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream", **bearer(self._owner)}
        with requests.get(self._url, headers=headers, stream=True, timeout=20) as response:
            decoder = EventStreamDecoder()
            for data in response.iter_content(None):
                for event in decoder.feed(data):
                    self.last = json.loads(event.data)
                    self.steps += 1


@pytest.fixture
def pace() -> Iterator[Pace]:
    with Pace() as running:
        yield running


@pytest.mark.timeout(3600 if TORTURE else 180)
def test_uploads_through_three_servers_survive_their_kills(
    servers: Servers, front: str, pace: Pace
) -> None:
    """Each file is there once, with all its bytes, none had to wait long, and each quota is right.

    Each stream of events comes to the end of its upload.
    """
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    data = noise(LARGEST)
    uploads = []
    for number in range(UPLOADS):
        size = chance.randint(LARGEST // 10, LARGEST)
        child = random.Random(chance.random())
        owner = OWNERS[number % len(OWNERS)]
        uploads.append(Upload(front, f"file-{number}", owner, data[-size:], child, pace))
    began = time.monotonic()
    kills = upload_while_servers_die(uploads, servers, chance)
    check_stored(front, uploads)
    check_quotas(front, uploads, servers)
    ended = time.monotonic()
    for upload in uploads:
        last = upload.watcher.end()
        assert (last.get("state"), last.get("kept")) == ("complete", len(upload.data)), last
    share = pace.seconds(began, ended) / (ended - began)
    uploads.sort(key=lambda upload: upload.longest)
    retries = sum(upload.retries for upload in uploads)
    waits = [round(upload.longest, 2) for upload in uploads[-5:]]
    streams = [upload.watcher.streams for upload in uploads]
    steps = sum(upload.watcher.steps for upload in uploads)
    print(f"{sum(streams)} streams, at most {max(streams)} of an upload; {steps} events")
    print(f"{kills} kills, {retries} retries, longest waits {waits}; machine's share {share:.2f}")
    assert uploads[-1].longest < LONGEST_WAIT, uploads[-1].slowest


def upload_while_servers_die(uploads: list[Upload], servers: Servers, chance: random.Random) -> int:
    """Returns the number of kills."""
    ended = threading.Event()

    def kill() -> int:
        kills = 0
        while not ended.is_set() and kills < KILLS:
            servers.kill(chance.randrange(3))
            kills += 1
            ended.wait(chance.uniform(0.2, 1.0))
        return kills

    with ThreadPoolExecutor(AT_ONCE + 1) as threads:
        killer = threads.submit(kill)
        try:
            for done in [threads.submit(upload.run) for upload in uploads]:
                done.result()
        finally:
            ended.set()
        kills = killer.result()
    assert kills
    return kills


def check_stored(front: str, uploads: list[Upload]) -> None:
    expected = {upload.name: hashlib.sha256(upload.data).digest() for upload in uploads}
    found: dict[str, bytes] = {}
    boss = client_of(front, "boss").session
    after: str | None = ""
    while after is not None:
        listed = boss.get(f"{front}/files", params={"after": after}, timeout=60).json()
        for item in listed["files"]:
            name = item["key"].rpartition("/")[2]
            assert name not in found, f"{name} is stored twice"
            content = boss.get(f"{front}/files/{item['key']}", timeout=60).content
            found[name] = hashlib.sha256(content).digest()
        after = listed.get("next")
    assert found == expected


def check_quotas(front: str, uploads: list[Upload], servers: Servers) -> None:
    """Each name used the bytes of its files, has the rest of its quota, and not a byte more."""
    boss = client_of(front, "boss")
    for hidden in servers.open_uploads():
        assert boss.send("DELETE", f"/uploads/{hidden}").status_code == 204
    for owner in OWNERS:
        client = client_of(front, owner)
        rest = QUOTA - sum(len(upload.data) for upload in uploads if upload.owner == owner)
        assert left(client, rest + 1) == rest, owner
        client.create(rest)
        assert left(client, 1) == 0, owner


def left(client: Tus, size: int) -> int:
    """What is left where so much is too much."""
    response = client.post(creation(size))
    assert (response.status_code, response.json().get("code")) == (413, "over-quota"), response.text
    return int(response.json()["left"])


def client_of(url: str, owner: str) -> Tus:
    client = Tus(url)
    client.session.headers.update(bearer(owner))
    return client


def bearer(owner: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret_of(owner)}"}
