"""`sluiceway copy --recursive`: folders, servers, a database; journal, patterns, limits, kills."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sluiceway
from copy_peak import peak_of_copy
from fix_postgres import Database
from fix_server import RunningServer
from fix_taking import TORTURE, eventually, noise, tree
from rest_target import RestTarget
from sluiceway.errors import SluiceError

FILES = {f"{'d/e/' if n % 2 else ''}{n:03} ü.bin": noise(n * n * 17, n) for n in range(60)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stocked(tmp_path / "from", FILES)


def stocked(folder: Path, files: dict[str, bytes]) -> Path:
    for key, data in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    subprocess.run(
        [sys.executable, "-m", "sluiceway", "init", f"{database.url}&table={name}"],
        check=True,
        capture_output=True,
    )
    place, mark, query = database.url.partition("?")
    yield f"{place}/backup/{mark}{query}&table={name}"
    assert database.leftovers(name) == []
    database.drop(name)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "sluiceway", "copy", "--recursive", *map(str, words)]


def run(*words: object, code: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Lines by object, the report, and standard error."""
    done = subprocess.run(
        command("--json", *words), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stderr + done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]["report"] if lines else {}, done.stderr


def test_a_folder_is_copied_through_a_database_and_a_server(
    folder: Path, table: str, taker: RunningServer, tmp_path: Path
) -> None:
    """Backup and restore: the same bytes and keys each time; a second run copies nothing."""
    url = f"{taker.url}/files/restored/"
    for source, destination in ((folder, table), (table, url), (url, tmp_path / "to")):
        lines, report, _ = run(source, destination)
        assert (report["ok"], report["copied"], report["skipped"], report["failed"]) == (
            True,
            len(FILES),
            0,
            0,
        )
        assert report["bytes"] == sum(map(len, FILES.values()))
        assert {line["key"] for line in lines} == set(FILES)
        assert {line["state"] for line in lines} == {"copied"}
        _, again, _ = run(source, destination)
        assert (again["copied"], again["skipped"]) == (0, len(FILES))

    assert found(tmp_path / "to") == FILES


def test_a_dry_run_changes_nothing(folder: Path, taker: RunningServer, tmp_path: Path) -> None:
    """It reports each object; no file, object or journal appears."""
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "000 ü.bin").write_bytes(b"another one")
    before = tree(tmp_path), taker.stored()
    lines, report, _ = run(
        folder, tmp_path / "to", "--dry-run", "--journal", tmp_path / "j", code=6
    )
    assert (report["copied"], report["failed"], report["dry_run"]) == (len(FILES) - 1, 1, True)
    assert {line["state"] for line in lines} == {"would-copy", "failed"}
    lines, report, _ = run(folder, tmp_path / "to", "--dry-run", "--force")
    assert [line["key"] for line in lines if line["state"] == "would-replace"] == ["000 ü.bin"]
    run(folder, f"{taker.url}/files/dry/", "--dry-run")

    assert (tree(tmp_path), taker.stored()) == before


def test_patterns_select_objects(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "to", "--include", "d/**", "--include", "000*", "--exclude", "**/*1 *")

    wanted = {key for key in FILES if key.startswith(("d/", "000")) and "1 ü" not in key}
    assert set(found(tmp_path / "to")) == wanted


def test_special_files_are_left_out_with_the_reason(folder: Path, tmp_path: Path) -> None:
    """Links, pipes and a server's own folder; everything else is copied."""
    (folder / "link").symlink_to("000 ü.bin")
    (folder / "away").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    (folder / ".sluiceway").mkdir()
    (folder / ".sluiceway" / "draft").write_bytes(b"half")
    lines, report, errors = run(folder, tmp_path / "to")

    assert {line["key"]: line["detail"][:10] for line in lines if line["state"] == "left-out"} == {
        "link": "a symbolic",
        "away": "a symbolic",
        "pipe": "a pipe, a ",
        ".sluiceway": "its key is",
    }
    assert (report["left_out"], report["copied"], report["ok"]) == (4, len(FILES), True)
    assert found(tmp_path / "to") == FILES
    assert errors == ""


