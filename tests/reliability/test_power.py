"""A power cut loses nothing that was acknowledged.

The file system stops at any moment and recovers from its journal.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fix_server import start_server
from fix_taking import TORTURE, missing, need
from witness import Witness

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600 if TORTURE else 120)]

CUTS = 100 if TORTURE else 2
LONGEST = 0.8  # seconds until the cut
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what is not on the disk is lost; all later I/O fails


class Disk:
    """An ext4 of its own in a file."""

    def __init__(self, folder: Path) -> None:
        self.image, self.mounted = folder / "image", folder / "mounted"

    def make(self) -> None:
        """Raises CalledProcessError where loop devices or the tools are missing."""
        self.mounted.mkdir(exist_ok=True)
        with self.image.open("wb") as image:
            image.truncate(256 << 20)
        _run("mkfs.ext4", "-q", "-F", str(self.image))

    def mount(self) -> None:
        # commit=600: only an fsync writes the journal, so a missing one shows every time
        _run("mount", "-o", "loop,commit=600", str(self.image), str(self.mounted))

    def unmount(self) -> None:
        _run("umount", str(self.mounted))

    def cut(self) -> None:
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[], Disk]]:
    """A fresh, mounted disk for each cut; each is unmounted at the end."""
    made: list[Disk] = []
    need("mkfs.ext4")

    def make() -> Disk:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        disk = Disk(folder)
        disk.make()
        try:
            disk.mount()
        except subprocess.CalledProcessError as error:
            missing(f"no loop device can be mounted here: {error.stderr.decode().strip()}")
        made.append(disk)
        return disk

    try:
        yield make
    finally:
        for disk in made:
            if os.path.ismount(disk.mounted):
                subprocess.run(["umount", "--lazy", str(disk.mounted)], check=False)


def test_a_power_cut_loses_nothing_that_was_acknowledged(make_disk: Callable[[], Disk]) -> None:
    """Bytes, names and digests of acknowledged uploads survive; each visible object is complete."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    for number in range(CUTS):
        disk = make_disk()
        root = disk.mounted / "root"
        server = start_server(root)
        try:
            with Witness(server, seed + number) as witness:
                time.sleep(chance.uniform(0, LONGEST))  # the random moment is what is tested
                disk.cut()
        finally:
            server.stop(signal.SIGKILL)
        disk.unmount()
        disk.mount()
        witness.check(root)

        again = start_server(root)
        try:
            witness.check(root)
            witness.check_restarted(again)
        finally:
            again.stop()
        disk.unmount()


def test_a_cut_loses_a_file_that_was_not_synchronised(make_disk: Callable[[], Disk]) -> None:
    """The test's own method: an unsynchronised file is lost, a synchronised one is kept."""
    disk = make_disk()
    (disk.mounted / "lost").write_bytes(b"x" * 100_000)
    with (disk.mounted / "kept").open("wb") as kept:
        kept.write(b"x" * 100_000)
        kept.flush()
        os.fsync(kept.fileno())
    (disk.mounted / "late").write_bytes(b"x" * 100_000)
    disk.cut()
    disk.unmount()
    disk.mount()

    assert (disk.mounted / "kept").read_bytes() == b"x" * 100_000
    assert not (disk.mounted / "late").exists() or (disk.mounted / "late").stat().st_size == 0
