"""Small files into a folder that are copied at the same time: one that fails, fails alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import sluiceway
from sluiceway.copying.endpoints import folder_publishing
from sluiceway.copying.endpoints.folder import FolderTarget

COUNT = 90
FILES = {f"d{n % 7}/e/{n:03}": bytes([n]) * (n * 11) for n in range(COUNT)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key, data in FILES.items():
        (tmp_path / "from" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / key).write_bytes(data)
    return tmp_path / "from"


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("way", ["without a name", "as parts", "slow disk"])
async def test_all_are_stored_with_their_attributes(
    folder: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file system has no files without a name, and where each fsync gets a
    thread. Nothing else is left."""
    if way == "as parts":
        monkeypatch.setattr(folder_publishing, "UNNAMED", 0)
    elif way == "slow disk":
        monkeypatch.setattr("sluiceway.stores.group_commit.SLOW_FSYNC", -1.0)
    os.chmod(folder / "d1/e/001", 0o640)
    os.utime(folder / "d1/e/001", (1_000_000_000, 1_000_000_000))
    report = await sluiceway.acopy_all(folder, tmp_path / "to", preserve=True)

    assert (report.copied, report.failed) == (COUNT, 0)
    assert found(tmp_path / "to") == FILES
    there = (tmp_path / "to" / "d1/e/001").stat()
    assert (there.st_mode & 0o777, there.st_mtime) == (0o640, 1_000_000_000)


@pytest.mark.parametrize("unnamed", [True, False], ids=["without a name", "as parts"])
async def test_what_is_in_the_way_fails_alone(
    folder: Path, tmp_path: Path, unnamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, a link, another file: each is reported by its name, and stays as it is."""
    if not unnamed:
        monkeypatch.setattr(folder_publishing, "UNNAMED", 0)
    (tmp_path / "to/d1/e/001").mkdir(parents=True)
    (tmp_path / "to/d2/e").mkdir(parents=True)
    (tmp_path / "to/d2/e/002").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "to/d3").write_bytes(b"a file where a folder is needed")
    blocked = {key for key in FILES if key.startswith("d3/")}
    report = await sluiceway.acopy_all(folder, tmp_path / "to")

    failed = {one.key: one.code for one in report.failures}
    assert failed == {"d1/e/001": "exists", "d2/e/002": "exists"} | dict.fromkeys(
        blocked, "forbidden"
    )
    assert report.copied == COUNT - len(failed)
    kept = {key: data for key, data in FILES.items() if key not in failed}
    assert found(tmp_path / "to") == kept | {"d3": b"a file where a folder is needed"}
    assert os.path.islink(tmp_path / "to/d2/e/002")
    assert not (tmp_path / "elsewhere").exists()


async def test_force_replaces_files_and_no_folder(folder: Path, tmp_path: Path) -> None:
    for key in ("d1/e/001", "d2/e/002"):
        (tmp_path / "to" / key).parent.mkdir(parents=True)
    (tmp_path / "to/d1/e/001").write_bytes(b"older")
    (tmp_path / "to/d2/e/002").mkdir()
    report = await sluiceway.acopy_all(folder, tmp_path / "to", force=True)

    assert [(one.key, one.code) for one in report.failures] == [("d2/e/002", "exists")]
    assert found(tmp_path / "to") == {key: data for key, data in FILES.items() if key != "d2/e/002"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at folders by their descriptors")
@pytest.mark.parametrize("size", [10, 600_000], ids=["small", "as a part"])
async def test_a_folder_that_was_made_is_synchronised_with_the_one_above(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would lose it else, with the files in it that count as stored."""
    calls = list[tuple[str, Path]]()
    mkdir, fsync = os.mkdir, os.fsync

    def noted_mkdir(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        above = Path.cwd() if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        mkdir(name, mode, dir_fd=dir_fd)
        calls.append(("mkdir", above / name))

    def noted_fsync(fd: int) -> None:
        fsync(fd)
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}"))))

    (tmp_path / "from/a/b").mkdir(parents=True)
    (tmp_path / "from/a/b/file").write_bytes(b"x" * size)
    monkeypatch.setattr(os, "mkdir", noted_mkdir)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    report = await sluiceway.acopy_all(tmp_path / "from", tmp_path / "new/to")

    assert report.copied == 1
    made = [path for call, path in calls if call == "mkdir"]
    assert made == [tmp_path / name for name in ("new", "new/to", "new/to/a", "new/to/a/b")]
    for path in made:
        assert ("fsync", path.parent) in calls[calls.index(("mkdir", path)) :]


@pytest.mark.skipif(sys.platform != "linux", reason="counts system calls by their Python names")
async def test_each_file_is_synchronised_before_any_name_and_each_folder_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each group: all fdatasync, all links, all fsync of folders; fewer folders than files."""
    calls = list[str]()
    for name in ("fdatasync", "link", "fsync"):
        plain = getattr(os, name)

        def noted(*given: object, name: str = name, plain: object = plain, **named: object) -> None:
            calls.append(name)
            plain(*given, **named)  # type: ignore[operator]

        monkeypatch.setattr(os, name, noted)
    target = FolderTarget(str(tmp_path / "to"))
    target._group._runners = 1  # with one, no two groups are mixed
    report = await sluiceway.acopy_all(folder, target)

    assert report.copied == COUNT
    groups = " ".join(calls).replace("fsync fdatasync", "fsync|fdatasync").split("|")
    for group in groups:
        steps = group.split()
        assert steps == sorted(steps, key=("fdatasync", "link", "fsync").index)
        assert steps.count("fdatasync") == steps.count("link")
    assert calls.count("link") == COUNT > 2 * calls.count("fsync")
