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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import TORTURE, missing, need
from resuming_client import DIALECTS, ResumingClient
from witness import Witness

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600 if TORTURE else 120)]

CUTS = 100 if TORTURE else 2
RESUMED_CUTS = 50 if TORTURE else 1
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


class Client:
    """Uploads one object after the other until the server fails, and knows which are kept."""

    def __init__(self, server: RunningServer, cut_after: float) -> None:
        self.cut_after = cut_after
        self._url, self._kept = server.url, 0
        self._cut_began = False
        self._thread = threading.Thread(target=self._upload)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    def _upload(self) -> None:
        with suppress(requests.RequestException):
            while self._put(self._url, self._kept).status_code == 201 and not self._cut_began:
                self._kept += 1

    def cut(self, disk: Disk) -> None:
        """What is acknowledged from now on is not counted.

        The ioctl takes up to 30 ms on a busy machine. An fsync that runs meanwhile may succeed
        although the journal is given up: in 57 cuts the two objects that were lost were both
        acknowledged after it had begun. A power cut sends no answers.
        """
        self._cut_began = True
        disk.cut()

    def _put(self, url: str, number: int) -> requests.Response:
        return requests.put(f"{url}/files/{number}", data=_content(number), timeout=30)

    def check(self, server: RunningServer) -> None:
        """All that was acknowledged is there; one more may be, and it is whole."""
        for number in range(self._kept):
            found = requests.get(f"{server.url}/files/{number}", timeout=30)
            assert found.content == _content(number), f"{number} of {self._kept} is lost"
        one_more = requests.get(f"{server.url}/files/{self._kept}", timeout=30)
        assert one_more.status_code == 404 or one_more.content == _content(self._kept)
        assert self._put(server.url, self._kept + 1).status_code == 201


def _content(number: int) -> bytes:
    return random.Random(number).randbytes((0, 1, 70_001, 1_500_000)[number % 4])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[], Disk]]:
    """A fresh, mounted disk for each cut; each is unmounted at the end."""
    made: list[Disk] = []
    need("mkfs.ext4")

    def make() -> Disk:
        for earlier in made:  # hundreds of cuts would fill the disk with images
            if not os.path.ismount(earlier.mounted):
                earlier.image.unlink(missing_ok=True)
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_power_cut_takes_no_offset_back(make_disk: Callable[[], Disk], dialect: str) -> None:
    """Each upload goes on at an offset not below any that was told, and is whole in the end."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    for number in range(RESUMED_CUTS):
        disk = make_disk()
        root = disk.mounted / "root"
        server = start_server(root)
        try:
            with ResumingClient(server, dialect, seed + number) as client:
                time.sleep(chance.uniform(0, LONGEST))  # the random moment is what is tested
                client.count_no_more()
                disk.cut()
        finally:
            server.stop(signal.SIGKILL)
        disk.unmount()
        disk.mount()

        again = start_server(root)
        try:
            client.check(again)
        finally:
            again.stop()
        disk.unmount()


def test_a_power_cut_loses_nothing_that_sqlite_acknowledged(
    make_disk: Callable[[], Disk],
) -> None:
    """The same for a database without a server; uploads under way are not visible after it."""
    for _ in range(CUTS // 2):
        disk = make_disk()
        place = f"sqlite:///{disk.mounted}/files.db"
        server = start_server(disk.mounted / "none", to=place)
        with Client(server, cut_after=random.uniform(0.2, LONGEST)) as client:
            time.sleep(client.cut_after)  # the random moment is what is tested
            client.cut(disk)
        server.stop(signal.SIGKILL)
        disk.unmount()
        disk.mount()

        again = start_server(disk.mounted / "none", to=place)
        try:
            client.check(again)
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
