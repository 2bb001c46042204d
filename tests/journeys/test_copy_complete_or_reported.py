"""`sluiceway copy -r`: each listed object is copied, skipped, left out by a rule or failed.

The exit code and the report agree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sluiceway
from fix_server import RunningServer
from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_notes import part_name, part_paths

# root without its right to read everything: bound by permissions like any other user
BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
ODDLY = r"system-systemd\x2dfsck.slice"


def copied(
    *words: object, code: int = 0, ordinary: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], str]:
    """Lines by key, the report, and standard error. `ordinary`: without the rights of root."""
    line = [
        *(BOUND if ordinary else ()),
        sys.executable,
        "-m",
        "sluiceway",
        "copy",
        "-r",
        *map(str, words),
    ]
    done = subprocess.run(
        [*line, "--json"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stderr + done.stdout
    lines = [json.loads(one) for one in done.stdout.splitlines()]
    report = lines[-1]["report"] if lines else {}
    assert (
        not report
        or report["copied"] + report["skipped"] + report["failed"] + report["left_out"]
        == report["listed"]
    )
    return {one["key"]: one for one in lines[:-1]}, report, done.stderr


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A source with an unreadable folder, an unreadable file, and a readable file."""
    source = stock(tmp_path / "from", {"closed/x": b"x", "secret": b"s", "a": b"a"})
    (source / "secret").chmod(0)
    (source / "closed").chmod(0)
    yield source
    (source / "closed").chmod(0o755)


def test_unreadable_files_are_failures(closed: Path, tmp_path: Path) -> None:
    """Both are named with a code, the rest is copied, and the exit code is 6."""
    lines, report, _ = copied(closed, tmp_path / "to", ordinary=True, code=6)

    assert {key: (line["state"], line.get("code")) for key, line in lines.items()} == {
        "a": ("copied", None),
        "closed": ("failed", "source-failed"),
        "secret": ("failed", "source-failed"),
    }
    assert (report["ok"], report["failed"], report["left_out"]) == (False, 2, 0)
    assert [one.name for one in (tmp_path / "to").iterdir()] == ["a"]
    quiet = [
        *BOUND,
        sys.executable,
        "-m",
        "sluiceway",
        "copy",
        "-rq",
        str(closed),
        str(tmp_path / "to"),
    ]
    done = subprocess.run(quiet, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "closed failed" in done.stderr, done.stdout) == (6, True, "")


def test_an_excluded_unreadable_folder_is_no_failure(closed: Path, tmp_path: Path) -> None:
    """A pattern that excludes it leaves it out; one that may match inside it does not."""
    (closed / "secret").unlink()

    copied(closed, tmp_path / "to", "--exclude", "closed/**", ordinary=True)
    copied(closed, tmp_path / "to", "--include", "d/**", ordinary=True)
    copied(closed, tmp_path / "to", "--include", "**/*.jpg", ordinary=True, code=6)


