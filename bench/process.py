"""A server process of a contender: started fresh, watched through /proc, ended by its own id.

Linux only.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.usage import cpu_of, descendants

__all__ = ["Failed", "Server", "free_port", "serving", "waiting_bytes"]

START_SECONDS = 30.0
STOP_SECONDS = 15.0


class Failed(Exception):
    """A contender could not be measured; the table contains the reason."""


class Server:
    """A running contender: its process tree's memory, CPU and temporary files."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, tmp: Path) -> None:
        self.process, self.port, self.tmp = process, port, tmp

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        return descendants(self.process.pid)

    def _kib(self, file: str, label: str) -> int:
        total = 0
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
            except OSError:
                continue  # it ended meanwhile
            total += sum(int(line.split()[1]) for line in lines if line.startswith(label))
        return total

    def rss(self) -> int:
        """Resident bytes now, summed, from smaps_rollup: VmRSS lags behind by per-CPU counters."""
        return self._kib("smaps_rollup", "Rss:") * 1024

    def peak(self) -> int:
        """Peak resident bytes so far, each process's own peak, summed."""
        return self._kib("status", "VmHWM:") * 1024

    def cpu(self) -> float:
        """Processor seconds used so far, user and system, summed."""
        return cpu_of(self.pids())

    def temp_bytes(self) -> int:
        """Bytes in open files below the contender's temp folder; spools have no name, and count."""
        sizes: dict[int, int] = {}
        for pid in self.pids():
            try:
                descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
            except OSError:
                continue  # it ended meanwhile
            for descriptor in descriptors:
                try:
                    if descriptor.readlink().is_relative_to(self.tmp):
                        facts = descriptor.stat()
                        sizes[facts.st_ino] = facts.st_size
                except OSError:
                    continue  # it was closed meanwhile
        return sum(sizes.values())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def waiting_bytes(port: int) -> int:
    """Bytes the kernel holds for sockets of the local `port`.

    Sent by clients, not yet read by the server.
    """
    waiting = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01":
            waiting += int(fields[4].partition(":")[2], 16)
    return waiting


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise Failed(f"ended at start with {process.returncode}: {_tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed(f"does not listen after {START_SECONDS:.0f} s: {_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it printed nothing"


def _stop(server: Server) -> None:
    pids = server.pids()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended with its parent
        server.process.wait(STOP_SECONDS)


@contextmanager
def serving(command: list[str], env: Mapping[str, str], place: Path, port: int) -> Iterator[Server]:
    """Run `command` until the block ends.

    Its temp folder is place/tmp, what it prints goes to place/log.
    """
    tmp, log = place / "tmp", place / "log"
    tmp.mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")
    }
    settings = {**inherited, **env, "TMPDIR": str(tmp)}
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                command,
                env=settings,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"cannot be started: {error}") from error
    server = Server(process, port, tmp)
    try:
        _await_port(process, port, log)
        yield server
    finally:
        if process.poll() is None:
            _stop(server)
