"""The progress board: counters that never contradict each other, slots that are used again, workers that die."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluiceway.errors import Exists, SluiceError
from sluiceway.uploads import progress as board_module
from sluiceway.uploads.progress import Board, Slot
from sluiceway.uploads.states import State


def test_a_slot_tells_what_was_written_to_it() -> None:
    """Counters up to terabytes, unknown and known length, state and code."""
    board = Board()
    slot = board.begin("u1", None)
    slot.received, slot.forwarded, slot.kept = 3 << 40, 2 << 40, 1 << 40
    slot.code = "precondition-failed"
    slot.state = State.FAILED

    seen = board.find("u1")
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
    assert board.begin("u2", 7).length == 7


def test_an_id_is_taken_while_it_is_remembered() -> None:
    """Live and just ended: a second upload of the same id is refused; a watcher of the first never sees the second."""
    board = Board()
    slot = board.begin("same", None)
    with pytest.raises(Exists):
        board.begin("same", None)
    slot.state = State.COMPLETE
    board.end(slot)
    with pytest.raises(Exists):
        board.begin("same", None)
    assert board.find("other") is None


def test_ended_slots_are_used_again_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of uploads one after another need no more room; who watches a slot that was given away notices."""
    monkeypatch.setattr(board_module, "SLOTS", 4)
    board = Board()
    slots = []
    for number in range(10):
        slot = board.begin(f"u{number}", None)
        slot.state = State.COMPLETE
        board.end(slot)
        slots.append(slot)

    assert [board.find(f"u{number}") is not None for number in range(10)] == [False] * 6 + [True] * 4
    assert [slot.still() for slot in slots] == [False] * 6 + [True] * 4


def test_more_uploads_than_slots_go_unwatched_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board never stands in the way of an upload."""
    monkeypatch.setattr(board_module, "SLOTS", 2)
    board = Board()
    slots = [board.begin(f"u{number}", None) for number in range(3)]
    slots[2].received = 5

    assert [board.find(f"u{number}") is not None for number in range(3)] == [True, True, False]
    slots[2].state = State.COMPLETE
    board.end(slots[2])
    assert board.find("u0") is not None


def test_only_an_ended_upload_gives_its_slot_back() -> None:
    """A slot of a live upload must not be handed to another."""
    board = Board()
    with pytest.raises(SluiceError):
        board.end(board.begin("live", None))


def test_a_snapshot_never_contradicts_itself() -> None:
    """Taken in the middle of writing: kept <= forwarded <= received, and everything kept only when it is complete."""
    board = Board()
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    stop = threading.Event()
    wrong: list[dict[str, object]] = []

    def look(slot: Slot) -> None:
        while not stop.is_set():
            seen = slot.snapshot()
            if not int(str(seen["kept"])) <= int(str(seen["forwarded"])) <= int(str(seen["received"])):
                wrong.append(seen)

    slot = board.begin("busy", None)
    looking = threading.Thread(target=look, args=(slot,))
    looking.start()
    try:
        for step in range(30_000):
            slot.received = step + 1
            slot.forwarded = step + 1
            slot.kept = step + 1
    finally:
        stop.set()
        looking.join()
        sys.setswitchinterval(often)

    assert wrong == []


def test_processes_share_a_board_and_the_dead_leave_no_upload_hanging(tmp_path: Path) -> None:
    """Another process's slots are seen here; when it is killed and its part is taken over, they have failed."""
    path = tmp_path / "board"
    path.touch()
    mine = Board(str(path), 2)
    code = (
        "import sys\nfrom sluiceway.uploads.progress import Board\n"
        "slot = Board(sys.argv[1], 2).begin('theirs', 100)\nslot.received = 40\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        seen = mine.find("theirs")
        assert seen is not None
        assert (seen.state, seen.received, seen.length) == (State.RECEIVING, 40, 100)
        with pytest.raises(Exists):
            mine.begin("theirs", None)
        third = subprocess.run([sys.executable, "-c", code, str(path)], input="", capture_output=True, text=True)
        assert "parts of the progress board are taken" in third.stderr
    finally:
        other.kill()
        other.communicate()

    heir = subprocess.run([sys.executable, "-c", code.replace("theirs", "heirs"), str(path)], input="", capture_output=True)
    assert heir.returncode == 0
    assert (seen.state, seen.code) == (State.FAILED, "unavailable")
    mine.close()
