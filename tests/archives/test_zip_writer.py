"""A zip made while it is read has the announced length; it is whole, or its stream is an error."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from copying.given_items import FailingSource, Zeros
from sluiceway.archives.zip_writer import ZipContents, ZipMember, ZipSource
from sluiceway.errors import NotFound, SluiceError, SourceFailed, StoreFailed, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import BytesSource, Source
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import EDGES, ODD_KEYS, pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ALLOWED = 8 * MIB  # how much higher the large one may peak: what allocators vary by

Given = Mapping[str, bytes | int | SluiceError]


class Members:
    """Members by name: bytes, a number of zeros, or the error that half of their bytes end in."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.open_now = 0

    @asynccontextmanager
    async def open(self, member: ZipMember) -> AsyncIterator[Source]:
        what = self.given[member.name]
        self.open_now += 1
        try:
            yield (
                BytesSource(what)
                if isinstance(what, bytes)
                else Zeros(what)
                if isinstance(what, int)
                else FailingSource(what)
            )
        finally:
            self.open_now -= 1


def size_of(what: bytes | int | SluiceError) -> int:
    return len(what) if isinstance(what, bytes) else what if isinstance(what, int) else 1000


async def zip_of(members: Members, sizes: Mapping[str, int | None] | None = None) -> ZipSource:
    """`sizes`: announced instead of the true ones."""
    contents = ZipContents()
    for name, what in members.given.items():
        size = (sizes or {}).get(name, size_of(what))
        assert contents.add(ZipMember(name, size, 1_000_000_000.0)) is None
    return await contents.source(members.open)


async def made(
    given: Given, sizes: Mapping[str, int | None] | None = None
) -> tuple[ZipSource, bytes]:
    source = await zip_of(Members(given), sizes)
    return source, b"".join([bytes(piece) async for piece in source.open()])


async def drain(source: ZipSource, got: list[bytes]) -> None:
    async for piece in source.open():
        got += [bytes(piece)]  # what came before a failure stays


async def test_members_of_every_size_come_out_as_they_went_in() -> None:
    """Around the edges of blocks, empty ones included, each with the time of its last change."""
    given: Given = {f"edge/{size}": pattern(size) for size in EDGES}
    source, data = await made(given)

    assert source.length == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == given
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time[:3] for info in archive.infolist()} == {(2001, 9, 9)}


async def test_odd_keys_keep_their_names_in_python_and_in_unzip(tmp_path: Path) -> None:
    """Spaces, quotes, letters of every script, dots: names are the keys, flagged as UTF-8."""
    source, data = await made({key: key.encode() for key in ODD_KEYS})
    assert source.length == len(data)

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ODD_KEYS
        for info in archive.infolist():
            assert bool(info.flag_bits & 0x800) == (not info.filename.isascii())
    if shutil.which("unzip") is None:
        pytest.skip("unzip is not installed")
    (tmp_path / "odd.zip").write_bytes(data)
    # -V: a name that ends in ; is no version of a VMS file
    subprocess.run(
        ["unzip", "-qV", "odd.zip", "-d", "out"],
        cwd=tmp_path,
        check=True,
        timeout=60,
        env={"LC_ALL": "C.UTF-8"},
    )
    for key in ODD_KEYS:
        assert (tmp_path / "out" / key).read_bytes() == key.encode()


@pytest.mark.parametrize(
    "count", [0, 1, 65_535, *(pytest.param(n, marks=pytest.mark.torture) for n in (65_534, 65_536))]
)
async def test_any_number_of_members_has_the_announced_length(count: int) -> None:
    """From 65,535 on a larger record stands at the end."""
    source, data = await made({f"{number}": b"" for number in range(count)})

    assert source.length == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count


