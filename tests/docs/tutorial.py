"""docs/tutorial.md as its reader follows it: files, terminals, and the commands between."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from free_ports import free_port

__all__ = ["Tutorial"]

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^(?:#|<!--) ([\w/]+\.\w+)")
SERVERS = ("python api.py", "gunicorn ")
START = 30.0  # seconds for a server to listen


class Tutorial:
    """Everything that the page has its reader do, in a folder, at ports that are free."""

    def __init__(self, folder: Path, api: int | None = None) -> None:
        """`api` is the port of another API than the page's."""
        self.folder = folder
        self.api, self.app = api or free_port(), free_port()
        self.printed: list[str] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        text = PAGE.read_text("utf-8").replace(":9000", f":{self.api}")
        text = text.replace('"127.0.0.1", 9000', f'"127.0.0.1", {self.api}')
        self.blocks = BLOCK.findall(text.replace(":8000", f":{self.app}"))

    def follow(self) -> None:
        """Every block in turn."""
        for kind, text in self.blocks:
            if kind in ("python", "html"):
                self._write(text)
            elif kind == "sh" and text.startswith(SERVERS):
                self.start(text)
            elif kind == "sh":
                self.printed.append(self._run(text))

    def write_files(self) -> None:
        """What the page has its reader save, in the last version of each file."""
        for kind, text in self.blocks:
            if kind in ("python", "html"):
                self._write(text)

    def stop(self) -> None:
        """End the terminals that still run something."""
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            server.wait(20)

    def _write(self, text: str) -> None:
        named = NAMED.match(text)
        assert named is not None, "the block says in which file it is saved"
        path = self.folder / named[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

    def start(self, line: str) -> None:
        """A server in a terminal of its own, until it listens."""
        port = self.api if "api.py" in line else self.app
        with (self.folder / "terminal").open("ab") as printed:
            self._servers.append(
                subprocess.Popen(
                    line.split(), cwd=self.folder, env=_env(), stdout=printed, stderr=printed
                )
            )
        end = time.monotonic() + START
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, (self.folder / "terminal").read_text("utf-8")
                time.sleep(0.05)

    def _run(self, text: str) -> str:
        # installed already, and not from this folder: its requirements are there
        line = text.replace("'.[", "'sluiceway[")
        line = line.replace("pip install", "python -m pip install --no-index --dry-run")
        run = subprocess.run(
            ["bash", "-euc", line],
            cwd=self.folder,
            env=_env(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, f"{text}\n{run.stdout}\n{run.stderr}"
        return run.stdout


def _env() -> dict[str, str]:
    commands = sysconfig.get_path("scripts"), str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([*commands, os.environ["PATH"]])}
