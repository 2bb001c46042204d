"""Names of processes in a folder: who lives, and what dead ones leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluiceway.pipe import file_lock
from sluiceway.pipe.file_lock import HAS_LOCKS, ProcessName

pytestmark = pytest.mark.skipif(not HAS_LOCKS, reason="needs file locks")


def test_a_process_that_ends_while_another_one_looks_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is open already, and then gone."""
    folder = os.open(tmp_path, os.O_RDONLY)
    looks, ends = ProcessName(folder), ProcessName(folder)
    assert looks.is_alive(ends.name)
    lock = file_lock.try_lock_file

    def end_first(fd: int) -> bool:
        ends.close()
        return lock(fd)

    monkeypatch.setattr(file_lock, "try_lock_file", end_first)
    assert not looks.is_alive(ends.name)
    looks.close()
    assert os.listdir(folder) == []
    os.close(folder)
