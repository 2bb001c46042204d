"""Overlapping sides are refused before anything is read; the copy's own journal is not copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sluiceway
from sluiceway.copying.overlap import refuse_overlap
from sluiceway.errors import BadRequest


def test_a_folder_is_not_copied_into_itself(tmp_path: Path) -> None:
    """Below it, through a link, above it, or itself; a folder beside it is another one."""
    source = tmp_path / "a"
    source.mkdir()
    (source / "x").write_bytes(b"x")
    (tmp_path / "link").symlink_to(source)
    (source / "out").symlink_to(tmp_path / "b")
    for there in (
        source,
        source / "backup",
        source / "b" / "c",
        tmp_path / "link" / "backup",
        tmp_path,
    ):
        with pytest.raises(BadRequest, match="overlap"):
            sluiceway.copy_all(source, there)
    with pytest.raises(BadRequest, match="overlap"):
        sluiceway.copy_all(tmp_path / "link", source / "backup")
    with pytest.raises(BadRequest, match="overlap"):
        sluiceway.copy_all(source, f"fsspec+file://{source}/backup")
    done = subprocess.run(
        [sys.executable, "-m", "sluiceway", "copy", "-r", "a", "a/backup"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )

    assert (done.returncode, sorted(path.name for path in source.iterdir())) == (2, ["out", "x"])
    assert sluiceway.copy_all(source, tmp_path / "a-backup").copied == 1
    assert sluiceway.copy_all(source, tmp_path / "b").copied == 1


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("s3://b/", "s3://b/backup/"),
        ("s3://b/x/", "s3://b"),
        ("s3://b/x", "s3://b/x/"),
        ("s3://b/x?region=eu", "S3://b/x/y?region=us"),
        ("postgresql://u:p@h/d?table=files", "postgres://v@h:5432/d/backup?table=files"),
        ("https://h/files/a/", "https://H:443/files/a/b/"),
        ("http://localhost:8000/files/", "http://127.0.0.1:8000/files/x/"),
        ("https://h/files/%61/", "https://h/files/a/b/"),
    ],
)
def test_a_prefix_is_not_copied_into_itself(src: str, dst: str) -> None:
    with pytest.raises(BadRequest, match="overlap"):
        refuse_overlap(src, dst)
    with pytest.raises(BadRequest, match="overlap"):
        refuse_overlap(dst, src)


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("s3://b/x/", "s3://b/xy/"),
        ("s3://b/x/", "s3://c/x/"),
        ("s3://b/?endpoint=http://one", "s3://b/x/?endpoint=http://two"),
        ("s3://b/", "gs://b/x/"),
        ("postgresql://h/d?table=one", "postgresql://h/d?table=two"),
        ("postgresql://h/d", "postgresql://h/e"),
        ("https://h/files/a/", "https://h/files/b/"),
        ("https://h/files/", "https://h:444/files/x/"),
        ("https://h/files/", "http://h/files/x/"),
        ("files", "https://h/files/"),
    ],
)
def test_sides_that_only_look_alike_do_not_overlap(src: str, dst: str) -> None:
    refuse_overlap(src, dst)


def test_the_journal_of_the_run_is_not_copied(tmp_path: Path) -> None:
    """Neither it nor its companions, wherever it lies in the source, by whatever path."""
    source = tmp_path / "a"
    (source / "d").mkdir(parents=True)
    for name in ("x", "d/j.old", "d/j-wal.old"):
        (source / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to(source / "d")
    for _ in range(2):
        left_out: list[tuple[str, str]] = []

        def note(now: sluiceway.Overall, found: list[tuple[str, str]] = left_out) -> None:
            if now.result is not None and now.result.state == "left-out":
                found.append((now.result.key, now.result.code))

        report = sluiceway.copy_all(
            source, tmp_path / "to", journal=tmp_path / "link" / "j", on_progress=note
        )
        assert (report.ok, report.copied + report.skipped) == (True, 3)
        assert ("d/j", "own-journal") in left_out
        assert {code for _, code in left_out} == {"own-journal"}
        assert {key for key, _ in left_out} <= {"d/j", "d/j-wal", "d/j-shm", "d/j-journal"}

    names = {path.name for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert names == {"j.old", "j-wal.old", "x"}


def test_an_object_cannot_replace_the_journal_of_the_run(tmp_path: Path) -> None:
    """A journal inside the destination, and an object of its name, with --force."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    for name in ("j", "j-wal", "x"):
        (source / name).write_bytes(name.encode())
    report = sluiceway.copy_all(source, target, journal=target / "j", force=True)

    assert {(one.key, one.code) for one in report.failures} == {
        ("j", "bad-name"),
        ("j-wal", "bad-name"),
    }
    assert sorted(path.name for path in target.iterdir()) == ["j", "x"]
    assert (target / "j").read_bytes().startswith(b"SQLite format 3")
