"""Fixture `mount`: small file systems, mounted below the test's own folder until it ends.

mount("tmpfs", folder, "size=8m")        # needs root: mark the test with @pytest.mark.root
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[..., Path]


def fill(folder: Path) -> None:
    """Use all free space, with a file `filler`."""
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
    """Mount a file system onto a folder. It is unmounted at the end of the test."""
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
        # Lazy: a failed test may hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
