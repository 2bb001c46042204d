"""Fixture `sftp`: a real SFTP server for a module of tests, a process with a folder.

Each test has a place of its own in it.

sftp.url("place")     # fsspec+sftp://files:secret@127.0.0.1:PORT/place?known_hosts=…
sftp.folder           # the folder it serves, seen from outside
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from fix_taking import missing

__all__ = ["SftpServer", "sftp"]

PROGRAM = Path(__file__).parent.parent / "bench" / "peers" / "sftp.py"


class SftpServer:
    """A server process. It can be stopped, and restarted with the same port and key."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir()
        self._options = options
        self.folder = folder
        self.port = 0
        self.known = folder.with_name("known_hosts")
        self._numbers = itertools.count()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), str(self.folder), str(self.port), *self._options]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        port, _, line = process.stdout.readline().partition(" ")
        assert port, "the SFTP server did not start"
        self.port = int(port)
        self.known.write_text(line)
        return process

    def fresh(self) -> str:
        return f"place{next(self._numbers)}"

    def url(
        self, place: str, password: str = "secret", known: Path | None = None, **more: str
    ) -> str:
        query = "&".join(
            f"{name}={quote(value)}"
            for name, value in {
                "known_hosts": str(known or self.known),
                "allow_agent": "no",
                "look_for_keys": "no",
                **more,
            }.items()
        )
        return f"fsspec+sftp://files:{password}@127.0.0.1:{self.port}/{place}?{query}"

    def drafts(self, place: str) -> list[str]:
        folder = self.folder / place / ".sluiceway" / "drafts"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def stop(self, sig: int | None = None) -> None:
        if sig is not None:
            self.process.send_signal(sig)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()  # which makes it end
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)
        self.process.stdout.close()

    def restart(self) -> None:
        self.process = self._start()


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    for library in ("asyncssh", "paramiko", "fsspec"):
        if importlib.util.find_spec(library) is None:
            missing(f"{library} is not installed")
    server = SftpServer(tmp_path_factory.mktemp("sftp") / "files")
    yield server
    server.stop()
