"""A gateway with a spool, and a backend that a test kills and starts again on the same port.

with Backend(tmp_path / "taken") as backend: …
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fix_gateway import Program
from fix_server import RunningServer, start_server

__all__ = ["Backend", "Taken", "files_of", "free_port", "start_spooling"]


@dataclass(frozen=True)
class Taken:
    """A request that the backend has got whole."""

    line: str
    headers: dict[str, str]
    body: bytes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


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
