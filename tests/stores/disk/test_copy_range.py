"""Bytes go from file to file, also where the system cannot copy them by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_taking import noise
from sluiceway.errors import StoreFailed
from sluiceway.stores.disk.drafts.copying import BLOCK, copy_range

OTHER_SYSTEM = Path("/dev/shm")  # in memory
SIZE = 2 * BLOCK + 4097  # bytes: more than one round


@pytest.fixture(params=["one file system", "two file systems", "no such call"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Where the source is: the kernel copies, refuses to (EXDEV), or cannot be asked."""
    if request.param == "no such call":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    if request.param != "two file systems":
        yield tmp_path
        return
    if not OTHER_SYSTEM.is_dir() or OTHER_SYSTEM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system")
    other = OTHER_SYSTEM / f"sluiceway-{os.getpid()}"
    other.mkdir()
    yield other
    (other / "source").unlink()
    other.rmdir()


def copied(folder: Path, tmp_path: Path, start: int, at: int, count: int) -> bytes:
    (folder / "source").write_bytes(noise(SIZE))
    with (folder / "source").open("rb") as source, (tmp_path / "target").open("wb+") as target:
        target.write(b"before")
        target.flush()
        copy_range(source.fileno(), target.fileno(), start, at, count)
    return (tmp_path / "target").read_bytes()


def test_a_range_comes_to_its_place(folder: Path, tmp_path: Path) -> None:
    assert copied(folder, tmp_path, 5, 3, SIZE - 5) == b"bef" + noise(SIZE)[5:]


def test_a_source_that_became_shorter_is_an_error(folder: Path, tmp_path: Path) -> None:
    """Not a file with a hole, and no wait without an end."""
    with pytest.raises(StoreFailed, match="shorter"):
        copied(folder, tmp_path, 5, 0, SIZE)