def test_a_link_in_the_destination_is_not_followed(tmp_path: Path) -> None:
    """Neither a linked folder nor a linked file."""
    stocked(tmp_path / "from", {"d/a": b"1", "b": b"2"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "d").symlink_to(tmp_path / "outside")
    (tmp_path / "to" / "b").symlink_to(tmp_path / "outside" / "b")
    _, report, _ = run(tmp_path / "from", tmp_path / "to", "--force", code=6)

    assert (report["copied"], [one["code"] for one in report["failures"]]) == (1, ["forbidden"])
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "to" / "b").read_bytes() == b"2"


def test_failures_and_a_report_are_printed(folder: Path, tmp_path: Path) -> None:
    """Failures with reasons on standard error, one line on standard output, exit code 6."""
    stocked(tmp_path / "to", {"000 ü.bin": b"other"})
    done = subprocess.run(
        command(folder, tmp_path / "to"), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 6
    assert done.stderr.startswith(
        "sluiceway: 000 ü.bin failed (exists, tried 1 times): The destination has something else"
    )
    assert done.stdout.startswith(f"{len(FILES) - 1} copied (")
    assert ", 0 there already, 1 failed" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{folder}", "{folder}/000 ü.bin"], "not a folder"),
        (["{folder}/000 ü.bin", "{folder}/x"], "not a folder"),
        (["{folder}", "{folder}/x", "--include", "[a"], "pattern"),
        (["{folder}", "{folder}/x", "--limit-rate", "fast"], "rate"),
        (["{folder}", "{folder}/x", "--name", "a"], "one file"),
        (["{folder}", "{folder}/x", "--curl"], "one file"),
        (["{folder}", "{folder}/x", "--jobs", "0"], "jobs"),
        (["{folder}", "{folder}/x", "-H", "a: b"], "neither side is a URL"),
    ],
)
def test_contradictory_options_are_refused_first(folder: Path, words: list[str], says: str) -> None:
    before = tree(folder)
    line = command(*(word.format(folder=folder) for word in words))
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert tree(folder) == before


def test_an_interrupted_copy_reports_and_its_journal_is_right(folder: Path, tmp_path: Path) -> None:
    """SIGINT in the middle: counted objects are in the journal and at the target."""
    with RestTarget(wait=0.05).listening() as target:
        line = command("--json", "--jobs", "2", "--journal", tmp_path / "j", folder, target.url)
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as copier:
            eventually(lambda: len(target.objects) > 10)
            copier.send_signal(signal.SIGINT)
            out, errors = copier.communicate(timeout=30)
        assert copier.returncode == 130
        assert "Traceback" not in errors
        report = json.loads(out.splitlines()[-1])["report"]
        with closing(sqlite3.connect(tmp_path / "j")) as db:
            rows = db.execute("SELECT count(*) FROM objects").fetchone()[0]
        assert 0 < report["copied"] <= rows <= len(target.objects) < len(FILES)
        assert (report["complete"], report["ok"]) == (False, False)
        target.wait = 0
        _, report, _ = run("--journal", tmp_path / "j", folder, target.url)

    assert report["copied"] + report["skipped"] == len(FILES)
    assert {one.times for one in target.objects.values()} == {1}
    assert len(target.objects) == len(FILES)


def test_objects_in_the_journal_cause_no_request(folder: Path, tmp_path: Path) -> None:
    """A second run with the journal sends no request. Another destination is refused."""
    with RestTarget().listening() as target:
        run("--journal", tmp_path / "j", folder, target.url)
        target.asked.clear()
        _, report, _ = run("--journal", tmp_path / "j", folder, target.url)
        assert (report["skipped"], report["copied"]) == (len(FILES), 0)
        assert target.asked == []
    _, _, errors = run("--journal", tmp_path / "j", folder, tmp_path / "elsewhere", code=2)
    assert "another source or destination" in errors


