"""Fixture `mount`: small file systems of the kinds servers meet, mounted below the test's own folder and gone after it.

mount("tmpfs", folder, "size=8m")        # needs root; marks nothing itself: say @pytest.mark.root
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[..., Path]


def fill(folder: Path) -> None:
    """Take all the room that is left, in a file `filler`."""
    filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(filler, bytes(4096)):
            pass
    except OSError:
        pass  # full
    finally:
        os.close(filler)


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount a file system of a kind onto a folder; unmounted at the end of the test."""
    mounted: list[Path] = []

    def on(kind: str, folder: Path, options: str = "") -> Path:
        folder.mkdir(exist_ok=True)
        subprocess.run(
            ["mount", "-t", kind, *(["-o", options] if options else []), kind, str(folder)],
            check=True,
        )
        mounted.append(folder)
        return folder

    yield on
    for folder in reversed(mounted):
        subprocess.run(
            ["umount", "--lazy", str(folder)], check=True
        )  # also when a failed test holds something open
