"""Uploads of other processes are found by hash, at a cost that does not grow with their number."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sluiceway.uploads import progress as module
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.states import State


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "progress").touch()
    return str(tmp_path / "progress")


class Worker(ProgressTable):
    """A part of a table. The kernel's locks are per process, so the part is given, not claimed."""

    def __init__(self, path: str, parts: int, part: int) -> None:
        self._given = part
        super().__init__(path, parts)

    def _claim(self, parts: int) -> int:
        return self._given


def test_uploads_of_other_workers_are_found_through_thousands_of_beginnings_and_ends(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers reuse their records again and again: each finds the others' uploads, no
    more."""
    monkeypatch.setattr(module, "SLOTS", 96)
    workers = [Worker(file, 3, part) for part in range(3)]
    dice, there = random.Random(5), list[list[str]]([[], [], []])
    for number in range(4000):
        part = dice.randrange(3)
        record = workers[part].begin(f"u{number}", None)
        record.received = number
        record.state = State.COMPLETE
        workers[part].end(record)
        there[part] = [*there[part], f"u{number}"][-32:]
        asked = dice.choice(there[dice.randrange(3)] or ["u0"])
        for worker in workers:
            found = worker.find(asked)
            assert found is not None
            assert found.received == int(asked[1:])
            assert worker.find(f"v{number}") is None
    gone = sorted(
        {f"u{number}" for number in range(4000)} - {upload for part in there for upload in part}
    )
    assert all(worker.find(upload) is None for worker in workers for upload in gone[::50])
    for worker in workers:
        worker.close()


def test_a_part_taken_over_keeps_what_its_dead_owner_had(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its uploads have failed and are found; the index is repaired."""
    monkeypatch.setattr(module, "SLOTS", 64)
    dead, other = Worker(file, 2, 0), Worker(file, 2, 1)
    for number in range(20):
        dead.begin(f"u{number}", None)
    # The part's buckets, as a process that dies in the middle of a change could leave them.
    other._buckets[:32] = [0xFFFFFFFF] * 32

    taken_over = Worker(file, 2, 0)

    for number in range(20):
        found = other.find(f"u{number}")
        assert found is not None
        assert found.state is State.FAILED
    assert taken_over.begin("new", None).index < 32
    assert other.find("new") is not None
    for worker in (dead, other, taken_over):
        worker.close()


def test_looking_for_an_unknown_upload_costs_the_same_in_a_full_table(file: str) -> None:
    """A search through all records, byte by byte, cost a whole processor for a thousand
    watchers."""
    mine, theirs = Worker(file, 4, 0), Worker(file, 4, 1)

    def seconds() -> float:
        best = 1.0
        for _ in range(5):
            began = time.process_time()
            for number in range(1000):
                assert mine.find(f"nowhere-{number}") is None
            best = min(best, time.process_time() - began)
        return best

    empty = seconds()
    for number in range(2000):
        theirs.begin(f"u{number}", None)
    full = seconds()

    assert full < 4 * empty
    searched = time.process_time()
    for _ in range(1000):
        assert theirs._memory.find(b"\xee" * 16) < 0
    assert full < (time.process_time() - searched) / 2  # the cost of a search
    mine.close()
    theirs.close()
