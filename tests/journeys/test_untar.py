"""`sluiceway copy x.tar DST/ --unpack tar`: an archive becomes objects while it arrives."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer
from fix_taking import TORTURE
from sluiceway.errors import BadName, BadRequest, SourceFailed
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
ALLOWED = 12 * MIB  # how much higher the large one may peak: what allocators vary by
FILES = {"1.jpg": pattern(MIB), "sub/2.jpg": b"2", "sub/empty": b""}


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for key, data in files.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def run(
    *words: str, given: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sluiceway", "copy", *words, "--unpack", "tar"]
    return subprocess.run(
        command, input=given, capture_output=True, timeout=60, check=False, cwd=cwd
    )


def report(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(done.stdout.splitlines()[-1])["report"]


def below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    place = f"{database.url}&table={name}"
    done = subprocess.run(
        [sys.executable, "-m", "sluiceway", "init", place],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield name
    database.drop(name)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_file_becomes_a_folder(tmp_path: Path, mode: str) -> None:
    """In each compression, detected without a name or an option."""
    (tmp_path / "x").write_bytes(tar(FILES, mode))
    done = run(str(tmp_path / "x"), str(tmp_path / "out"), "--json")

    assert done.returncode == 0, done.stderr
    assert below(tmp_path / "out") == FILES
    assert (report(done)["copied"], report(done)["complete"]) == (3, True)


def test_a_pipe_of_the_tar_program_becomes_objects_of_a_server(
    tmp_path: Path, taker: RunningServer
) -> None:
    """`tar cz . | sluiceway copy - URL/files/x/ --unpack tar`, with a link left out and named."""
    for key, data in FILES.items():
        path = tmp_path / "in" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "in" / "link").symlink_to("1.jpg")
    packed = subprocess.run(
        ["tar", "-cz", "."], cwd=tmp_path / "in", capture_output=True, check=True, timeout=60
    ).stdout
    done = run("-", f"{taker.url}/files/piped/", given=packed)

    assert done.returncode == 0, done.stderr
    assert b"link is left out: a symbolic link" in done.stderr
    for key, data in FILES.items():
        assert requests.get(f"{taker.url}/files/piped/{key}", timeout=30).content == data


def test_a_server_s_archive_becomes_objects_of_a_database_and_a_database_s_one_a_folder(
    taker: RunningServer, database: Database, table: str, tmp_path: Path
) -> None:
    """Without disk or memory in between."""
    requests.put(
        f"{taker.url}/files/x.tar.gz", data=tar(FILES, "w:gz"), timeout=30
    ).raise_for_status()
    place, _, query = database.url.partition("?")
    report = sluiceway.copy_all(
        f"{taker.url}/files/x.tar.gz", f"{place}/un/?{query}&table={table}", unpack="tar"
    )
    assert (report.ok, report.copied) == (True, 3)
    assert {row[0] for row in database.rows(f"SELECT key FROM {table}")} == {
        f"un/{key}" for key in FILES
    }

    sluiceway.copy(f"{taker.url}/files/x.tar.gz", f"{place}/x.tar.gz?{query}&table={table}")
    report = sluiceway.copy_all(
        f"{place}/x.tar.gz?{query}&table={table}", tmp_path / "out", unpack="tar"
    )
    assert report.ok
    assert below(tmp_path / "out") == FILES


def test_a_bucket_takes_the_members_and_gives_them_as_a_zip(s3: Objects, tmp_path: Path) -> None:
    """tar to S3, S3 to zip: a real S3 server in between."""
    (tmp_path / "x.tar.gz").write_bytes(tar(FILES, "w:gz"))
    place = s3.url(s3.fresh(), "un/")
    env = {**os.environ, **s3.env}
    for words in (["x.tar.gz", place, "--unpack", "tar"], [place, "back.zip", "--pack", "zip"]):
        command = [sys.executable, "-m", "sluiceway", "copy", *words]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    with zipfile.ZipFile(tmp_path / "back.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_a_second_run_skips_equal_objects_and_force_replaces_others(tmp_path: Path) -> None:
    """As for every other source, although a tar is read only once."""
    (tmp_path / "x.tar").write_bytes(tar(FILES))
    first, again = (
        sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", unpack="tar") for _ in range(2)
    )
    assert (first.copied, again.copied, again.skipped) == (3, 0, 3)
    (tmp_path / "out" / "1.jpg").write_bytes(b"other")
    (tmp_path / "out" / "sub" / "2.jpg").write_bytes(b"!")
    unasked = sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", unpack="tar")
    assert (unasked.failed, unasked.ok) == (2, False)
    assert sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", unpack="tar", force=True).ok
    assert below(tmp_path / "out") == FILES


@pytest.mark.parametrize("force", [False, True])
def test_of_two_members_of_one_name_the_later_wins_only_with_force(
    tmp_path: Path, force: bool
) -> None:
    """As `tar r` writes them; without force the first stays and the run fails."""
    two = tar({"a": b"first"})[:1024] + tar({"a": b"second, and longer"})
    (tmp_path / "x.tar").write_bytes(two)
    report = sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", unpack="tar", force=force)

    assert report.ok == force
    assert below(tmp_path / "out") == {"a": b"second, and longer" if force else b"first"}


def test_a_journal_remembers_finished_members(tmp_path: Path) -> None:
    """An interrupted run resumes; a name that comes twice is two members in the journal."""
    whole = tar({"a": b"1", "b": pattern(MIB)})[: 3 * 512 + MIB] + tar({"a": b"2"})
    (tmp_path / "x.tar").write_bytes(whole[: MIB // 2])
    options: dict[str, Any] = {"journal": tmp_path / "journal", "unpack": "tar", "force": True}
    with pytest.raises(SourceFailed):
        sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", **options)
    (tmp_path / "x.tar").write_bytes(whole)
    report = sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", **options)

    assert (report.ok, report.skipped, report.copied) == (True, 1, 2)
    assert below(tmp_path / "out") == {"a": b"2", "b": pattern(MIB)}


def test_a_hostile_name_ends_the_copy_and_writes_nothing_outside(tmp_path: Path) -> None:
    """Members before it are copied, and the error names it."""
    (tmp_path / "x.tar").write_bytes(tar({"good": b"1", "../up": b"2", "later": b"3"}))
    with pytest.raises(BadName, match=r"\.\./up"):
        sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out" / "deep", unpack="tar")

    assert below(tmp_path / "out") == {"deep/good": b"1"}
    assert not (tmp_path / "out" / "up").exists()
    assert run(str(tmp_path / "x.tar"), str(tmp_path / "out" / "deep")).returncode == 1


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_cut_archive_is_an_error_and_leaves_complete_files_only(
    tmp_path: Path, mode: str
) -> None:
    """The member under way at the end is not stored."""
    files = {str(number): os.urandom(100_000) for number in range(10)}
    data = tar(files, mode)
    (tmp_path / "x.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceFailed):
        sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "out", unpack="tar")

    found = below(tmp_path / "out")
    assert found.items() < files.items()
    assert run(str(tmp_path / "x.tar"), str(tmp_path / "out")).returncode == 3


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    """A picture, a folder, an empty file, an unknown format."""
    (tmp_path / "x.jpg").write_bytes(pattern(5000))
    with pytest.raises(SourceFailed, match="is not a tar"):
        sluiceway.copy_all(tmp_path / "x.jpg", tmp_path / "out", unpack="tar")
    with pytest.raises(SourceFailed, match="folder"):
        sluiceway.copy_all(tmp_path, tmp_path / "out", unpack="tar")
    with pytest.raises(BadRequest, match="tar"):
        sluiceway.copy_all(tmp_path / "x.jpg", tmp_path / "out", unpack="zip")


@pytest.mark.skipif(sys.platform != "linux", reason="the meter reads /proc")
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, taker: RunningServer) -> None:
    """Many times as much through `copy - URL/ --unpack tar` takes no more memory."""
    peaks = []
    for size in (10 * MIB, 500 * MIB if TORTURE else 80 * MIB):
        info = tarfile.TarInfo("zeros")
        info.size = size
        command = [
            sys.executable,
            "-m",
            "sluiceway",
            "copy",
            "-",
            f"{taker.url}/files/{size}/",
            "--unpack",
            "tar",
            "-q",
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(info.tobuf())
            for _ in range(size // MIB):
                process.stdin.write(bytes(MIB))
            process.stdin.write(bytes(512))
            process.stdin.flush()
            peaks.append(MemoryMeter(process.pid).peak())
            process.stdin.write(bytes(512))
            process.stdin.close()
            assert process.wait(60) == 0
        requests.delete(f"{taker.url}/files/{size}/zeros", timeout=10).raise_for_status()

    assert peaks[1] - peaks[0] <= ALLOWED
