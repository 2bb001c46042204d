"""A server whose destination is PostgreSQL keeps the promises of a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire, head

DATA = noise(3_000_017)


def sluiceway(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    yield name
    database.drop(name)


@pytest.fixture(scope="module")
def place(database: Database, table: str) -> str:
    url = f"{database.url}&table={table}"
    done = sluiceway("init", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        "\nsluiceway serve --to PLACE\n"
    )  # an address alone lacks the table
    assert sluiceway("init", url).returncode == 0  # it may be repeated
    return url


@pytest.fixture(scope="module")
def server(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("postgres-server") / "none", to=place)
    yield running
    running.stop()


def test_files_are_stored_read_listed_and_deleted(server: RunningServer) -> None:
    """Raw and form, whole and in ranges, with conditions."""
    url = f"{server.url}/files/a/ä b.bin"
    assert requests.put(url, data=DATA, timeout=30).status_code == 201
    got = requests.get(url, timeout=30)
    assert got.content == DATA
    for start, stop in ((0, 1), (524_287, 524_290), (1_000_000, 2_500_000), (3_000_016, 3_000_017)):
        assert (
            requests.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}, timeout=10).content
            == DATA[start:stop]
        )
    assert (
        requests.put(url, data=b"x", headers={"If-None-Match": "*"}, timeout=10).status_code == 412
    )
    assert (
        requests.put(
            url, data=b"x", headers={"If-Match": got.headers["ETag"]}, timeout=10
        ).status_code
        == 200
    )
    assert requests.get(url, timeout=10).content == b"x"
    stored = requests.post(
        f"{server.url}/files", files=[("f", ("1.txt", b"1")), ("f", ("2.bin", DATA))], timeout=30
    ).json()["files"]
    assert requests.get(server.url + stored[1]["url"], timeout=30).content == DATA
    assert {
        entry["key"] for entry in requests.get(f"{server.url}/files", timeout=10).json()["files"]
    } >= {
        "a/ä b.bin",
        stored[0]["key"],
    }
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).status_code == 404


def test_deleting_frees_the_rows(server: RunningServer, database: Database, table: str) -> None:
    before = database.rows(f"SELECT count(*) FROM {table}_chunks")
    requests.put(f"{server.url}/files/gone", data=DATA, timeout=30)
    requests.put(f"{server.url}/files/gone", data=DATA, timeout=30)  # replaced
    requests.delete(f"{server.url}/files/gone", timeout=10)

    assert database.rows(f"SELECT count(*) FROM {table}_chunks") == before


def test_a_cut_upload_leaves_no_row(server: RunningServer, database: Database, table: str) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/cut", f"Content-Length: {2 * len(DATA)}") + DATA)
        eventually(lambda: database.leftovers(table), "a draft exists")
    eventually(lambda: not database.leftovers(table), "the draft is gone")
    assert requests.get(f"{server.url}/files/cut", timeout=10).status_code == 404


def test_a_sweep_removes_the_leftovers_of_a_killed_server(
    place: str, database: Database, table: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No object is visible after SIGKILL, and a sweep leaves an upload under way alone."""
    victim = start_server(tmp_path_factory.mktemp("victim") / "none", to=place)
    wires = [Wire(victim.port) for _ in range(10)]
    try:
        for number, wire in enumerate(wires):
            wire.send(
                head("PUT", f"/files/killed-{number}", f"Content-Length: {2 * len(DATA)}") + DATA
            )
        eventually(lambda: len(database.leftovers(table)) >= 10, "ten drafts")
        victim.stop(signal.SIGKILL)
    finally:
        for wire in wires:
            wire.close()
    survivor = start_server(tmp_path_factory.mktemp("survivor") / "none", to=place)
    try:
        with Wire(survivor.port) as wire:
            wire.send(head("PUT", "/files/alive", f"Content-Length: {2 * len(DATA)}") + DATA)
            eventually(lambda: len(database.leftovers(table)) >= 11, "one more draft")
            # None is old enough.
            assert ": 0 leftovers removed\n" in sluiceway("sweep", place).stdout
            newest = f"SELECT id FROM {table}_drafts ORDER BY seen DESC LIMIT 1"
            database.rows(
                f"UPDATE {table}_drafts SET seen = seen - interval '2 hours' WHERE id <> ({newest})"
            )
            assert ": 10 leftovers removed" in sluiceway("sweep", place).stdout
            wire.send(DATA)
            assert wire.answer().status == 201
        assert database.leftovers(table) == []
        assert requests.get(f"{survivor.url}/files/alive", timeout=30).content == DATA + DATA
        assert requests.get(f"{survivor.url}/files/killed-0", timeout=10).status_code == 404
    finally:
        survivor.stop()


def test_a_wrong_configuration_is_named_at_the_start(database: Database, place: str) -> None:
    """Missing tables, no server, a wrong name: one line with what to do, and no password."""
    for url, words in (
        (f"{database.url}&table=missing", "sluiceway init"),
        ("postgresql://u:geheim@127.0.0.1:1/db", "cannot be reached"),
        (f"{database.url}&table=No-Name", "cannot be the table's name"),
    ):
        done = sluiceway("serve", "--to", url, "--port", "0")
        assert (done.returncode, words in done.stderr, "geheim" in done.stderr) == (
            2,
            True,
            False,
        ), done.stderr
    done = sluiceway("init", "no-such-folder")
    assert (
        done.returncode,
        "needs no init" in done.stderr,
        os.path.exists("no-such-folder"),
    ) == (2, True, False)


def test_a_failing_database_is_answered_with_the_reason(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It fails in the middle of an upload; the next upload succeeds."""
    name = database.fresh()
    url = f"{database.url}&table={name}&application_name={name}"
    assert sluiceway("init", url).returncode == 0
    server = start_server(tmp_path_factory.mktemp("cut-off") / "none", to=url)
    try:
        with Wire(server.port) as wire:
            wire.send(head("PUT", "/files/a", f"Content-Length: {2 * len(DATA)}") + DATA)
            eventually(lambda: database.leftovers(name), "a draft exists")
            database.rows(f"ALTER TABLE {name}_chunks RENAME TO hidden_{name}")
            wire.send(DATA)
            response = wire.answer()
            assert response.status in (500, 503)
            assert "log has the reason" in response.json()["detail"]
            assert "sluiceway init" in server.log()
        database.rows(f"ALTER TABLE hidden_{name} RENAME TO {name}_chunks")
        database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = '{name}'"
        )
        assert requests.put(f"{server.url}/files/b", data=DATA, timeout=30).status_code == 201
        assert requests.put(f"{server.url}/files/c", data=DATA, timeout=30).status_code == 201
        assert requests.get(f"{server.url}/files/c", timeout=30).content == DATA
    finally:
        server.stop()
        database.drop(name)
