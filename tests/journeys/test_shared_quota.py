"""Servers that share a database: one quota, links for a number of files, files for a few downloads.

Each is exact among all of them, also when one is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.server.access.link_keys import add_key, first_key

SIZE = 30_000
FITTING = 20
QUOTA = FITTING * SIZE + SIZE // 2
TUS = {"Tus-Resumable": "1.0.0"}


@contextmanager
def servers(
    count: int, root: Path, database: Database, *options: str, to: str | None = None
) -> Iterator[list[RunningServer]]:
    ledger = f"{database.url}&table={database.fresh()}"
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        started = pool.map(
            lambda _: start_server(root, "--ledger", ledger, *options, to=to), range(count)
        )
        running = [*started]
        for server in running:
            stack.callback(server.stop)
        yield running


def put(server: RunningServer, key: str, size: int, **headers: str) -> requests.Response:
    return requests.put(f"{server.url}/files/{key}", data=bytes(size), headers=headers, timeout=120)


def left(server: RunningServer) -> int:
    response = put(server, "far-too-large", 2 * QUOTA)
    assert response.status_code == 507, response.text
    return int(response.json()["left"])


def race(running: list[RunningServer], uploads: int) -> None:
    """The first server is killed while it receives; what it had reserved is free for the others."""
    with ExitStack() as stack:
        for number in range(5):
            wire = stack.enter_context(Wire(running[0].port))
            wire.send(head("PUT", f"/files/cut{number}", f"Content-Length: {SIZE}") + bytes(1000))
        eventually(lambda: left(running[1]) == QUOTA - 5 * SIZE, "it is reserved")

        def send(number: int) -> int:
            if number == uploads // 4:
                os.kill(running[0].pid, signal.SIGKILL)
            try:
                return put(running[number % len(running)], f"u{number}", SIZE).status_code
            except requests.ConnectionError:
                return 0

        with ThreadPoolExecutor(uploads) as pool:
            statuses = list(pool.map(send, range(uploads)))
    assert set(statuses) <= {0, 201, 507}
    stored = listed(running[1])
    assert statuses.count(201) <= len(stored) <= FITTING
    assert sum(stored.values()) <= QUOTA
    # the room of the dead one, to the byte
    one, two = running[1:3]
    eventually(lambda: left(one) == QUOTA - sum(listed(one).values()), "all is given back")
    rest = left(two)
    assert put(one, "more", rest + 1).status_code == 507
    assert put(two, "rest", rest).status_code == 201
    again = put(one, "rest2", 1)
    assert (again.status_code, again.json()["left"]) == (507, 0)
    assert sum(listed(two).values()) == QUOTA


def listed(server: RunningServer) -> dict[str, int]:
    response = requests.get(f"{server.url}/files?limit=1000", timeout=60)
    return {file["key"]: file["size"] for file in response.json()["files"]}


def test_64_uploads_race_for_one_quota_of_three_servers(tmp_path: Path, database: Database) -> None:
    with servers(3, tmp_path / "root", database, "--quota", str(QUOTA)) as running:
        race(running, 64)


@pytest.mark.torture
def test_the_same_into_a_bucket(tmp_path: Path, database: Database, s3: Objects) -> None:
    options = (f"--store-option={name}={value}" for name, value in s3.options.items())
    to = s3.url(s3.fresh(), "files/")
    with servers(3, tmp_path / "root", database, "--quota", str(QUOTA), *options, to=to) as running:
        race(running, 64)


def test_what_servers_share_beside_it(tmp_path: Path, database: Database) -> None:
    """Uploads in the ledger have their bytes; links and downloads are counted by all."""
    add_key(str(tmp_path / "keys"))
    root = tmp_path / "root"
    root.mkdir()
    (root / "by-hand").write_bytes(bytes(SIZE))
    options = ("--quota", str(QUOTA), "--link-key-file", str(tmp_path / "keys"))
    with servers(2, root, database, *options, "--max-downloads", "0") as (one, two):
        assert left(one) == left(two) == QUOTA - SIZE
        made = requests.post(
            f"{one.url}/files", headers={**TUS, "Upload-Length": str(SIZE)}, timeout=60
        )
        path = "/uploads/" + made.headers["location"].rpartition("/")[2]
        assert left(two) == QUOTA - 2 * SIZE
        fields = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        sent = requests.patch(two.url + path, data=bytes(SIZE), headers=fields, timeout=60)
        assert sent.status_code == 204
        assert left(one) == QUOTA - 2 * SIZE
        assert requests.delete(f"{one.url}/files/by-hand", timeout=60).status_code == 204
        assert left(two) == QUOTA - SIZE

        key = first_key(str(tmp_path / "keys"))
        links = [sluiceway.link(each.url, key, prefix="l/", count=3) for each in (one, two)]
        token = links[0].rstrip("/").rpartition("/")[2]

        def bring(number: int) -> int:
            server = (one, two)[number % 2]
            url = f"{server.url}/l/{token}/files"
            return requests.post(url, data=b"x", timeout=60).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(bring, range(8)))
        assert sorted(statuses) == [201] * 3 + [403] * 5

        assert put(one, "twice", 100, **{"X-Max-Downloads": "2"}).status_code == 201

        def fetch(number: int) -> int:
            server = (one, two)[number % 2]
            agent = {"User-Agent": f"reader {number}"}
            return requests.get(f"{server.url}/files/twice", headers=agent, timeout=60).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(fetch, range(8)))
        assert sorted(statuses) == [200] * 2 + [404] * 6


def test_ranges_of_one_reader_are_one_download_from_any_server(
    tmp_path: Path, database: Database
) -> None:
    with servers(2, tmp_path / "root", database, "--max-downloads", "1") as (one, two):
        assert put(one, "a", 100).status_code == 201
        for server, part in ((one, "0-49"), (two, "50-99"), (one, "50-99")):
            found = requests.get(
                f"{server.url}/files/a", headers={"Range": f"bytes={part}"}, timeout=60
            )
            assert found.status_code == 206
        other = {"Range": "bytes=0-1", "User-Agent": "another"}
        assert requests.get(f"{two.url}/files/a", headers=other, timeout=60).status_code == 404
        assert requests.get(f"{two.url}/files/a", timeout=60).status_code == 404


@pytest.mark.torture
def test_the_next_first_server_counts_anew(tmp_path: Path, database: Database) -> None:
    """Files that came by hand are counted when no server lived; while one does, they are not."""
    root, ledger = tmp_path / "root", f"{database.url}&table={database.fresh()}"
    options = ("--ledger", ledger, "--quota", str(QUOTA))
    one = start_server(root, *options)
    assert left(one) == QUOTA
    (root / "by-hand").write_bytes(bytes(SIZE))
    two = start_server(root, *options)
    assert left(two) == QUOTA
    one.stop()
    assert left(two) == QUOTA
    two.stop()
    two = start_server(root, *options)
    try:
        assert left(two) == QUOTA - SIZE
    finally:
        two.stop()
