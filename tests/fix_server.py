"""Fixture `serve`.

Real server processes, started by the usual command, ended by their process id.

server = serve("--max-size", "1MiB")      # stores into server.root, listens on a free port
requests.put(server.url + "/files/a", data=b"…")
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START = 20.0  # seconds until a server prints its address, also on a busy machine


@dataclass
class RunningServer:
    """One server under test."""

    process: subprocess.Popen[str]
    url: str  # without the slash at the end
    root: Path
    lines: list[str] = field(default_factory=list)  # its output and log so far

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stored(self) -> dict[str, int]:
        """Key -> size of every finished object, seen from outside the server."""
        found: dict[str, int] = {}
        for path in sorted(self.root.rglob("*")):
            with suppress(FileNotFoundError):  # the server deletes it just now
                if path.is_file() and ".sluiceway" not in path.parts:
                    found[str(path.relative_to(self.root))] = path.stat().st_size
        return found

    def drafts(self) -> list[str]:
        folder = self.root / ".sluiceway" / "drafts"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def log(self) -> str:
        return "".join(self.lines)

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 30) -> int:
        """End it by its id. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout)


Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `sluiceway serve` with more options; stopped at the end of the test."""
    running: list[RunningServer] = []

    def start(
        *options: str,
        root: Path | None = None,
        env: dict[str, str] | None = None,
        to: str | None = None,
    ) -> RunningServer:
        folder = root or tmp_path / f"root{len(running)}"
        server = start_server(folder, *options, env=env, to=to)
        running.append(server)
        return server

    yield start
    for server in running:
        try:
            server.stop(signal.SIGTERM, 15)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait(10)


def start_server(
    root: Path, *options: str, env: dict[str, str] | None = None, to: str | None = None
) -> RunningServer:
    """Starts a server that stores into `root`, or sends on `to` another server.

    Raises AssertionError with its output when it does not come up.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sluiceway",
            "serve",
            "--to",
            to or str(root),
            "--port",
            "0",
            "--shutdown-timeout",
            "2",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
        cwd=root.parent,
    )
    server = RunningServer(process, "", root)
    listening = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            server.lines.append(line)
            if found := re.search(r"page +(https?://\S+?)/?$", line):
                server.url = found[1]
                listening.set()
        listening.set()
        if process.stdout:
            process.stdout.close()

    threading.Thread(target=read, daemon=True).start()
    if not listening.wait(START) or not server.url:
        process.kill()
        process.wait(10)
        raise AssertionError(f"the server did not come up:\n{server.log()}")
    return server