async def test_a_member_of_five_gigabytes_and_one_behind_it_are_readable(tmp_path: Path) -> None:
    """zip64: sizes and offsets beyond 4 GiB, read by Python and by unzip. Zeros become holes."""
    source = await zip_of(Members({"first": b"1", "large": 5 << 30, "behind": b"2"}))
    at = 0
    with (tmp_path / "large.zip").open("wb") as file:
        async for piece in source.open():
            if any(piece[:100]) or any(piece[-100:]):
                file.seek(at)
                file.write(piece)
            at += len(piece)
    assert at == source.length

    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert [(info.filename, info.file_size) for info in archive.infolist()] == [
            ("first", 1),
            ("large", 5 << 30),
            ("behind", 1),
        ]
        assert archive.read("behind") == b"2"
    if shutil.which("unzip"):
        done = subprocess.run(
            ["unzip", "-p", "large.zip", "behind"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == b"2"


@pytest.mark.skipif(sys.platform != "linux", reason="the meter reads /proc")
async def test_memory_does_not_grow_with_the_size_of_the_members() -> None:
    """A zip a hundred times as large takes no more memory."""
    peaks = []
    for size in (10 * MIB, 1000 * MIB):
        source = await zip_of(Members({f"{part}": size // 4 for part in range(4)}))
        meter = MemoryMeter()
        meter.reset()
        async for _ in source.open():
            pass
        peaks.append(meter.peak())

    assert peaks[1] - peaks[0] <= ALLOWED


@pytest.mark.parametrize(("size", "words"), [(999, "gave more"), (1001, "gave only 1000")])
async def test_a_member_of_another_length_than_announced_ends_the_zip(
    size: int, words: str
) -> None:
    """Shorter or longer: what came before is no whole zip, and the error names the member."""
    with pytest.raises(SourceFailed, match=f"'b' had {size} bytes and {words}"):
        await made({"a": b"a", "b": bytes(1000), "c": b"c"}, {"b": size})


@pytest.mark.parametrize("error", [NotFound("it is gone"), StoreFailed("the disk failed")])
async def test_a_member_that_fails_ends_the_zip_and_is_named(error: SluiceError) -> None:
    """Nothing follows the failure, and no member stays open."""
    members = Members({"a": b"a", "b": error, "c": b"c"})
    source = await zip_of(members)
    got: list[bytes] = []
    with pytest.raises(SourceFailed, match=f"'b' could not be put into the zip: {error.detail}"):
        await drain(source, got)
    assert sum(map(len, got)) < (source.length or 0)
    assert members.open_now == 0


async def test_closing_the_stream_early_closes_the_open_member() -> None:
    """A client that goes away."""
    members = Members({"large": 100 * MIB, "other": 100 * MIB})
    source = await zip_of(members)
    pieces = source.open()
    for _ in range(5):
        await anext(pieces)
    assert members.open_now == 1
    await close_stream(pieces)

    assert members.open_now == 0


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (1, None), (500_000, 700_001), (3_000_000, None)]
)
async def test_it_can_be_read_again_from_anywhere(start: int, stop: int | None) -> None:
    """The same bytes each time, so that a broken transfer can be resumed."""
    source, whole = await made({"a": pattern(MIB), "b": pattern(2 * MIB, 7), "c": b"c"})

    assert source.reopenable
    assert b"".join([bytes(piece) async for piece in source.open(start, stop)]) == whole[start:stop]


async def test_a_member_of_unknown_size_makes_a_zip_of_unknown_length() -> None:
    """The zip is right all the same."""
    source, data = await made({"a": b"a", "b": pattern(MIB)}, {"b": None})

    assert source.length is None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("b") == pattern(MIB)


HOSTILE = [
    "../up",
    "a/../../b",
    "/abs",
    "a//b",
    "back\\slash",
    "..\\up",
    "C:/x",
    "c:x",
    "nul\0",
    "line\nend",
    "",
    "dir/",
    "\udcff",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    """Whatever system unpacks the zip gets files below the chosen folder only."""
    assert ZipContents().add(ZipMember(name, 1)) is not None


async def test_the_comment_counts_and_names_what_is_left_out() -> None:
    """In one line each, and after the first 40 only their number."""
    contents = ZipContents()
    for number in range(42):
        contents.leave_out(f"{number}\n", "why")
    members = Members({"good": b"1"})
    contents.add(ZipMember("good", 1))
    source = await contents.source(members.open)
    data = b"".join([bytes(piece) async for piece in source.open()])

    assert source.length == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["good"]
        lines = archive.comment.decode().splitlines()
    assert lines[0] == "Not in this archive, although meant: 42"
    assert lines[1] == "0\\n: why"
    assert (len(lines), lines[-1]) == (42, "and 2 more")


async def test_more_members_than_can_be_held_are_refused_before_the_first_byte() -> None:
    """The directory at the end of a zip is held in memory, so it has a bound."""
    contents = ZipContents(most=10)
    for number in range(10):
        contents.add(ZipMember(f"{number}", 0))
    with pytest.raises(TooLarge, match="More than 10 files"):
        contents.add(ZipMember("10", 0))
