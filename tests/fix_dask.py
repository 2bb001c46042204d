"""Fixture `dask_cluster`: starts a Dask scheduler with worker processes; each test has its own.

cluster = dask_cluster(workers=2, env={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"})
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fix_taking import eventually, missing

__all__ = ["DaskProcesses", "StartDask", "dask_cluster"]


@dataclass
class DaskProcesses:
    """One cluster. `url` is its scheduler's."""

    folder: Path
    env: dict[str, str]
    url: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, workers: int) -> None:
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        eventually(lambda: "Scheduler at:" in self.logs(), "the scheduler listens")
        line = next(line for line in self.logs().splitlines() if "Scheduler at:" in line)
        self.url = line.split()[-1]
        for _ in range(workers):
            self.add_worker()
        eventually(lambda: self.logs().count("Registered to:") == workers, "the workers came")

    def add_worker(self) -> subprocess.Popen[bytes]:
        own = ("--no-nanny", "--nthreads", "2", "--no-dashboard", "--host", "127.0.0.1")
        return self._start("dask_worker", self.url, *own, "--local-directory", self.folder)

    @property
    def workers(self) -> list[subprocess.Popen[bytes]]:
        return self.running[1:]

    def logs(self) -> str:
        """Of all processes."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGKILL)
            process.wait(10)

    def _start(self, program: str, *words: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *map(str, words)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
            )
        self.running.append(process)
        return process


StartDask = Callable[..., DaskProcesses]


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[StartDask]:
    if importlib.util.find_spec("distributed") is None:
        missing("Dask is not installed")
    started: list[DaskProcesses] = []

    def start(workers: int = 2, env: dict[str, str] | None = None) -> DaskProcesses:
        folder = tmp_path / f"dask-{len(started)}"
        folder.mkdir()
        cluster = DaskProcesses(folder, env or {})
        started.append(cluster)
        cluster.start(workers)
        return cluster

    yield start
    for cluster in started:
        cluster.stop()
