"""Builds the images of deploy/ with buildah, as root, without a container engine.

The base is a minimal Debian made by debootstrap, tagged as the Dockerfiles' FROM. How their files
are run is decided elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BASE", "Built", "Images", "missing_for_images"]

ROOT = Path(__file__).resolve().parents[1]
BASE = "docker.io/library/python:3.13-slim-bookworm"  # a test compares it with the Dockerfiles
BUILD = 1200  # seconds; packages come from the network
PROGRAMS = ("buildah", "debootstrap", "unshare")


def missing_for_images() -> str:
    """Why no image can be built here, or an empty text."""
    if os.geteuid() != 0:
        return "an image is built and run as root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Built:
    """An image's configuration, and the folder of its files."""

    config: dict[str, object]
    files: Path


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

    def build(self, dockerfile: str, target: str | None = None) -> Built:
        tag = dockerfile.lower() + (f"-{target}" if target else "")
        which = ["--target", target] if target else []
        self._run(
            *["bud", "--isolation=chroot", "--pull-never", "--format=docker", *which],
            *["-t", tag, "-f", str(ROOT / "deploy" / dockerfile), str(ROOT)],
        )
        container = self._run("from", "--pull-never", tag)
        self._containers.append(container)
        described = json.loads(self._run("inspect", "--type=image", tag))
        return Built(described["Docker"]["config"], Path(self._run("mount", container)))

    def remove(self) -> None:
        for container in self._containers:
            self._run("umount", container)
            self._run("rm", container)

    def _make_base(self, folder: Path) -> None:
        sites = _output("apt-get", "indextargets", "--format", "$(SITE)").split()
        release = _output("sh", "-c", '. /etc/os-release; printf %s "$VERSION_CODENAME"')
        include = "--include=python3,python3-venv,ca-certificates"
        # In a mount namespace: what it mounts below the folder is gone when it ends, also early.
        make = ["unshare", "--mount", "debootstrap", "--variant=minbase", include]
        _output(*make, release, str(folder), sites[0])
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
