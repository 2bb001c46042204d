"""`copy -r --engine dask`: the workers of a real cluster copy the objects, and die on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fix_dask import DaskProcesses, StartDask
from fix_postgres import Database
from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from rude_peer import Exchange, Peer

pytestmark = pytest.mark.torture

FILES = {f"{'d/e/' if n % 2 else ''}{n:03}.bin": noise(n * 1500, n) for n in range(300)}
ALL = len(FILES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stocked(tmp_path / "from", FILES)


def stocked(folder: Path, files: dict[str, bytes]) -> Path:
    for key, data in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


@pytest.fixture
def journal(database: Database) -> Iterator[str]:
    table = database.fresh()
    yield f"{database.url}&table={table}"
    database.rows(f"DROP TABLE IF EXISTS {table}, {table}_objects")


class Copy:
    """A running `sluiceway copy`."""

    def __init__(self, cluster: DaskProcesses | str, *words: object) -> None:
        url = cluster if isinstance(cluster, str) else cluster.url
        engine = ("--engine", "dask", "--scheduler", url)
        command = [sys.executable, "-m", "sluiceway", "copy", "-r", "--json", *engine]
        self.process = subprocess.Popen(
            [*command, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def read(self, count: int) -> None:
        """Until so many objects ended."""
        assert self.process.stdout is not None
        self.lines += [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def end(self, code: int) -> dict[str, Any]:
        """Returns the report, or the error where there is none."""
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == code, err + out
        self.lines += map(json.loads, out.splitlines())
        if not self.lines:
            return dict(json.loads(err.splitlines()[-1]))
        return dict(self.lines[-1]["report"])


def keys_put(server: RunningServer) -> Counter[str]:
    """How often each key was stored."""
    return Counter(re.findall(r'"PUT /files/x/(\S+)" 201', server.log()))


def stored(server: RunningServer) -> dict[str, bytes]:
    return {key[2:]: (server.root / key).read_bytes() for key in server.stored()}


def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    folder: Path, journal: str, dask_cluster: StartDask, serve: Serve, database: Database
) -> None:
    """Its tasks run again elsewhere. Each key is stored once, and the journal has each."""
    cluster, server = dask_cluster(), serve("--token", "hush-hush")
    words = ("--journal", journal, "--token", "hush-hush", folder, f"{server.url}/files/x/")
    copy = Copy(cluster, *words)
    copy.read(40)
    cluster.workers[0].kill()
    report = copy.end(0)

    assert (report["failed"], report["copied"] + report["skipped"]) == (0, ALL)
    assert stored(server) == FILES
    eventually(lambda: keys_put(server) == Counter(list(FILES)), "each key was stored once")
    table = journal.rpartition("=")[2]
    assert database.rows(f"SELECT count(*), sum(size) FROM {table}_objects") == [
        (ALL, sum(map(len, FILES.values())))
    ]
    assert Copy(cluster, *words).end(0)["skipped"] == ALL
    assert keys_put(server) == Counter(list(FILES))
    assert "hush" not in cluster.logs()
    assert "hush" not in str(database.rows(f"SELECT * FROM {table}, {table}_objects"))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["^C", "kill"])
def test_an_interrupted_copy_goes_on(
    folder: Path, journal: str, dask_cluster: StartDask, serve: Serve, end: int
) -> None:
    cluster, server = dask_cluster(), serve()
    words = ("--journal", journal, folder, f"{server.url}/files/x/")
    copy = Copy(cluster, *words)
    copy.read(40)
    copy.process.send_signal(end)
    if end == signal.SIGINT:
        report = copy.end(130)
        assert not report["complete"]
        assert 40 <= report["copied"] < ALL
    else:
        copy.process.communicate(timeout=60)
    report = Copy(cluster, *words).end(0)

    assert report["copied"] + report["skipped"] == ALL
    assert stored(server) == FILES
    eventually(lambda: keys_put(server) == Counter(list(FILES)), "each key was stored once")


class Stalling:
    """A destination that has nothing, takes a body and never answers."""

    def __init__(self) -> None:
        self.took, self.cut = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, exchange: Exchange) -> None:
        if exchange.method != "PUT":
            exchange.reply(404)
            return
        exchange.read_body()
        self.took.release()
        while exchange.recv_or_cut(1):
            pass
        self.cut.release()


def test_workers_let_go_when_the_client_is_interrupted(
    tmp_path: Path, dask_cluster: StartDask
) -> None:
    one, cluster, act = stocked(tmp_path / "one", {"a": noise(100_000)}), dask_cluster(), Stalling()
    with Peer(act) as peer:
        copy = Copy(cluster, one, f"{peer.url}/things/")
        assert act.took.acquire(timeout=60)
        copy.process.send_signal(signal.SIGINT)
        copy.end(130)
        assert act.cut.acquire(timeout=60)


def test_an_object_whose_workers_die_fails_by_its_name(
    tmp_path: Path, dask_cluster: StartDask
) -> None:
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    one, act = stocked(tmp_path / "one", {"a": noise(100_000)}), Stalling()
    cluster = dask_cluster(env=allowed)
    with Peer(act) as peer:
        copy = Copy(cluster, "--token", "hush", one, f"{peer.url}/things/")
        for _ in range(2):
            assert act.took.acquire(timeout=60)
            for worker in cluster.workers:
                worker.kill()
            cluster.add_worker()
        report = copy.end(6)

    (failure,) = report["failures"]
    assert (failure["key"], failure["code"]) == ("a", "peer-failed")
    assert failure["detail"].startswith("2 workers of the cluster died while they copied it")
    assert "hush" not in cluster.logs()


def test_a_scheduler_that_ends_ends_the_copy(
    folder: Path, journal: str, dask_cluster: StartDask, serve: Serve
) -> None:
    cluster, server = dask_cluster(), serve()
    words = ("--journal", journal, folder, f"{server.url}/files/x/")
    copy = Copy(cluster, *words)
    copy.read(40)
    cluster.stop()
    assert 40 <= copy.end(1)["copied"] < ALL
    report = Copy(dask_cluster(), *words).end(0)

    assert report["copied"] + report["skipped"] == ALL
    assert stored(server) == FILES


def test_a_cluster_that_cannot_copy_is_told_in_words(
    folder: Path, tmp_path: Path, dask_cluster: StartDask, serve: Serve
) -> None:
    """No scheduler; workers with another version of this package."""
    words = (folder, f"{serve().url}/files/")
    error = Copy("tcp://127.0.0.1:9", *words).end(1)
    assert error["code"] == "peer-unreachable"
    assert "tcp://127.0.0.1:9 did not answer" in error["detail"]

    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m; old = m.version\n"
        "m.version = lambda name: '0.0.7' if name == 'sluiceway' else old(name)\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    error = Copy(dask_cluster(workers=1, env={"PYTHONPATH": path}), *words).end(2)
    assert error["code"] == "bad-request"
    assert "runs sluiceway 0.0.7" in error["detail"]
