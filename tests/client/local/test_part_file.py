"""The part file: what stays after an accident, what is continued, and what is never followed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fix_taking import SMALL_DISK
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import Notes, part_paths
from sluiceway.errors import Exists, NoSpace, StoreFailed

URL = "https://me:secret@host/file?sig=secret"


def notes(url: str = URL) -> Notes:
    return Notes.of(url, '"v1"', 10, "")


def left_behind(target: Path, data: bytes, reports: Notes | None = None) -> None:
    """What an interrupted run leaves."""
    part, sidecar = part_paths(str(target))
    Path(part).write_bytes(data)
    from dataclasses import asdict

    Path(sidecar).write_text(json.dumps(asdict(reports or notes())))


async def test_a_part_is_continued_where_it_ended(tmp_path: Path) -> None:
    """Bytes, validator and total survive; then the whole gets its name and nothing else stays."""
    target = tmp_path / "f"
    first = PartialFile(str(target), URL)
    first.restart(notes())
    await first.write(b"01234")
    first.close()
    second = PartialFile(str(target), URL)

    assert (
        second.have,
        second.notes and second.notes.validator,
        second.notes and second.notes.total,
    ) == (5, '"v1"', 10)
    await second.write(b"56789")
    second.publish(force=False)
    second.close()
    assert target.read_bytes() == b"0123456789"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.root
def test_a_full_disk_keeps_what_the_pieces_have(small_disk: Path) -> None:
    """The notes have a place before the disk is full; else the next run would begin anew."""
    target = small_disk / "f"
    first = PartialFile(str(target), URL)
    first.restart(notes())
    first.in_pieces([(0, 0), (5, 0)])
    first.write_at(b"01", 0)
    with pytest.raises(NoSpace):
        first.write_at(bytes(SMALL_DISK), 5)
    first.in_pieces([(0, 2), (5, 0)])
    first.close()
    second = PartialFile(str(target), URL)

    assert second.notes is not None
    assert [tuple(piece) for piece in second.notes.pieces] == [(0, 2), (5, 0)]
    second.discard()
    second.close()
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize(
    "announced",
    [
        "",
        "[]",
        "{}",
        '{"url": 1}',
        "x" * 100_000,
        "[" * 60_000,
        json.dumps({"url": "", "key": 5, "validator": "v"}),
        "other-url",
        "bad-validator",
    ],
)
async def test_a_sidecar_that_does_not_fit_means_starting_again(
    tmp_path: Path, announced: str
) -> None:
    """Broken, foreign or of another URL: not one old byte is used."""
    target = tmp_path / "f"
    if announced == "other-url":
        left_behind(target, b"old", notes("https://host/file?sig=other"))
    elif announced == "bad-validator":
        left_behind(target, b"old", replace(notes(), validator='"v1"\r\nX: y'))
    else:
        left_behind(target, b"old")
        Path(part_paths(str(target))[1]).write_text(announced)
    part = PartialFile(str(target), URL)

    assert (part.have, part.notes) == (0, None)
    part.close()


async def test_after_a_power_cut_only_synced_bytes_count(tmp_path: Path) -> None:
    """Another boot id: what was not synced may be zeros by now."""
    target = tmp_path / "f"
    left_behind(target, b"0123456789", replace(notes(), boot="another boot", kept=4))
    part = PartialFile(str(target), URL)

    assert part.have == 4
    assert os.path.getsize(part.path) == 4
    part.close()


async def test_sync_returns_the_offset_that_survives(tmp_path: Path) -> None:
    """`kept` follows `have` only through sync, and is in the sidecar then."""
    part = PartialFile(str(tmp_path / "f"), URL)
    part.restart(notes())
    await part.write(b"0123")

    assert (part.have, part.kept) == (4, 0)
    assert await part.sync() == 4
    assert json.loads(Path(part_paths(part.target)[1]).read_text())["kept"] == 4
    part.close()


async def test_a_part_that_cannot_be_continued_does_not_stay(tmp_path: Path) -> None:
    """Without a validator the bytes are of no use to the next run."""
    part = PartialFile(str(tmp_path / "f"), URL)
    part.restart(None)
    await part.write(b"0123")
    part.close()

    assert os.listdir(tmp_path) == []


async def test_a_link_at_the_parts_name_is_not_followed(tmp_path: Path) -> None:
    """A symbolic, hard or broken link at that name costs no byte of its target."""
    for kind in ("symbolic", "hard", "broken"):
        folder = tmp_path / kind
        folder.mkdir()
        victim = folder / "victim"
        if kind != "broken":
            victim.write_bytes(b"precious")
        trap = Path(part_paths(str(folder / "f"))[0])
        if kind == "hard":
            os.link(victim, trap)
        else:
            trap.symlink_to(victim)
        Path(part_paths(str(folder / "f"))[1]).symlink_to(victim)
        part = PartialFile(str(folder / "f"), URL)
        part.restart(notes())
        await part.write(b"bytes")
        part.publish(force=False)
        part.close()

        assert (folder / "f").read_bytes() == b"bytes"
        assert victim.exists() is (kind != "broken")
        assert kind == "broken" or victim.read_bytes() == b"precious"


async def test_a_name_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Unless forced: then it is replaced whole."""
    target = tmp_path / "f"
    part = PartialFile(str(target), URL)
    part.restart(notes())
    await part.write(b"new")
    target.write_bytes(b"old")

    with pytest.raises(Exists, match="--force"):
        part.publish(force=False)
    assert target.read_bytes() == b"old"
    part.publish(force=True)
    part.close()
    assert target.read_bytes() == b"new"


async def test_two_copies_do_not_share_a_part(tmp_path: Path) -> None:
    """The second one gets an error; the first one's bytes are untouched."""
    first = PartialFile(str(tmp_path / "f"), URL)
    first.restart(notes())
    await first.write(b"0123")

    with pytest.raises(StoreFailed, match="Another copy"):
        PartialFile(str(tmp_path / "f"), URL)
    assert os.path.getsize(first.path) == 4
    first.close()


def test_the_sidecar_holds_no_secret(tmp_path: Path) -> None:
    """Neither password nor signature are written to disk."""
    part = PartialFile(str(tmp_path / "f"), URL)
    part.restart(notes())

    assert "secret" not in Path(part_paths(part.target)[1]).read_text()
    part.close()


@pytest.mark.parametrize("name", ["f", "x" * 255, "ü" * 127])
async def test_the_longest_names_have_a_part(tmp_path: Path, name: str) -> None:
    """255 bytes is what file systems take for the target; its part must fit as well."""
    part = PartialFile(str(tmp_path / name), URL)
    part.restart(notes())
    await part.write(b"x")
    part.publish(force=False)
    part.close()

    assert os.listdir(tmp_path) == [name]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The target's path, not the part's, is in the message."""
    with pytest.raises(StoreFailed, match=r"nowhere/f cannot be written: No such file"):
        PartialFile(str(tmp_path / "nowhere" / "f"), URL)
