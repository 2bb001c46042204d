"""A fresh ext4 with a journal for every run of small files: an image, mounted by a loop device.

What small files cost depends on the journal and on what was deleted shortly before. Only root may
mount; without it the files lie on the disk of the bench, and the output says so. Linux only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import journal
from bench.process import Failed
from bench.rounds import Bench

__all__ = ["fresh_disk", "why_no_image"]

IMAGE = 8 << 30  # bytes; the file is sparse, only what is written takes room
MOUNT_SECONDS = 120
BUSY_SECONDS = 20.0


def why_no_image() -> str | None:
    """Why no image can be mounted here; None where it can."""
    if os.geteuid() != 0:
        return "only root may mount an image"
    missing = [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is not installed"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return None


@contextmanager
def fresh_disk(bench: Bench) -> Iterator[tuple[Path, str]]:
    """A new empty folder and, in words, what it lies on."""
    place = bench.place()
    why = why_no_image()
    if why is None:
        image, folder = place / "image", place / "mounted"
        folder.mkdir()
        try:
            _mount(image, folder)
        except (OSError, subprocess.SubprocessError) as error:
            why = f"no image could be mounted: {_words(error)}"
        else:
            try:
                yield folder, "a fresh ext4 with a journal (loop image)"
            finally:
                _unmount(folder)
                image.unlink()  # one inode
            return
    yield place, f"the disk of the bench, {journal(place)} ({why})"


def _mount(image: Path, folder: Path) -> None:
    with image.open("wb") as file:
        file.truncate(IMAGE)
    # Nothing is initialised later, in the background of a measurement.
    now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    _run("mkfs.ext4", "-q", "-F", "-i", "65536", "-J", "size=64", "-E", now, str(image))
    _run("mount", "-o", "loop", str(image), str(folder))


def _unmount(folder: Path) -> None:
    """A server's worker may outlive its parent for a moment."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return _run("umount", str(folder))
        except subprocess.CalledProcessError as error:
            if time.monotonic() > until:
                raise Failed(f"the image stays mounted: {_words(error)}") from None
            time.sleep(0.1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=MOUNT_SECONDS)


def _words(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    text = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
    return text.strip()[-200:]