def test_a_changed_file_is_read_once_more(tmp_path: Path) -> None:
    """The copy is one version or the other; a file that keeps changing fails."""
    stocked(tmp_path / "from", {"once": bytes(4 << 20), "restless": bytes(4 << 20), "calm": b"c"})
    done = threading.Event()

    def restless(path: Path) -> None:
        number = 0
        while not done.is_set():
            number += 1
            os.utime(path, ns=(number, number))
            time.sleep(0.001)

    def look(now: sluiceway.Overall) -> None:
        if now.moving > 1 << 20 and not changed:
            (tmp_path / "from" / "once").write_bytes(b"n" * 100)
            changed.append(now)

    changed: list[sluiceway.Overall] = []
    once = sluiceway.copy_all(
        tmp_path / "from", tmp_path / "to", include=["once"], limit_rate="8MiB", on_progress=look
    )
    assert changed
    assert (once.copied, once.bytes) == (1, 100)
    assert (tmp_path / "to" / "once").read_bytes() == b"n" * 100

    writer = threading.Thread(target=restless, args=[tmp_path / "from" / "restless"])
    writer.start()
    report = sluiceway.copy_all(tmp_path / "from", tmp_path / "to", limit_rate="8MiB")
    done.set()
    writer.join()
    assert (report.copied, report.skipped, report.failed) == (1, 1, 1)
    assert [(one.key, one.code) for one in report.failures] == [("restless", "source-changed")]
    assert set(found(tmp_path / "to")) == {"once", "calm"}


def test_the_rate_limit_covers_all_jobs(tmp_path: Path) -> None:
    """Four jobs together are no faster than the limit, and not much slower."""
    stocked(tmp_path / "from", {str(n): noise(250_000, n) for n in range(8)})
    report = sluiceway.copy_all(tmp_path / "from", tmp_path / "to", limit_rate=1_000_000, jobs=4)

    assert report.bytes == 2_000_000
    assert 1.7 < report.seconds < 15  # two seconds; a twentieth without a limit


MANY = 10_000 if TORTURE else 800


def test_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    """Thousands of small objects with a journal need no more than a hundred."""
    few = stocked(tmp_path / "few", {f"{n % 100:02}/{n}": b"%d" % n for n in range(100)})
    many = stocked(tmp_path / "many", {f"{n % 100:02}/{n}": b"%d" % n for n in range(MANY)})
    peaks = []
    for number, folder in enumerate((few, many, many)):
        again = min(number, 1)
        journal = tmp_path / f"j{again}"
        peaks.append(peak_of_copy("--journal", journal, folder, tmp_path / f"to{again}", "-r"))

    assert len(found(tmp_path / "to1")) == MANY
    assert max(peaks) - peaks[0] <= 12 << 10, peaks  # KiB


def test_overall_progress_is_a_lower_bound(folder: Path, tmp_path: Path) -> None:
    """Counts only grow, and the last progress has the report."""
    looks: list[sluiceway.Overall] = []
    report = sluiceway.copy_all(folder, tmp_path / "to", on_progress=looks.append)

    assert looks[-1].report == report or looks[-1].report is not None
    for before, after in itertools.pairwise(looks):
        assert before.done <= after.done <= after.total
        assert before.bytes <= after.bytes <= after.total_bytes
        assert after.moving >= 0
    assert looks[-1].moving == 0
    assert sum(look.result is not None for look in looks) == len(FILES)


async def test_inside_an_event_loop_the_error_names_the_async_function(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SluiceError, match="acopy_all"):
        sluiceway.copy_all(folder, tmp_path / "to")
    assert (await sluiceway.acopy_all(folder, tmp_path / "to")).ok
