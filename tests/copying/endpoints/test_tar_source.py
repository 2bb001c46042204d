"""Members of a tar are read unchanged; a hostile, damaged or cut archive is an error."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import random
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sluiceway.copying.contract import CopyItem
from sluiceway.copying.endpoints.tar_source import TarLimits, TarSource
from sluiceway.errors import (
    BadName,
    BadOrder,
    BadRequest,
    SluiceError,
    SourceFailed,
    TooLarge,
    Unsupported,
)
from sluiceway.pipe.source import Buffer, PassingSource
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import ODD_KEYS, pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ALLOWED = 8 * MIB  # how much higher the large one may peak: what allocators vary by
SIZES = [0, 1, 511, 512, 513, 10_239, 10_240, 10_241, MIB + 1]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "gzip-twice": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "gzip-filled-up": lambda data: gzip.compress(data) + bytes(1000),
    "bzip2-twice": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
    "xz-twice": lambda data: lzma.compress(data[:700]) + lzma.compress(data[700:]),
}


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1_000_000_000
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def head(
    name: bytes = b"a",
    size: bytes = b"00000000000",
    kind: bytes = b"0",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """A header made by hand, with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:136] = b"0000644\x000000000\x000000000\x00" + size.ljust(12, b"\0")
    block[136:148], block[148:156], block[156:157] = b"00000000000\0", b" " * 8, kind
    block[257 : 257 + len(magic)] = magic
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


async def flow(data: bytes, cut: int) -> AsyncIterator[Buffer]:
    for at in range(0, len(data), cut):
        yield data[at : at + cut]


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


@pytest.mark.parametrize("form", FORMATS, ids=["ustar", "gnu", "pax"])
@pytest.mark.parametrize("cut", [1000, 512, 65_537])
async def test_members_come_out_as_they_went_in(form: int, cut: int) -> None:
    """Every size around a block, in each form Python writes, however the stream is cut."""
    given = {f"folder/{size}.bin": pattern(size) for size in SIZES}
    data = tar(
        member("folder/", kind=tarfile.DIRTYPE),
        *(member(key, value) for key, value in given.items()),
        form=form,
    )

    assert await unpacked(data, cut=cut) == given


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("cut", [7, 100_000])
async def test_compression_is_detected_by_the_first_bytes(packed: str, cut: int) -> None:
    """Without a name or an option; several streams in a row are one, as pigz and pbzip2 write."""
    given = {"a": pattern(3000), "b": b"", "c": b"c" * 9000}

    assert (
        await unpacked(
            PACKED[packed](tar(*(member(key, value) for key, value in given.items()))), cut=cut
        )
        == given
    )


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
async def test_odd_and_long_names_are_kept(form: int) -> None:
    """A name of over 100 bytes, or not ASCII, stands in an extended header."""
    given = {key: key.encode() for key in [*ODD_KEYS, "deep/" * 60 + "é" * 90]}

    assert (
        await unpacked(tar(*(member(key, value) for key, value in given.items()), form=form))
        == given
    )


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
    ("kind", "why"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link to another member"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"Q", "neither a file nor a folder"),
    ],
)
async def test_links_and_devices_are_left_out_with_a_reason(kind: bytes, why: str) -> None:
    """They lead elsewhere, or have no bytes."""
    got: dict[str, bytes] = {}
    left: dict[str, str] = {}
    await unpack(
        tar_source(tar(member("odd", kind=kind, linkname="/etc/passwd"), member("b", b"b"))),
        got,
        left,
    )

    assert (got, left) == ({"b": b"b"}, {"odd": why})


def pax(record: bytes, kind: bytes = b"x") -> bytes:
    return head(b"pax", b"%011o" % len(record), kind) + record + bytes(-len(record) % 512)


