"""Quotas when something ends in the wrong moment: a kill between publish and count, and expiry.

On one machine, and for servers that share a database.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, Serve
from fix_taking import eventually
from tus_by_hand import Tus

QUOTA = 100_000

# The server dies where the store has the file, and the account does not know it yet.
DIES = """
import os, signal, sys

def patched(name, module):
    real = module.Quotas._end

    async def end(self, account, keys, change):
        if any(os.path.exists(f"{os.environ['FLAGS']}/{key}") for key in keys):
            os.kill(os.getpid(), signal.SIGKILL)
        await real(self, account, keys, change)

    module.Quotas._end = end

import sluiceway.uploads.quota.quotas as module
patched("quotas", module)
"""


def put(server: RunningServer, key: str, size: int) -> requests.Response:
    return requests.put(f"{server.url}/files/{key}", data=bytes(size), timeout=60)


def left(server: RunningServer) -> int:
    response = put(server, "far-too-large", 2 * QUOTA)
    assert response.status_code == 507, response.text
    return int(response.json()["left"])


def options(kind: str, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Where the account is."""
    if kind == "folder":
        return ("--quota", str(QUOTA))
    database: Database = request.getfixturevalue("database")
    return ("--quota", str(QUOTA), "--ledger", f"{database.url}&table={database.fresh()}")


CASES = [
    pytest.param(kind, act, marks=() if quick else (pytest.mark.torture,))
    for kind, act, quick in [
        ("folder", "replace", True),
        ("folder", "new", False),
        ("folder", "delete", False),
        ("database", "new", True),
        ("database", "replace", False),
        ("database", "delete", False),
    ]
]


@pytest.mark.parametrize(("kind", "act"), CASES)
def test_a_kill_between_publish_and_count(
    serve: Serve, tmp_path: Path, request: pytest.FixtureRequest, kind: str, act: str
) -> None:
    """The other server counts what the key has, and lets it be changed again."""
    (tmp_path / "sitecustomize.py").write_text(DIES)
    root, given, flag = tmp_path / "root", options(kind, request), tmp_path / "a"
    env = {"PYTHONPATH": str(tmp_path), "FLAGS": str(tmp_path)}
    dying, living = serve(*given, root=root, env=env), serve(*given, root=root)
    if act != "new":
        assert put(dying, "a", 20_000).status_code == 201
    flag.touch()
    with suppress(requests.ConnectionError):
        if act == "delete":
            requests.delete(f"{dying.url}/files/a", timeout=60)
        else:
            put(dying, "a", 60_000)
    assert dying.process.wait(30) == -9
    there = 0 if act == "delete" else 60_000
    assert sum(living.stored().values()) == there
    eventually(lambda: left(living) == QUOTA - there, "what the key has is counted")
    assert put(living, "b", QUOTA - there + 1).status_code == 507
    assert put(living, "a", QUOTA).status_code in (200, 201)
    assert left(living) == 0


@pytest.mark.parametrize("kind", ["folder", pytest.param("database", marks=pytest.mark.torture)])
def test_a_resumed_upload_that_was_published_by_a_killed_server_is_counted(
    serve: Serve, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Before its reservation is given back, so that no byte more than the quota finds room."""
    (tmp_path / "sitecustomize.py").write_text(DIES)
    root, given = tmp_path / "root", (*options(kind, request), "--key-template", "{filename}")
    env = {"PYTHONPATH": str(tmp_path), "FLAGS": str(tmp_path)}
    dying, living = serve(*given, root=root, env=env), serve(*given, root=root)
    assert left(living) == QUOTA  # it counts with the other one, and not anew
    tus = Tus(dying.url)
    upload = tus.create(60_000, filename="a")
    (tmp_path / "a").touch()
    with suppress(requests.ConnectionError):
        tus.patch(upload, 0, bytes(60_000))
    assert dying.process.wait(30) == -9
    found = upload.replace(dying.url, living.url)
    eventually(lambda: Tus(living.url).head(found).headers["Upload-Offset"] == "60000", "it ends")
    assert put(living, "b", QUOTA - 60_000 + 1).status_code == 507
    assert put(living, "b", QUOTA - 60_000).status_code == 201


@pytest.mark.parametrize("kind", ["folder", pytest.param("database", marks=pytest.mark.torture)])
def test_what_expires_gives_its_bytes_back(
    serve: Serve, request: pytest.FixtureRequest, kind: str
) -> None:
    """A finished file and an upload that nobody goes on with; each is deleted by a sweep."""
    server = serve(*options(kind, request), "--expire", "2", "--expire-after", "1")
    assert put(server, "a", 60_000).status_code == 201
    Tus(server.url).create(30_000)
    assert left(server) == 10_000
    eventually(lambda: left(server) == QUOTA, "all is given back")
    eventually(lambda: server.stored() == {}, "the file is gone")
    assert put(server, "b", QUOTA).status_code == 201
