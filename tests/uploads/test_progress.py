"""The progress table: counters that never contradict, records that are reused, workers that die."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluiceway.errors import Exists, SluiceError
from sluiceway.uploads import progress as module
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.states import State


def test_a_record_reads_as_it_was_written() -> None:
    """Counters up to terabytes, unknown and known length, state and code."""
    progress_table = ProgressTable()
    record = progress_table.begin("u1", None)
    record.received, record.forwarded, record.kept = 3 << 40, 2 << 40, 1 << 40
    record.code = "precondition-failed"
    record.state = State.FAILED

    seen = progress_table.find("u1")
    assert seen is not None
    assert seen.snapshot() == {
        "id": "u1",
        "state": "failed",
        "received": 3 << 40,
        "forwarded": 2 << 40,
        "kept": 1 << 40,
        "kept_by": "destination",
        "length": None,
        "code": "precondition-failed",
    }
    assert progress_table.begin("u2", 7).length == 7


def test_an_id_is_taken_while_it_is_remembered() -> None:
    """A second upload of an id is refused, so that a watcher of the first never sees the second."""
    progress_table = ProgressTable()
    record = progress_table.begin("same", None)
    with pytest.raises(Exists):
        progress_table.begin("same", None)
    record.state = State.COMPLETE
    progress_table.end(record)
    with pytest.raises(Exists):
        progress_table.begin("same", None)
    assert progress_table.find("other") is None


def test_records_of_ended_uploads_are_reused_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of uploads one after another need no more room. A watcher notices the reuse."""
    monkeypatch.setattr(module, "SLOTS", 4)
    progress_table = ProgressTable()
    records = []
    for number in range(10):
        record = progress_table.begin(f"u{number}", None)
        record.state = State.COMPLETE
        progress_table.end(record)
        records.append(record)

    assert [progress_table.find(f"u{number}") is not None for number in range(10)] == [
        False
    ] * 6 + [True] * 4
    assert [record.still() for record in records] == [False] * 6 + [True] * 4


def test_more_uploads_than_records_go_unwatched_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table never stops an upload."""
    monkeypatch.setattr(module, "SLOTS", 2)
    progress_table = ProgressTable()
    records = [progress_table.begin(f"u{number}", None) for number in range(3)]
    records[2].received = 5

    assert [progress_table.find(f"u{number}") is not None for number in range(3)] == [
        True,
        True,
        False,
    ]
    records[2].state = State.COMPLETE
    progress_table.end(records[2])
    assert progress_table.find("u0") is not None


def test_an_ended_upload_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers do not find it any more; a live one is found however long it takes."""
    progress_table = ProgressTable()
    record = progress_table.begin("ended", None)
    progress_table.begin("live", None)
    record.state = State.COMPLETE
    progress_table.end(record)
    assert progress_table.find("ended") is not None
    monkeypatch.setattr(module, "REMEMBERED", -1.0)
    assert progress_table.find("ended") is None
    assert progress_table.find("live") is not None
    with pytest.raises(Exists):  # as long as its record is there
        progress_table.begin("ended", None)


def test_only_the_record_of_an_ended_upload_is_released() -> None:
    """The record of a live upload must not become another one's."""
    progress_table = ProgressTable()
    with pytest.raises(SluiceError):
        progress_table.end(progress_table.begin("live", None))


def test_a_snapshot_never_contradicts_itself() -> None:
    """Also in the middle of writing: kept <= forwarded <= received."""
    progress_table = ProgressTable()
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    stop = threading.Event()
    wrong: list[dict[str, object]] = []

    def look(record: ProgressRecord) -> None:
        while not stop.is_set():
            seen = record.snapshot()
            if (
                not int(str(seen["kept"]))
                <= int(str(seen["forwarded"]))
                <= int(str(seen["received"]))
            ):
                wrong.append(seen)

    record = progress_table.begin("busy", None)
    looking = threading.Thread(target=look, args=(record,))
    looking.start()
    try:
        for step in range(30_000):
            record.received = step + 1
            record.forwarded = step + 1
            record.kept = step + 1
    finally:
        stop.set()
        looking.join()
        sys.setswitchinterval(often)

    assert wrong == []


def test_processes_share_a_table_and_uploads_of_a_dead_one_have_failed(tmp_path: Path) -> None:
    """Uploads of another process are seen; when it is killed and its part is taken over, they
    failed."""
    path = tmp_path / "progress"
    path.touch()
    mine = ProgressTable(str(path), 2)
    code = (
        "import sys\nfrom sluiceway.uploads.progress import ProgressTable\n"
        "record = ProgressTable(sys.argv[1], 2).begin('theirs', 100)\nrecord.received = 40\n"
        "print('ready', flush=True)\nsys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        seen = mine.find("theirs")
        assert seen is not None
        assert (seen.state, seen.received, seen.length) == (State.RECEIVING, 40, 100)
        with pytest.raises(Exists):
            mine.begin("theirs", None)
        third = subprocess.run(
            [sys.executable, "-c", code, str(path)], input="", capture_output=True, text=True
        )
        assert "parts of the progress table are taken" in third.stderr
    finally:
        other.kill()
        other.communicate()

    heir = subprocess.run(
        [sys.executable, "-c", code.replace("theirs", "heirs"), str(path)],
        input="",
        capture_output=True,
    )
    assert heir.returncode == 0
    assert (seen.state, seen.code) == (State.FAILED, "unavailable")
    mine.close()
