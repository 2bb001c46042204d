"""The table that workers of an app share.

They find it by a name, it is private to the user, and the last of them removes it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sluiceway.uploads import shared_table
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.shared_table import open_shared_table
from sluiceway.uploads.states import State

PROCESS = """# in a fork
import sys
from sluiceway.uploads import shared_table
from sluiceway.uploads.app_progress import AppProgress
shared_table.SHARED_MEMORY = sys.argv[1]
progress = AppProgress.of(sys.argv[2])
watched = progress.begin(sys.argv[3], 100)
watched.count_received(40)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_table, "SHARED_MEMORY", str(tmp_path))
    return tmp_path


@contextmanager
def process(folder: Path, name: str, upload: str) -> Iterator[subprocess.Popen[str]]:
    """Another process of the app, which takes an upload until its standard input ends."""
    command = [sys.executable, "-c", PROCESS, str(folder), name, upload]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        try:
            yield other
        finally:
            assert other.stdin is not None
            other.stdin.close()
            other.wait(20)


def test_processes_meet_by_a_name_and_the_last_one_removes_the_file(folder: Path) -> None:
    """Another name is another table."""
    one, two = new_id(), new_id()
    with process(folder, "app", one) as first, process(folder, "app", two):
        (path,) = folder.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        table = open_shared_table("app")
        for upload in (one, two):
            record = table.find(upload)
            assert record is not None
            assert (record.received, record.length) == (40, 100)
        assert AppProgress.of(f"other {folder}").find(one) is None
        table.close()
        assert first.stdin is not None
        first.stdin.close()
        first.wait(20)
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("outlives", [False, True], ids=["of one request", "of the ledger"])
def test_an_upload_of_a_process_that_was_killed_has_failed(folder: Path, outlives: bool) -> None:
    """A watcher learns it, also when no new process takes the part of the dead one. One that a
    ledger has goes on: it has not ended, and its watchers ask the ledger."""
    upload, name = new_id(), f"killed {folder}"
    table = open_shared_table(name)
    with process(folder, name, upload) as other:
        record = table.find(upload)
        assert record is not None
        record.outlives = outlives
        table.end_if_orphan(record)
        assert record.state is State.RECEIVING
        os.kill(other.pid, signal.SIGKILL)
        other.wait(20)
        table.end_if_orphan(record)
        assert sum(table.totals.ended) == (not outlives)
        if outlives:
            assert (record.still(), table.find(upload)) == (False, None)
        else:
            assert (record.state, record.code) == (State.FAILED, "unavailable")
    table.close()


KILLED = """# in a fork
import os, sys
from sluiceway.uploads.progress import ProgressTable
table = ProgressTable(sys.argv[1])
table.begin("of-one-request", 100)
table.resume("brought", 100, 40)
table.rest(table.resume("rests", 100, 40))
os._exit(0)
"""


def test_only_the_uploads_that_ended_with_a_worker_count_as_failed(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.touch()
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True, timeout=60)
    table = ProgressTable(str(path))
    assert sum(table.totals.ended) == 1
    assert table.find("of-one-request") is not None
    assert table.find("brought") is table.find("rests") is None
    table.close()


def test_files_of_killed_apps_are_removed_by_the_next_one(folder: Path) -> None:
    """Those of living apps stay, and so does a file that is not ours."""
    (folder / "foreign").write_text("stays")
    living, dead = f"living {folder}", f"dead {folder}"
    with process(folder, living, new_id()), process(folder, dead, new_id()) as killed:
        kept, left = (Path(shared_table._path(name)) for name in (living, dead))
        killed.kill()
        killed.wait(20)
        assert left.exists()

        table = open_shared_table(f"next {folder}")

        assert not left.exists()
        assert kept.exists()
        table.close()
    assert (folder / "foreign").exists()


def test_a_file_that_others_may_open_is_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is a link. The progress stays within the process, and the log says so."""
    path = Path(shared_table._path("app"))
    for is_link in (True, False):
        caplog.clear()
        if is_link:
            path.symlink_to("elsewhere")
        else:
            path.touch()
            path.chmod(0o666)
        with caplog.at_level(logging.WARNING, "sluiceway"):
            table = open_shared_table("app")
        assert table.descriptor < 0
        assert "Other processes of this app cannot show" in caplog.text
        assert table.begin(new_id(), None).index >= 0
        path.unlink()
        assert not list(folder.iterdir())


def test_more_processes_than_parts_keep_their_progress_to_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them fails."""
    monkeypatch.setattr(shared_table, "MOST_PROCESSES", 1)
    monkeypatch.setattr(shared_table, "TRIES", 2)
    code = PROCESS.replace(
        "shared_table.SHARED", "shared_table.MOST_PROCESSES = 1; shared_table.SHARED"
    )
    command = [sys.executable, "-c", code, str(folder), "app", new_id()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "ready\n"
        table = open_shared_table("app")
        assert table.descriptor < 0
        table.begin(new_id(), None)
        other.stdin.close()


def test_each_process_remembers_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones go unwatched."""
    monkeypatch.setattr(shared_table, "EACH_REMEMBERS", 3)
    table = open_shared_table("few")
    records = [table.begin(new_id(), None) for _ in range(4)]
    assert [table.find(record.id) is not None for record in records] == [True] * 3 + [False]
    table.close()


FORKING = """
import os, signal, sys
from sluiceway.uploads import shared_table
from sluiceway.uploads.app_progress import AppProgress
shared_table.SHARED_MEMORY = sys.argv[1]
progress = AppProgress.of("forked")
assert progress.begin("m" * 25, None) is not None
there, here = os.pipe()
child = os.fork()
if not child:
    watched = progress.begin("t" * 25, 10)
    known = progress.find("m" * 25)
    os.write(here, b"y" if watched is not None and known is not None else b"n")
    signal.pause()
try:
    theirs = os.read(there, 1), progress.find("t" * 25).length
    print(*theirs, progress.begin("n" * 25, None) is not None)
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_a_forked_process_opens_the_table_anew(folder: Path) -> None:
    """A server may fork its workers after the app has opened the table."""
    run = subprocess.run(
        [sys.executable, "-c", FORKING, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "b'y' 10 True\n", run.stderr
    assert not list(folder.iterdir())
