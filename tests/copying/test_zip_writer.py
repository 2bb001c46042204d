"""sluiceway.copying.zip_writer: a zip that is made while it flows is as long as it said, and whole or an error."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from copying.given_items import GivenItems
from sluiceway.copying.zip_writer import ZipSource, zipped
from sluiceway.errors import NotFound, SluiceError, SourceFailed, StoreFailed, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.stores.contract import Omitted
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import EDGES, ODD_KEYS, pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ALLOWED = 8 * MIB  # more peak for the large one: what allocators vary by


def never(omitted: Omitted) -> None:
    raise AssertionError(f"{omitted.name}: {omitted.detail}")


async def made(
    given: dict[str, bytes | int | SluiceError], told: dict[str, int | None] | None = None
) -> tuple[ZipSource, bytes]:
    source = await zipped(GivenItems(given, told), never)
    return source, b"".join([bytes(piece) async for piece in source.open()])


async def drain(source: ZipSource, got: list[bytes]) -> None:
    async for piece in source.open():
        got += [bytes(piece)]  # what came before a failure stays


async def test_every_size_comes_out_as_it_went_in_and_the_length_was_true() -> None:
    """Around the edges of blocks, empty ones included, with the time each was changed."""
    given: dict[str, bytes | int | SluiceError] = {f"edge/{size}": pattern(size) for size in EDGES}
    source, data = await made(given)

    assert source.length == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == given
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time[:3] for info in archive.infolist()} == {(2001, 9, 9)}


async def test_odd_keys_keep_their_names_in_python_and_in_unzip(tmp_path: Path) -> None:
    """Spaces, quotes, letters of every script, dots: the names are the keys, flagged as UTF-8."""
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


@pytest.mark.parametrize("count", [0, 1, 65_534, 65_535, 65_536])
async def test_any_number_of_members_has_the_length_that_was_told(count: int) -> None:
    """From 65,535 on a larger record stands at the end."""
    source, data = await made({f"{number}": b"" for number in range(count)})

    assert source.length == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count


async def test_a_member_of_five_gigabytes_and_what_comes_behind_it(tmp_path: Path) -> None:
    """zip64: sizes and offsets beyond 4 GiB, read by Python and by unzip. The zeros are holes of a sparse file."""
    source = await zipped(GivenItems({"first": b"1", "large": 5 << 30, "behind": b"2"}), never)
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
        told = subprocess.run(
            ["unzip", "-p", "large.zip", "behind"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert told.stdout == b"2"


@pytest.mark.skipif(sys.platform != "linux", reason="the meter reads /proc")
async def test_memory_does_not_grow_with_the_size_of_the_members() -> None:
    """A hundred times as much costs nothing more."""
    peaks = []
    for size in (10 * MIB, 1000 * MIB):
        source = await zipped(GivenItems({f"{part}": size // 4 for part in range(4)}), never)
        meter = MemoryMeter()
        meter.reset()
        async for _ in source.open():
            pass
        peaks.append(meter.peak())

    assert peaks[1] - peaks[0] <= ALLOWED


@pytest.mark.parametrize(("size", "words"), [(999, "gave more"), (1001, "gave only 1000")])
async def test_a_member_that_is_not_as_long_as_it_was_ends_it(size: int, words: str) -> None:
    """Shorter or longer: what came before is no whole zip, and the error says whose fault it is."""
    with pytest.raises(SourceFailed, match=f"'b' had {size} bytes and {words}"):
        await made({"a": b"a", "b": bytes(1000), "c": b"c"}, {"b": size})


@pytest.mark.parametrize("error", [NotFound("it is gone"), StoreFailed("the disk failed")])
async def test_a_member_that_fails_ends_it_and_is_named(error: SluiceError) -> None:
    """Nothing comes behind the failure, and no reading stays open."""
    origin = GivenItems({"a": b"a", "b": error, "c": b"c"})
    source = await zipped(origin, never)
    got: list[bytes] = []
    with pytest.raises(SourceFailed, match=f"'b' could not be put into the zip: {error.detail}"):
        await drain(source, got)
    assert sum(map(len, got)) < (source.length or 0)
    assert origin.open_now == 0


async def test_leaving_in_the_middle_closes_what_is_read() -> None:
    """A client that goes away."""
    origin = GivenItems({"large": 100 * MIB, "other": 100 * MIB})
    source = await zipped(origin, never)
    pieces = source.open()
    for _ in range(5):
        await anext(pieces)
    assert origin.open_now == 1
    await close_stream(pieces)

    assert origin.open_now == 0


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (1, None), (500_000, 700_001), (3_000_000, None)]
)
async def test_it_can_be_read_again_from_anywhere(start: int, stop: int | None) -> None:
    """The same bytes each time, so that a broken transfer can go on."""
    source, whole = await made({"a": pattern(MIB), "b": pattern(2 * MIB, 7), "c": b"c"})

    assert source.reopenable
    assert b"".join([bytes(piece) async for piece in source.open(start, stop)]) == whole[start:stop]


async def test_sizes_nobody_knows_still_make_a_zip() -> None:
    """Without a length, then."""
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


@pytest.mark.parametrize("key", HOSTILE)
async def test_names_that_lead_out_stay_out(key: str) -> None:
    """Whoever unpacks it, on whatever system, gets files below the folder it is unpacked in."""
    left: list[str] = []
    source = await zipped(
        GivenItems({"good": b"1", key: b"2"}), lambda omitted: left.append(omitted.name)
    )
    data = b"".join([bytes(piece) async for piece in source.open()])

    assert left == [key]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["good"]


async def test_more_members_than_can_be_held_are_refused_before_the_first_byte() -> None:
    """The directory at the end of a zip is held in memory, so it has a bound."""
    with pytest.raises(TooLarge, match="More than 10 files"):
        await zipped(GivenItems({f"{number}": b"" for number in range(11)}), never, most=10)