def test_links_and_pipes_are_reported_even_with_quiet(tmp_path: Path) -> None:
    """A rule leaves them out, with its code; the copy succeeds, and they are still printed."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "from" / "pipe")
    lines, report, _ = copied(tmp_path / "from", tmp_path / "to")
    quiet = [
        sys.executable,
        "-m",
        "sluiceway",
        "copy",
        "-rq",
        str(tmp_path / "from"),
        str(tmp_path / "to"),
    ]
    done = subprocess.run(quiet, capture_output=True, text=True, timeout=60, check=False)

    assert {key: line["code"] for key, line in lines.items()} == {
        "link": "link",
        "pipe": "special-file",
    }
    assert (report["ok"], report["left_out"]) == (True, 2)
    assert (
        done.returncode,
        "link is left out" in done.stderr,
        "pipe is left out" in done.stderr,
    ) == (0, True, True)


def test_files_with_a_false_size_of_zero_are_copied(taker: RunningServer, tmp_path: Path) -> None:
    """Below /proc every file claims 0 bytes."""
    lines, report, _ = copied("/proc/sys/kernel/random", tmp_path / "to", "--include", "boot_id")
    copied("/proc/sys/kernel/random", f"{taker.url}/files/proc/", "--include", "boot_id")

    assert (tmp_path / "to" / "boot_id").read_bytes() == Path(
        "/proc/sys/kernel/random/boot_id"
    ).read_bytes()
    assert (lines["boot_id"]["size"], report["bytes"], report["excluded"] + 1) == (
        37,
        37,
        report["listed"],
    )
    assert taker.stored()["proc/boot_id"] == 37
    copied("/proc/sys/kernel/random", tmp_path / "to", "--include", "boot_id")


def test_a_foreign_part_file_is_copied(tmp_path: Path) -> None:
    """`x` beside `.x.part`: both are copied, and so is a file where our own part would be."""
    (tmp_path / "from").mkdir()
    for name in ("x", ".x.part", ".x.part.json"):
        (tmp_path / "from" / name).write_bytes(name.encode())
    _, report, _ = copied(tmp_path / "from", tmp_path / "to")

    assert report["copied"] == 3
    assert found(tmp_path / "to") == found(tmp_path / "from")


def test_a_download_does_not_touch_foreign_files(taker: RunningServer, tmp_path: Path) -> None:
    """Neither a user's `.z.part` nor a file named as our own part is changed."""
    sluiceway.copy_all(stock(tmp_path / "from", {"z": b"new"}), f"{taker.url}/files/d/")
    mine = {
        ".z.part": b"mine",
        Path(part_paths("z")[0]).name: b"mine, too",
        Path(part_paths("z")[1]).name: b"{}",
    }
    stock(tmp_path / "to", mine)
    sluiceway.copy(f"{taker.url}/files/d/z", tmp_path / "to" / "z")
    sluiceway.copy_all(f"{taker.url}/files/d/", tmp_path / "to", force=True)

    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == {
        **mine,
        "z": b"new",
    }


def test_leftovers_of_a_killed_copy_are_removed_by_the_next_run(tmp_path: Path) -> None:
    """A backup of the folder leaves them out by rule; the same copy uses and removes them."""
    source = stock(tmp_path / "from", {"d/x": b"x" * 100_000})
    killed = (
        "import os, sys, asyncio, sluiceway\n"
        "from sluiceway.client.local.part_file import PartialFile\n"
        "def die(*_): os.kill(os.getpid(), 9)\n"
        "PartialFile.publish = die\n"
        "sluiceway.copy_all(*sys.argv[1:])\n"
    )
    subprocess.run(
        [sys.executable, "-c", killed, str(source), str(tmp_path / "to")], check=False, timeout=60
    )
    left = [path.name for path in (tmp_path / "to" / "d").iterdir()]
    lines, report, _ = copied(tmp_path / "to", tmp_path / "backup")
    copied(source, tmp_path / "to")

    assert left == [part_name("x")]
    assert (lines[f"d/{left[0]}"]["code"], report["copied"], report["ok"]) == ("own-file", 0, True)
    assert [path.name for path in (tmp_path / "to" / "d").iterdir()] == ["x"]


DEEP = 1500  # folders: more than Python recurses, and longer than a path may be


def deeply(folder: Path, levels: int) -> None:
    folder.mkdir()
    here = Folder(str(folder))
    for _ in range(levels):
        os.mkdir("folder", dir_fd=here.fd)
        below = here.step("folder")
        here.close()
        here = below
    fd = here.open("file", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"at the bottom")
    os.close(fd)
    here.close()


def test_folders_of_every_depth_are_copied(tmp_path: Path) -> None:
    """Their path is longer than a path may be: copied both ways, skipped and replaced."""
    deeply(tmp_path / "from", DEEP)
    report = sluiceway.copy_all(tmp_path / "from", tmp_path / "to")
    again = sluiceway.copy_all(tmp_path / "from", tmp_path / "to")
    forced = sluiceway.copy_all(tmp_path / "from", tmp_path / "to", force=True)

    assert (report.ok, report.copied) == (True, 1)
    assert (again.ok, again.skipped) == (True, 1)
    assert (forced.ok, forced.skipped) == (True, 1)
    for side in ("from", "to"):
        subprocess.run(
            ["rm", "-r", str(tmp_path / side)], check=True
        )  # pytest's own cleanup recurses


