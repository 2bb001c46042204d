"""Fixture `services`: one S3 server and one PostgreSQL server for all processes of a test run.

The first test that needs a service starts it, in whichever xdist worker it runs. The service reads
a named pipe as its standard input; every worker holds that pipe open, so the service reads its end
when the last worker has ended, and ends as well. The main process of the run waits for that.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

__all__ = ["WORKER", "Services", "services", "wait_for_services"]

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")  # distinguishes names in a shared service
END = 30.0  # seconds that the services may take to end


class Services:
    """The services of one test run, as seen by one of its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._pipe = folder / "alive"
        with suppress(FileExistsError):
            os.mkfifo(self._pipe)
        self._held = os.open(self._pipe, os.O_RDWR)  # held open until this process ends
        self._started: list[subprocess.Popen[str]] = []

    def folder(self, name: str) -> Path:
        """Returns the folder in which a service keeps its files."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def line_of(self, name: str, command: list[str], env: Mapping[str, str] | None = None) -> str:
        """Returns the first line that a service prints; starts the service if it does not run."""
        with self._locked(name):
            printed = self._folder / f"{name}.line"
            if not printed.exists():
                reader = os.open(self._pipe, os.O_RDONLY)
                log = os.open(self._folder / f"{name}.log", os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    process = subprocess.Popen(
                        command,
                        stdin=reader,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        env=dict(env) if env is not None else None,
                        start_new_session=True,  # an interrupt ends the tests first
                    )
                finally:
                    os.close(reader)
                    os.close(log)
                assert process.stdout is not None
                line = process.stdout.readline().strip()
                assert line, (self._folder / f"{name}.log").read_text("utf-8", "replace")
                self._started.append(process)
                (self._folder / f"{name}.pid").write_text(str(process.pid))
                printed.write_text(line)
            return printed.read_text()

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def close(self) -> None:
        """Lets go of the services; waits for the end of those that no other process holds."""
        os.close(self._held)
        for process in self._started:
            if process.stdout is not None:
                process.stdout.close()
            if WORKER == "main":
                process.wait(END)
            else:
                process.returncode = 0  # not to be waited for: other workers may need it


@pytest.fixture(scope="session", autouse=True)
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Of every process from its first test on, so that no service ends before all tests have."""
    base = tmp_path_factory.getbasetemp()
    shared = Services((base if WORKER == "main" else base.parent) / "services")
    yield shared
    shared.close()


def wait_for_services(base: Path) -> None:
    """Waits, after its workers, until the services of a run have ended."""
    end = time.monotonic() + END
    for file in (base / "services").glob("*.pid"):
        while _runs(file.read_text()) and time.monotonic() < end:
            time.sleep(0.02)


def _runs(pid: str) -> bool:
    try:
        status = Path("/proc", pid, "stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # ended; its parent has not asked yet