LIES: dict[str, tuple[bytes, type[SluiceError]]] = {
    "a negative size": (head(size=b"-0000000001") + END, BadRequest),
    "a negative size in 256s": (head(size=b"\xff" * 12) + END, BadRequest),
    "a size beyond every number": (head(size=b"\x80" + b"\xff" * 11) + END, BadRequest),
    "a size that is no number": (head(size=b"1_0") + bytes(512) + END, BadRequest),
    "a file of 8 EiB": (head(size=b"\x80\0\0\0" + struct.pack(">Q", 1 << 62)) + END, TooLarge),
    "a long name of gigabytes": (head(size=b"77777777777", kind=b"L") + b"x" * 4096, TooLarge),
    "a link's long name of gigabytes": (
        head(size=b"77777777777", kind=b"K") + b"x" * 4096,
        TooLarge,
    ),
    "an extended head of gigabytes": (
        head(size=b"77777777777", kind=b"x") + b"9 a=bcde\n" * 100,
        TooLarge,
    ),
    "a global head of gigabytes": (
        head(size=b"77777777777", kind=b"g") + b"9 a=bcde\n" * 100,
        TooLarge,
    ),
    "heads without end": (pax(b"9 a=bcde\n") * 2000, TooLarge),
    "an extended size that is negative": (pax(b"11 size=-5\n") + head() + END, BadRequest),
    "an extended size that is no number": (pax(b"12 size=0x5\n") + head() + END, BadRequest),
    "an extended size with an underscore": (pax(b"12 size=1_0\n") + head() + END, BadRequest),
    "a record longer than its head": (pax(b"99 path=a\n") + head() + END, BadRequest),
    "a record of no length": (pax(b"0 path=a\n") + head() + END, BadRequest),
    "a record without an end": (pax(b"10 path=abc") + head() + END, BadRequest),
    "one size for all members": (pax(b"10 size=5\n", b"g") + head() + END, BadRequest),
    "one name for all members": (pax(b"10 path=x\n", b"g") + head() + END, BadRequest),
    "a folder with bytes": (head(b"d", b"00000001000", b"5") + bytes(512) + END, BadRequest),
    "a folder by its name, with bytes": (
        head(b"d/", b"00000001000") + bytes(512) + END,
        BadRequest,
    ),
    "a link with bytes": (head(b"l", b"00000001000", b"2") + bytes(512) + END, BadRequest),
    "a sparse file of GNU's first form": (head(kind=b"S", magic=b"ustar  \0") + END, Unsupported),
    "a sparse file in extended heads": (
        pax(b"22 GNU.sparse.major=1\n") + head() + END,
        Unsupported,
    ),
    "a wrong checksum": (head()[:148] + b"000000\0 " + head()[156:] + END, SourceFailed),
    "text": (b"these are no heads at all\n" * 100, SourceFailed),
    "nothing": (b"", SourceFailed),
    "a zip": (b"PK\x03\x04" + bytes(1000), Unsupported),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(1000), Unsupported),
    "another archive behind it": (tar(member("a", b"a")) + tar(member("b", b"b")), SourceFailed),
    "zeros without end": (bytes(17 * MIB), SourceFailed),
}


@pytest.mark.parametrize("lie", LIES)
async def test_false_headers_are_refused_first(lie: str) -> None:
    """At once, with a reason, without allocating what they ask for."""
    data, error = LIES[lie]
    meter = MemoryMeter() if sys.platform == "linux" else None
    if meter:
        meter.reset()
        before = meter.peak()
    with pytest.raises(error, match=r"x\.tar|is packed as a sparse file"):
        await unpacked(data)
    if meter:
        assert meter.peak() - before <= ALLOWED


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


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"]
)
async def test_a_bomb_is_refused_and_takes_no_memory(pack: Callable[[bytes], bytes]) -> None:
    """A few hundred KiB that would expand to gigabytes."""
    data = tar(member("zeros", bytes(256 * MIB)))
    bomb = pack(data)
    del data
    meter = MemoryMeter() if sys.platform == "linux" else None
    before = meter.now() if meter else 0
    if meter:
        meter.reset()
    side = tar_source(bomb, limits=TarLimits(free=64 * MIB))
    with pytest.raises(TooLarge, match="expands to more than 200 times"):
        await count(side, [])
    if meter:
        assert meter.peak() - before <= 24 * MIB  # the memory of the decompressors


async def count(side: TarSource, sizes: list[int]) -> None:
    async for item in side.items():
        async with side.open(item) as reading:
            async for piece in reading.source.open():
                assert len(piece) <= MIB
                sizes += [len(piece)]


