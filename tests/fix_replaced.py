"""Servers that take over from each other, and what a supervisor does: sockets, notes.

successor = replace(server, "--max-size", "1MiB")     # at the same port and folder
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve

__all__ = ["Notes", "Replace", "activated", "can_replace", "notes", "replace"]

Replace = Callable[..., RunningServer]

can_replace = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def replace(serve: Serve) -> Replace:
    """Start the successor of a server; it returns when that one has left the port."""

    def start(server: RunningServer, *options: str, **more: object) -> RunningServer:
        port = str(server.port)
        return serve("--port", port, "--replace", *options, root=server.root, **more)

    return start


class Notes:
    """The supervisor's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        self._sock.settimeout(30)

    def next(self) -> dict[str, str]:
        """The next note. Raises TimeoutError."""
        text = self._sock.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self) -> None:
        self._sock.close()
        os.unlink(self.path)


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    found = Notes(tmp_path / "notes")
    yield found
    found.close()


# in a fork that has the socket as descriptor 3, as systemd starts a service
PROGRAM = """# in a fork
import os, runpy, socket, sys
with socket.socket(socket.AF_UNIX) as supervisor:
    supervisor.connect(sys.argv[1])
    given = socket.recv_fds(supervisor, 1, 1)[1][0]
os.dup2(given, 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="connection")
sys.argv = ["sluiceway", *sys.argv[2:]]
runpy.run_module("sluiceway", run_name="__main__", alter_sys=True)
"""


def activated(
    root: Path, sock: socket.socket, *options: str, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A server with a listening socket that its supervisor opened."""
    with socket.socket(socket.AF_UNIX) as supervisor:
        path = str(root.parent / f"supervisor-{secrets.token_hex(4)}")
        supervisor.bind(path)
        supervisor.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, path, "serve", "--to", str(root), *options],
            env={**os.environ, **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with supervisor.accept()[0] as started:
            socket.send_fds(started, [b"s"], [sock.fileno()])
        os.unlink(path)
    return process
