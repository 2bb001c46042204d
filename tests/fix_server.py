"""Fixture `serve`.

Real server processes, started by the usual command, ended by their process id.

server = serve("--max-size", "1MiB")      # stores into server.root, listens on a free port
requests.put(server.url + "/files/a", data=b"…")
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

START = 60.0  # seconds until a server prints its address, also on a busy machine


class Output:
    """The lines that a process has printed.

    A thread reads them. Whoever asks gets all that the process had printed by then: a line from
    before an answer is there as soon as the answer is.
    """

    def __init__(self, pipe: IO[str], each: Callable[[str], None]) -> None:
        """`each` gets every line; at the end an empty one."""
        self._pipe, self._each, self._lock = pipe, each, threading.Lock()
        self._lines: list[str] = []
        self._taken = 0  # bytes
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def lines(self) -> list[str]:
        with self._lock:  # bytes are in the pipe or in `_taken`, never in between
            printed = self._taken + (0 if self._ended else self._waiting())
        while True:
            with self._lock:
                if self._ended or self._taken >= printed:
                    return [*self._lines]
            time.sleep(0.001)

    def _waiting(self) -> int:
        found = fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", found)[0])

    def _read(self) -> None:
        poll, begun = select.poll(), b""
        poll.register(self._pipe, select.POLLIN)
        while not self._ended:
            poll.poll()
            with self._lock:
                data = os.read(self._pipe.fileno(), 65536)
                self._taken += len(data)
                *whole, begun = (begun + data).splitlines(keepends=True) or [b""]
                if not data or begun.endswith(b"\n"):
                    whole, begun = [*whole, begun], b""
                lines = [line.decode("utf-8", "replace") for line in whole if line]
                self._lines += lines
                if not data:
                    self._ended = True
                    self._pipe.close()
            for line in lines if data else [*lines, ""]:
                self._each(line)


@dataclass
class RunningServer:
    """One server under test."""

    process: subprocess.Popen[str]
    url: str  # without the slash at the end
    root: Path
    output: Output

    @property
    def lines(self) -> list[str]:
        """Its output and log so far."""
        return self.output.lines()

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
        env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
        cwd=root.parent,
    )
    assert process.stdout is not None
    listening, urls = threading.Event(), list[str]()

    def note(line: str) -> None:
        if found := re.search(r"page +(https?://\S+?)/?$", line):
            urls.append(found[1])
        if found or not line:
            listening.set()

    output = Output(process.stdout, note)
    if not listening.wait(START) or not urls:
        process.kill()
        process.wait(10)
        raise AssertionError("the server did not come up:\n" + "".join(output.lines()))
    return RunningServer(process, urls[0], root, output)
