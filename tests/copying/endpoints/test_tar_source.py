"""A tar as a source: each member once and in order; names and sizes are checked first."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from archives.given_tars import END, flow, head, member, tar
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.endpoints.tar_source import TarLimits, TarSource
from sluiceway.errors import BadName, BadOrder, SourceFailed, TooLarge
from sluiceway.pipe.source import PassingSource
from sluiceway.testing.store_suite import pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SIZES = [0, 1, 511, 512, 513, 10_239, 10_240, 10_241, MIB + 1]


def tar_source(data: bytes, cut: int = 100_000, limits: TarLimits = TarLimits()) -> TarSource:
    return TarSource(PassingSource(flow(data, cut)), "x.tar", limits)


async def unpack(
    side: TarSource, got: dict[str, bytes], left: dict[str, str] | None = None
) -> None:
    async for item in side.items():
        if item.omitted is not None:
            assert left is not None, item
            left[item.key] = item.omitted.detail
            continue
        async with side.open(item) as reading:
            assert reading.source.length == item.size
            data = b"".join([bytes(piece) async for piece in reading.source.open()])
        assert len(data) == item.size
        got[item.key] = data


async def unpacked(data: bytes, cut: int = 100_000) -> dict[str, bytes]:
    got: dict[str, bytes] = {}
    await unpack(tar_source(data, cut), got)
    return got


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7", "oldgnu"])
async def test_archives_of_the_tar_program_are_read(tmp_path: Path, form: str) -> None:
    """`tar c .` with a link, in each of its formats; times are read, too."""
    given = {f"sub/{size}": pattern(size) for size in SIZES}
    (tmp_path / "in/sub").mkdir(parents=True)
    for key, value in given.items():
        (tmp_path / "in" / key).write_bytes(value)
    (tmp_path / "in/link").symlink_to("sub/1")
    (tmp_path / "in/twin").hardlink_to(tmp_path / "in/sub/1")
    done = subprocess.run(
        ["tar", "-c", f"--format={form}", "."],
        cwd=tmp_path / "in",
        capture_output=True,
        check=True,
        timeout=60,
    )
    got: dict[str, bytes] = {}
    left: dict[str, str] = {}
    await unpack(tar_source(done.stdout), got, left)

    twin = {"twin", "sub/1"} - set(got)  # the folder's order decides which of the two is the file
    assert got | dict.fromkeys(twin, b"") | {"twin": b"", "sub/1": b""} == given | {
        "twin": b"",
        "sub/1": b"",
    }
    assert left == {"link": "a symbolic link", twin.pop(): "a hard link to another member"}


async def test_an_item_has_its_time_and_type() -> None:
    """For a listing, a zip, or a store that keeps them."""
    side = tar_source(tar(member("sub/page.html", b"<p>", pax_headers={"mtime": "1000000000.5"})))
    async for item in side.items():
        assert item == CopyItem("sub/page.html", 3, "1-3-1000000000.0", 1_000_000_000.0)
        async with side.open(item) as reading:
            assert (reading.metadata.filename, reading.metadata.type) == ("page.html", "text/html")


async def test_unread_members_are_skipped() -> None:
    """Unread or partly read: the next member is complete."""
    side = tar_source(
        tar(member("a", pattern(5000)), member("b", pattern(300_000)), member("c", b"c")), cut=1000
    )
    got = []
    async for item in side.items():
        if item.key == "b":
            async with side.open(item) as reading:
                pieces = reading.source.open()
                await anext(pieces)
                await pieces.aclose()  # type: ignore[attr-defined]
        if item.key == "c":
            async with side.open(item) as reading:
                got = [bytes(piece) async for piece in reading.source.open()]
    assert got == [b"c"]


async def test_a_passed_member_cannot_be_opened() -> None:
    """Nor one twice: it would get the bytes of another member."""
    side = tar_source(tar(member("a", b"a"), member("b", b"b")))
    seen: list[CopyItem] = []
    async for item in side.items():
        seen.append(item)
        for gone in seen[:-1]:
            with pytest.raises(BadOrder):
                await side.open(gone).__aenter__()
        await side.open(item).__aenter__()
        with pytest.raises(BadOrder):
            await side.open(item).__aenter__()


HOSTILE = [
    "../up",
    "a/../../b",
    "/abs",
    "a//b",
    "C:\\x",
    "C:x",
    "new\nline",
    "a/./b",
    "..",
    ".sluiceway/x",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE], ids=["file", "folder", "link"]
)
async def test_names_that_lead_out_are_refused(name: str, kind: bytes) -> None:
    """Members before it are complete, the error has the name, and nothing after it is read."""
    got: dict[str, bytes] = {}
    body = b"x" if kind == tarfile.REGTYPE else b""
    data = tar(
        member("good", b"1"),
        member(name, body, kind),
        member("later", b"2"),
        form=tarfile.GNU_FORMAT,
    )
    with pytest.raises(BadName, match=r"x\.tar has a member"):
        await unpack(tar_source(data), got)
    assert got == {"good": b"1"}


@pytest.mark.parametrize("name", ["../x", "a\0b"])
async def test_names_in_extended_headers_are_checked_too(name: str) -> None:
    """The name in the pax header counts, and a NUL in it cuts nothing off."""
    with pytest.raises(BadName):
        await unpacked(tar(member("good", b"1", pax_headers={"path": name})))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (TarLimits(member=999), "has 1000 bytes; at most 999 are taken"),
        (TarLimits(total=2999), "holds more than 2999 bytes"),
        (TarLimits(members=2), "more than 2 members"),
    ],
)
async def test_an_archive_over_the_limits_is_refused(limits: TarLimits, words: str) -> None:
    """The bytes of a file, of all files, and the number of files."""
    with pytest.raises(TooLarge, match=words):
        await unpack(
            tar_source(tar(*(member(name, bytes(1000)) for name in "abc")), limits=limits), {}
        )


async def test_a_file_of_8_eib_is_refused_by_its_header() -> None:
    huge = head(size=b"\x80\0\0\0" + struct.pack(">Q", 1 << 62)) + END
    with pytest.raises(TooLarge, match=r"x\.tar"):
        await unpacked(huge)


async def test_a_bomb_is_refused_by_the_limit_of_expansion() -> None:
    bomb = gzip.compress(tar(member("zeros", bytes(4 * MIB))))
    with pytest.raises(TooLarge, match="expands to more than 200 times"):
        await unpack(tar_source(bomb, limits=TarLimits(free=MIB)), {})


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_a_cut_archive_is_an_error_after_its_whole_members(
    pack: Callable[[bytes], bytes],
) -> None:
    whole = pack(tar(member("a", b"a"), member("b", pattern(2000)), member("c")))
    got: dict[str, bytes] = {}
    with pytest.raises(SourceFailed):
        await unpack(tar_source(whole[:-10] if pack is gzip.compress else whole[:2000]), got)

    assert got.items() <= {"a": b"a", "b": pattern(2000), "c": b""}.items()
