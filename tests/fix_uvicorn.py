"""Starts an app of the tests on plain uvicorn, as users run it.

with uvicorn("fastapi_live_views:app", tmp_path, BACKEND=url) as app:
    requests.post(f"{app.url}/book", …)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fix_taking import NewLines, eventually
from free_ports import free_port

__all__ = ["UvicornApp", "uvicorn"]

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class UvicornApp:
    """A running server with the app and its folders."""

    port: int
    pid: int
    folder: Path
    temporary: Path
    log: NewLines

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def uvicorn(app: str, root: Path, *options: str, **env: str) -> Iterator[UvicornApp]:
    """`app` is MODULE:NAME in tests/. FOLDER, TMPDIR and LOGGED are below `root`."""
    folder, temporary, log = root / "folder", root / "temporary", root / "log"
    for each in (folder, temporary):
        each.mkdir(parents=True)
    port = free_port()
    own = {"FOLDER": str(folder), "TMPDIR": str(temporary), "LOGGED": str(log), **env}
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--timeout-keep-alive",
        "75",
        "--port",
        str(port),
        *options,
        app,
    ]
    process = subprocess.Popen(
        command,
        cwd=TESTS,
        env={**os.environ, **own, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listens, "the server listens")
        yield UvicornApp(port, process.pid, folder, temporary, NewLines(log))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
