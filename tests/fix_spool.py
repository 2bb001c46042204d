"""A gateway with a spool, and a backend that a test kills and starts again on the same port.

gateway = spooling(f"{backend.url}/books")   # fixtures; the backend is down
with Backend(tmp_path / "taken") as backend: …
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from fix_gateway import Program, snapshot
from fix_server import RunningServer, start_server
from fix_taking import eventually
from free_ports import free_port
from lent_ways import RANDOM, lent_env

__all__ = [
    "Backend",
    "Spooling",
    "StartSpooling",
    "Taken",
    "backend",
    "files_of",
    "one_backend",
    "spooling",
    "start_spooling",
]


@dataclass(frozen=True)
class Taken:
    """A request that the backend has got whole."""

    line: str
    headers: dict[str, str]
    body: bytes


class Backend:
    """The backend's port, which stays, and its process, which does not."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._program: Program | None = None

    def start(self, stops_after: int | None = None) -> None:
        more = [] if stops_after is None else [str(stops_after)]
        self._program = Program("dying_backend.py", str(self.port), str(self.folder), *more)

    def kill(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.__exit__()

    def forget(self) -> None:
        """What it has taken so far."""
        for path in self.folder.iterdir():
            path.unlink()

    def taken(self) -> list[Taken]:
        found = []
        for path in sorted(self.folder.glob("*.taken")):
            head, _, body = path.read_bytes().partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            pairs = (field.split(": ", 1) for field in fields)
            found.append(Taken(line, {name.lower(): value for name, value in pairs}, body))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def start_spooling(
    folder: Path, to: str, *options: str, env: dict[str, str] | None = None
) -> RunningServer:
    """A gateway whose spool is `folder / "spool"`."""
    spool = ("--relay-spool", str(folder / "spool"))
    return start_server(folder / "none", *spool, *options, to=to, env=env)


def files_of(folder: Path) -> dict[str, int]:
    """The files with bytes in a spool: drafts and what was given up; not its ledger, no claims."""
    found = {}
    for root, _, names in os.walk(folder / "spool"):
        for name in names:
            path = Path(root, name)
            kind = path.parent.name
            if kind in ("lasting", "drafts", "notes") or ".sluiceway" not in path.parts:
                found[f"{kind}/{name}"] = path.stat().st_size
    return found


class Spooling:
    """A gateway that is started and killed, and its spool."""

    def __init__(self, folder: Path, to: str, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._to, self._options = folder, to, options
        self.server: RunningServer = self._start()

    def _start(self) -> RunningServer:
        env = lent_env(self.folder, RANDOM)
        return start_spooling(self.folder, self._to, *self._options, env=env)

    @property
    def url(self) -> str:
        return self.server.url

    def start_again(self, sig: int = signal.SIGKILL) -> None:
        """After a kill -9, or another signal."""
        self.server.stop(sig)
        self.server = self._start()

    def state(self, upload: str) -> dict[str, Any]:
        return dict(snapshot(self.server, upload))

    def ends(self, upload: str) -> dict[str, Any]:
        """The last state of an upload."""
        eventually(lambda: self.state(upload)["state"] not in ("waiting", "checking", "receiving"))
        return self.state(upload)

    def is_empty(self) -> bool:
        eventually(lambda: not files_of(self.folder), str(files_of(self.folder)))
        return True


StartSpooling = Callable[..., Spooling]


@pytest.fixture
def spooling(tmp_path: Path) -> Iterator[StartSpooling]:
    """Start a gateway with a spool in a folder of its own."""
    running: list[Spooling] = []

    def begin(to: str, *options: str) -> Spooling:
        running.append(Spooling(tmp_path / f"gateway{len(running)}", to, *options))
        return running[-1]

    yield begin
    for each in running:
        each.server.stop()


@pytest.fixture(scope="module")
def one_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with Backend(tmp_path_factory.mktemp("backend") / "taken") as backend:
        yield backend


@pytest.fixture
def backend(one_backend: Backend) -> Iterator[Backend]:
    """It is down, and has taken nothing."""
    yield one_backend
    one_backend.kill()
    one_backend.forget()