@pytest.mark.parametrize("levels", [990])
def test_a_deep_member_of_a_tar_or_a_zip_is_copied(tmp_path: Path, levels: int) -> None:
    """Written by name, so the result is as deep."""
    key = "d/" * levels + "file"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        (tmp_path / "one").write_bytes(b"1")
        archive.add(tmp_path / "one", key)
    report = sluiceway.copy_all(tmp_path / "x.tar", tmp_path / "to", unpack="tar")
    sluiceway.copy(tmp_path / "to", tmp_path / "x.zip", pack="zip")

    assert (report.ok, report.copied) == (True, 1)
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-t", str(tmp_path / "x.zip")],
        check=True,
        capture_output=True,
    )
    subprocess.run(["rm", "-r", str(tmp_path / "to")], check=True)


def test_harmless_odd_names_are_copied(taker: RunningServer, tmp_path: Path) -> None:
    """A backslash and a Windows device name between folders; a server refuses them by its rule."""
    source = stock(tmp_path / "from", {ODDLY: b"1", "aux.c": b"2", "good": b"3"})
    _, report, _ = copied(source, tmp_path / "to")
    lines, there, _ = copied(source, f"{taker.url}/files/odd/", code=6)

    assert (report["copied"], found(tmp_path / "to")) == (3, found(source))
    assert {key: line["code"] for key, line in lines.items() if line["state"] == "failed"} == {
        ODDLY: "bad-name",
        "aux.c": "bad-name",
    }
    assert (there["copied"], there["failed"]) == (1, 2)


def test_excluded_names_are_not_checked(tmp_path: Path) -> None:
    """Excluded members may have any name; a selected one with a bad name ends the copy."""
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        (tmp_path / "one").write_bytes(b"1")
        for name in ("a", ODDLY, "etc/../up", "z"):
            archive.add(tmp_path / "one", name)
    _, report, _ = copied(
        tmp_path / "x.tar", tmp_path / "to", "--unpack", "tar", "--exclude", "etc/**"
    )

    assert (report["copied"], report["excluded"]) == (3, 1)
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["a", ODDLY, "z"]
    copied(tmp_path / "x.tar", tmp_path / "other", "--unpack", "tar", code=1)


def test_a_hard_link_in_a_tar_is_a_failure(tmp_path: Path) -> None:
    """The archive has no bytes for it, so it is a failure."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        (tmp_path / "one").write_bytes(b"1")
        (tmp_path / "two").hardlink_to(tmp_path / "one")
        archive.add(tmp_path / "one", "one")
        archive.add(tmp_path / "two", "two")
    lines, _, _ = copied(tmp_path / "x.tar", tmp_path / "to", "--unpack", "tar", code=6)

    assert (lines["one"]["state"], lines["two"]["state"], lines["two"]["code"]) == (
        "copied",
        "failed",
        "unsupported",
    )


def test_an_incomplete_zip_is_not_made(tmp_path: Path) -> None:
    """A name that no zip can hold: an error with the name, and no zip."""
    source = stock(tmp_path / "from", {"good": b"1", "bad\nname": b"2"})
    with pytest.raises(sluiceway.SluiceError, match=r"bad.*cannot be in the zip") as caught:
        sluiceway.copy(source, tmp_path / "x.zip", pack="zip")

    assert caught.value.code == "source-failed"
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("kind", ["server", "store"])
def test_an_empty_prefix_is_an_error(taker: RunningServer, tmp_path: Path, kind: str) -> None:
    """A mistyped prefix, or the key of one object: a restore must not end with 0."""
    stock(tmp_path / "shelf" / "empty", {"x/a": b"a"})
    (tmp_path / "none").mkdir()
    sluiceway.copy_all(tmp_path / "shelf" / "empty", f"{taker.url}/files/empty-{kind}/")
    base = {
        "server": f"{taker.url}/files/empty-{kind}",
        "store": f"fsspec+file://{tmp_path}/shelf/empty",
    }[kind]

    for below in ("/typo/", "/x/a", "/x/a/"):
        _, report, errors = copied(f"{base}{below}", tmp_path / "to", code=3)
        assert (report["ok"], report["listed"], "holds no file" in errors) == (False, 0, True)
    assert copied(f"{base}/x", tmp_path / "to")[1]["copied"] == 1
    assert copied(tmp_path / "none", tmp_path / "to")[1]["listed"] == 0


def stock(folder: Path, files: dict[str, bytes]) -> Path:
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
