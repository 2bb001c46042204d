"""Gateways with one spool and one ledger: a folder that all of them see, uploads in PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_gateway import fresh, snapshot
from fix_postgres import Database
from fix_server import RunningServer
from fix_spool import Backend, files_of, start_spooling
from fix_taking import eventually, noise
from tus_by_hand import Tus

pytestmark = pytest.mark.torture

DATA = noise(1_500_000)
THIRD = len(DATA) // 3
SECONDS = 60


Pair = tuple[RunningServer, RunningServer]


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, backend: Backend, database: Database
) -> Iterator[Pair]:
    """Their spools are the folders that `request` names."""
    options = ("--ledger", f"{database.url}&table={database.fresh()}", "--relay-spool-wait", "0")
    servers = []
    for name in getattr(request, "param", ("same", "same")):
        (tmp_path / name).mkdir(exist_ok=True)
        servers.append(start_spooling(tmp_path / name, f"{backend.url}/books", *options))
    yield servers[0], servers[1]
    for each in servers:
        each.stop()


def is_complete(server: RunningServer, upload: str) -> bool:
    return bool(snapshot(server, upload)["state"] == "complete")


def test_pieces_go_to_any_gateway_and_any_delivers(
    pair: Pair, backend: Backend, tmp_path: Path
) -> None:
    """Also what the other one took, which was killed meanwhile. The backend gets the file once."""
    one, two = pair
    here, there = Tus(one.url), Tus(two.url)
    url = here.create(len(DATA))
    upload = url.rpartition("/")[2]
    for at, tus in ((0, here), (THIRD, there)):
        path = url.removeprefix(one.url).removeprefix(two.url)
        answer = tus.patch(f"{tus.url}{path}", at, DATA[at : at + THIRD])
        assert answer.status_code == 204, answer.text
    last = here.patch(url, 2 * THIRD, DATA[2 * THIRD :])
    assert last.status_code in (423, 503), last.text
    alone = fresh()
    put = requests.put(f"{one.url}/files/b?upload={alone}", data=DATA, timeout=SECONDS)
    assert put.status_code == 202, put.text
    one.stop(signal.SIGKILL)
    assert snapshot(two, upload)["state"] in ("waiting", "checking")
    backend.start()
    eventually(lambda: is_complete(two, upload) and is_complete(two, alone))
    assert [each.body == DATA for each in backend.taken()] == [True, True]
    eventually(lambda: not files_of(tmp_path / "same"))


@pytest.mark.parametrize("pair", [("one", "another")], indirect=True)
def test_a_gateway_with_another_folder_knows_nothing_of_it(pair: Pair, backend: Backend) -> None:
    """It has none of the bytes: it must not take the upload for lost."""
    one, two = pair
    upload = fresh()
    put = requests.put(f"{one.url}/files/b?upload={upload}", data=DATA, timeout=SECONDS)
    assert put.status_code == 202, put.text
    head = requests.head(f"{two.url}/uploads/{upload}", timeout=SECONDS)
    assert head.status_code == 404
    requests.delete(f"{two.url}/uploads/{upload}", timeout=SECONDS)
    backend.start()
    eventually(lambda: is_complete(one, upload))
    assert [each.body == DATA for each in backend.taken()] == [True]
