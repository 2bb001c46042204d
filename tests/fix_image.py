"""The images of deploy/, built by buildah and run by the kernel: no container engine is needed.

The base is a minimal Debian made by debootstrap, tagged as the Dockerfile's FROM. A container here
is a mount namespace and a PID namespace on the image's files; its network is the machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from sluiceway.testing.memory_meter import MemoryMeter

__all__ = ["Container", "Image", "Images", "free_port", "images"]

ROOT = Path(__file__).parents[1]
BASE = "docker.io/library/python:3.13-slim-bookworm"  # a test compares it with the Dockerfiles
BUILD = 1200  # seconds; packages come from the network
START = 60.0  # seconds until a server answers
# The first process of the namespace becomes the container's: signals reach it as its PID 1. Only
# the data folder can be written to: `docker run --read-only`.
RUN = """
mount --bind "$ROOT" "$ROOT"
mount --bind "$DATA" "$ROOT/data"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
cd /
exec chroot --userspec="$OWNER" "$ROOT" /usr/bin/env -i -C "$WORKDIR" "$@"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


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


@dataclass(frozen=True)
class Image:
    """A built image: its configuration and its files."""

    config: dict[str, object]
    files: Path

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
            process.kill()  # --kill-child: the container's processes end with it
            process.wait(20)

    def _command(self, env: dict[str, str], words: list[str] | None = None) -> list[str]:
        named = [*self.words("Env"), *(f"{name}={value}" for name, value in env.items())]
        started = words or [*self.words("Entrypoint"), *self.words("Cmd")]
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
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
    (child,) = psutil.Process(process.pid).children()
    return child


class Images:
    """Builds images into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._buildah = [
            "buildah",
            "--root",
            str(folder / "store"),
            "--runroot",
            str(folder / "run"),
        ]
        self._buildah += ["--storage-driver", "vfs"]
        self._containers: list[str] = []
        self._make_base(folder / "base")

    def build(self, dockerfile: str, target: str | None = None) -> Image:
        tag = dockerfile.lower() + (f"-{target}" if target else "")
        which = ["--target", target] if target else []
        self._run(
            *["bud", "--isolation=chroot", "--pull-never", "--format=docker", *which],
            *["-t", tag, "-f", str(ROOT / "deploy" / dockerfile), str(ROOT)],
        )
        container = self._run("from", "--pull-never", tag)
        self._containers.append(container)
        described = json.loads(self._run("inspect", "--type=image", tag))
        return Image(described["Docker"]["config"], Path(self._run("mount", container)))

    def remove(self) -> None:
        for container in self._containers:
            self._run("umount", container)
            self._run("rm", container)

    def _make_base(self, folder: Path) -> None:
        sites = _output("apt-get", "indextargets", "--format", "$(SITE)").split()
        release = _output("sh", "-c", '. /etc/os-release; printf %s "$VERSION_CODENAME"')
        include = "--include=python3,python3-venv,ca-certificates"
        _output("debootstrap", "--variant=minbase", include, release, str(folder), sites[0])
        bundle = "etc/ssl/certs/ca-certificates.crt"  # of this machine: a proxy may have its own
        shutil.copyfile(f"/{bundle}", folder / bundle)
        container = self._run("from", "scratch")
        self._run("add", container, str(folder), "/")
        self._run("commit", "--rm", container, BASE)
        shutil.rmtree(folder)

    def _run(self, *words: str) -> str:
        return _output(*self._buildah, *words)


def _output(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD)
    assert ended.returncode == 0, f"{command}: {ended.stderr[-3000:]}{ended.stdout[-3000:]}"
    return ended.stdout.strip()


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    if os.geteuid() != 0:
        pytest.skip("an image is built and run as root")
    for program in ("buildah", "debootstrap", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
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
