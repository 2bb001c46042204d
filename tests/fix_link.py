"""A network namespace with a link to this machine, which goes down or has a delay as asked.

`link`, a fixture: skips where no namespace can be made.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fix_taking import need

__all__ = ["HERE", "THERE", "Link", "link"]

HERE, THERE = "10.219.77.1", "10.219.77.2"


class Link:
    """A network namespace with one link to this machine."""

    def __init__(self) -> None:
        self.name = f"silent{os.getpid()}"
        self._ours, self._theirs = f"s{os.getpid()}a", f"s{os.getpid()}b"

    def make(self) -> None:
        """Raises CalledProcessError where namespaces are not allowed."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs)
        _ip("link", "set", self._theirs, "netns", self.name)
        _ip("addr", "add", f"{HERE}/30", "dev", self._ours)
        _ip("link", "set", self._ours, "up")
        self.inside("ip", "addr", "add", f"{THERE}/30", "dev", self._theirs)
        self.turn("up")

    def turn(self, state: str) -> None:
        self.inside("ip", "link", "set", self._theirs, state)

    def delay(self, milliseconds: int) -> None:
        """For each packet, in each direction. Raises CalledProcessError."""
        netem = ("root", "netem", "delay", f"{milliseconds}ms", "limit", "100000")
        self.inside("tc", "qdisc", "add", "dev", self._theirs, *netem)
        subprocess.run(
            ["tc", "qdisc", "add", "dev", self._ours, *netem], check=True, capture_output=True
        )

    def inside(self, *command: str) -> None:
        _ip("netns", "exec", self.name, *command)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command])

    def remove(self) -> None:
        for command in (("link", "del", self._ours), ("netns", "del", self.name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*command)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def link() -> Iterator[Link]:
    need("ip")
    link = Link()
    try:
        link.make()
    except subprocess.CalledProcessError as error:
        link.remove()
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    yield link
    link.remove()