async def test_an_xz_that_needs_gigabytes_is_refused() -> None:
    """The header has the dictionary's size; an archive of `xz -9` is read."""
    small = tar(member("a", b"a"))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 30}]
    assert await unpacked(lzma.compress(small, preset=9)) == {"a": b"a"}
    with pytest.raises(TooLarge, match="96 MiB of memory"):
        await unpacked(lzma.compress(small, filters=filters))


@pytest.mark.parametrize("packed", ["plain", "gzip", "bzip2", "xz"])
async def test_a_cut_archive_is_never_complete(packed: str) -> None:
    """At any byte: members before are complete, and an error says that the rest is missing."""
    given = {"a": pattern(2000), "b": pattern(700, 5), "c": b""}
    whole = PACKED[packed](tar(*(member(key, value) for key, value in given.items())))
    end = len(whole) if packed != "plain" else 512 + 2048 + 512 + 1024 + 512
    for at in {*range(0, end, 97), *range(0, end, 512), end - 1, end}:
        if packed != "plain" and at == end:
            continue
        got: dict[str, bytes] = {}
        with pytest.raises(SourceFailed):
            await unpack(tar_source(whole[:at]), got)
        assert got.items() <= given.items()


async def test_nothing_is_read_after_an_error() -> None:
    """The reader does not go on to the member after a broken one."""
    side = tar_source(tar(member("a", pattern(5000)))[:1000])
    items = side.items()
    item = await anext(items)
    with pytest.raises(SourceFailed, match="in the middle of a file"):
        await drain(side, item)
    with pytest.raises(SourceFailed, match="in the middle of a file"):
        await anext(items)


async def drain(side: TarSource, item: CopyItem) -> None:
    async with side.open(item) as reading:
        async for _ in reading.source.open():
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="the meter reads /proc")
async def test_memory_does_not_grow_with_the_archive() -> None:
    """An archive a hundred times as large takes no more memory, and is read only on demand."""
    peaks = []
    for size in (10 * MIB, 1000 * MIB):
        asked = 0

        async def chunks(size: int = size) -> AsyncIterator[Buffer]:
            nonlocal asked
            yield head(b"large", b"%011o" % size)
            for _ in range(size // MIB):
                asked += 1
                yield bytes(MIB)
            yield END

        meter = MemoryMeter()
        meter.reset()
        side = TarSource(PassingSource(chunks()), "x.tar")
        async for item in side.items():
            async with side.open(item) as reading:
                pieces = reading.source.open()
                await anext(pieces)
                await asyncio.sleep(0.05)
                assert asked <= 2
                async for _ in pieces:
                    pass
        peaks.append(meter.peak())

    assert peaks[1] - peaks[0] <= ALLOWED


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Bytes changed, removed or repeated; mostly with right checksums, to test more than those."""
    data = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        kind, at = chance.random(), chance.randrange(len(data))
        if kind < 0.6:
            data[at] = chance.randrange(256)
        elif kind < 0.8:
            del data[at : at + chance.choice([1, 100, 512])]
        else:
            data[at:at] = data[chance.randrange(len(data)) :][:512]
        data = data or bytearray(1)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar" and chance.random() < 0.7:
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


async def test_a_damaged_archive_is_refused_or_read_as_by_the_standard_library() -> None:
    """2,000 damaged archives: an error of this package, or exactly the members of tarfile."""
    chance, read = random.Random(7), 0
    wholes = [
        tar(
            member("a/b", b"x" * 700),
            member("é" * (40 if form == tarfile.USTAR_FORMAT else 90), b"y" * 10),
            member("link", kind=tarfile.SYMTYPE, linkname="a"),
            member("folder", kind=tarfile.DIRTYPE),
            member("c", b"z" * 1500),
            form=form,
        )
        for form in FORMATS
    ]
    for _ in range(2000):
        data = damaged(chance.choice(wholes), chance)
        got: dict[str, bytes] = {}
        try:
            await unpack(tar_source(data, chance.choice([512, 1000, 70_000])), got, {})
        except SluiceError:
            continue
        read += 1
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = {
                info.name.removeprefix("./"): archive.extractfile(info)
                for info in archive
                if info.isfile()
            }
            assert got == {name: file.read() for name, file in files.items() if file is not None}
    assert read > 100
