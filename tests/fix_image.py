"""Runs the images of deploy/ without a container engine.

A container here is a mount namespace and a PID namespace on the image's files; its network is the
machine's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from sluiceway.testing.memory_meter import MemoryMeter

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.image import BASE, Built, Images, missing_for_images  # noqa: E402

__all__ = ["BASE", "ROOT", "Container", "Image", "Images", "images", "stop"]

START = 60.0  # seconds until a server answers
# The first process of the namespace becomes the container's: signals reach it as its PID 1. Only
# the data folder can be written to: `docker run --read-only`.
RUN = """
mount --bind "$ROOT" "$ROOT"
mount --bind "$DATA" "$ROOT/data"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
cd /
exec chroot --userspec="$OWNER" "$ROOT" /usr/bin/env -i -C "$WORKDIR" "$@"
"""


@dataclass
class Container:
    """A running container: its first process, and where its server answers."""

    process: subprocess.Popen[str]
    main: psutil.Process
    url: str
    log: Path

    def peak(self) -> int:
        """The most bytes that were resident in one of the server's processes."""
        family = [self.main, *self.main.children(recursive=True)]
        return max(MemoryMeter(process.pid).peak() for process in family)


class Image:
    """A built image that can be run."""

    def __init__(self, built: Built) -> None:
        self.config, self.files = built.config, built.files

    def text(self, name: str) -> str:
        return str(self.config.get(name) or "")

    def words(self, name: str) -> list[str]:
        value = self.config.get(name) or []
        assert isinstance(value, list)
        return [str(word) for word in value]

    @contextmanager
    def running(
        self, data: Path, url: str, path: str, owner: str | None = None, **env: str
    ) -> Iterator[Container]:
        """Start it with `data` as its volume; it has started when `url + path` answers."""
        log = data.parent / f"{data.name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self._command(env),
                env={
                    "PATH": os.environ["PATH"],
                    "ROOT": str(self.files),
                    "DATA": str(data),
                    "OWNER": owner or self.text("User"),
                    "WORKDIR": self.text("WorkingDir") or "/",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            _until_it_answers(url + path, process)
            assert process.poll() is None, log.read_text()
            yield Container(process, _first(process), url, log)
        finally:
            # unshare's --kill-child would be forgotten when the process changes its user.
            with suppress(psutil.NoSuchProcess):
                _first(process).kill()
            process.kill()
            process.wait(20)

    def _command(self, env: dict[str, str], words: list[str] | None = None) -> list[str]:
        named = [*self.words("Env"), *(f"{name}={value}" for name, value in env.items())]
        started = words or [*self.words("Entrypoint"), *self.words("Cmd")]
        namespaces = ["unshare", "--mount", "--pid", "--fork"]
        return [*namespaces, "sh", "-ec", RUN, "sh", *named, *started]

    def healthy(self, data: Path, **env: str) -> bool:
        """Whether the command of HEALTHCHECK succeeds."""
        check = self.config["Healthcheck"]
        assert isinstance(check, dict)
        kind, *words = check["Test"]
        assert kind == "CMD"
        ended = subprocess.run(
            self._command(env, words),
            env={
                "PATH": os.environ["PATH"],
                "ROOT": str(self.files),
                "DATA": str(data),
                "OWNER": self.text("User"),
                "WORKDIR": "/",
            },
            capture_output=True,
            timeout=60,
        )
        return ended.returncode == 0


def _until_it_answers(url: str, process: subprocess.Popen[str]) -> None:
    last = time.monotonic() + START
    while process.poll() is None and time.monotonic() < last:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)


def _first(process: subprocess.Popen[str]) -> psutil.Process:
    """Raises NoSuchProcess."""
    for child in psutil.Process(process.pid).children():
        return child
    raise psutil.NoSuchProcess(process.pid)


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    if reason := missing_for_images():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sluiceway-images-") as folder:
        made = Images(Path(folder))
        try:
            yield made
        finally:
            made.remove()


def stop(
    container: Container, signal_: signal.Signals = signal.SIGTERM, timeout: float = 30
) -> int:
    """Send the signal to the container's first process, as an engine does; return its exit code."""
    container.main.send_signal(signal_)
    return container.process.wait(timeout)
