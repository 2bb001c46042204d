"""`copy -r --preserve` keeps times, permissions, empty folders; holes; similar names."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import sluiceway
from fix_postgres import Database
from fix_server import RunningServer

WHEN = 1_234_567_890
NFC, NFD = "caf\u00e9", "cafe\u0301"


def attributes(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [folder, *folder.rglob("*")]
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, int(path.stat().st_mtime))
        for path in paths[1:]
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A program, a secret, an old file, an empty folder and a read-only folder."""
    root = tmp_path / "from"
    for name, mode in (("d/run", 0o755), ("d/secret", 0o600), ("old", 0o644)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
        (root / name).chmod(mode)
        os.utime(root / name, (WHEN, WHEN))
    (root / "empty").mkdir()
    (root / "d").chmod(0o555)
    for name in ("d", "empty"):
        os.utime(root / name, (WHEN, WHEN))
    return root


def test_times_modes_and_empty_folders_are_kept_between_folders(
    source: Path, tmp_path: Path
) -> None:
    """Without the option, a file has the time of its copy."""
    line = [sys.executable, "-m", "sluiceway", "copy", "-r", str(source)]
    subprocess.run(
        [*line, str(tmp_path / "to"), "--preserve"], check=True, capture_output=True, timeout=60
    )
    subprocess.run([*line, str(tmp_path / "plain")], check=True, capture_output=True, timeout=60)

    assert attributes(tmp_path / "to") == attributes(source)
    assert not (tmp_path / "plain" / "empty").exists()
    assert (tmp_path / "plain" / "old").stat().st_mtime > WHEN


def test_a_store_with_metadata_keeps_times_and_modes(
    source: Path, database: Database, tmp_path: Path
) -> None:
    """Backup and restore: through the metadata of each object."""
    table = database.fresh()
    subprocess.run(
        [sys.executable, "-m", "sluiceway", "init", f"{database.url}&table={table}"],
        check=True,
        capture_output=True,
    )
    place, mark, query = database.url.partition("?")
    there = f"{place}/backup/{mark}{query}&table={table}"
    sluiceway.copy_all(source, there, preserve=True)
    report = sluiceway.copy_all(there, tmp_path / "to", preserve=True)

    wanted = {
        name: found for name, found in attributes(source).items() if name not in ("d", "empty")
    }
    assert report.ok
    assert {
        name: found for name, found in attributes(tmp_path / "to").items() if name != "d"
    } == wanted
    database.drop(table)


def test_times_and_modes_of_a_tar_are_kept(source: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(source / "d/run", "run")
    sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "to", unpack="tar", preserve=True)

    assert attributes(tmp_path / "to") == {"run": (0o100755, WHEN)}


def test_holes_stay_holes(taker: RunningServer, tmp_path: Path) -> None:
    """From folder to folder and in a download: 64 MiB of zeros take no space."""
    (tmp_path / "from").mkdir()
    with (tmp_path / "from" / "image").open("wb") as file:
        file.write(b"begin")
        file.seek(32 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    sluiceway.copy_all(tmp_path / "from", tmp_path / "to")
    sluiceway.copy(tmp_path / "from" / "image", f"{taker.url}/files/image")
    sluiceway.copy(f"{taker.url}/files/image", tmp_path / "down")

    for path in (tmp_path / "to" / "image", tmp_path / "down"):
        assert path.read_bytes() == (tmp_path / "from" / "image").read_bytes()
        assert path.stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_two_names_that_look_alike_are_not_confused(
    taker: RunningServer, tmp_path: Path, same: bool, force: bool
) -> None:
    """A server keeps both forms of a letter under one key, so the second object fails."""
    (tmp_path / "from").mkdir()
    for name in (NFC, NFD):
        (tmp_path / "from" / name).write_bytes(b"same" if same else name.encode())
    url = f"{taker.url}/files/forms-{same}-{force}/"
    for _ in range(2):
        report = sluiceway.copy_all(tmp_path / "from", url, force=force)
        assert (
            report.ok,
            report.copied + report.skipped,
            [one.code for one in report.failures],
        ) == (False, 1, ["same-name"])
        assert "differ only in the form of their letters" in report.failures[0].detail
    both = sluiceway.copy_all(tmp_path / "from", tmp_path / "to", force=force)
    again = sluiceway.copy_all(tmp_path / "from", tmp_path / "to", force=force)

    assert (both.copied, again.skipped, len(list((tmp_path / "to").iterdir()))) == (2, 2, 2)


async def test_a_repeated_member_is_not_a_similar_name(tmp_path: Path) -> None:
    """A tar with a newer version added: the later one counts, as for tar itself."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for data in (b"old", b"new"):
            (tmp_path / "one").write_bytes(data)
            await asyncio.to_thread(archive.add, tmp_path / "one", NFC)
    report = await sluiceway.acopy_all(
        tmp_path / "x.tar", tmp_path / "to", unpack="tar", force=True
    )

    assert (report.ok, (tmp_path / "to" / NFC).read_bytes()) == (True, b"new")
