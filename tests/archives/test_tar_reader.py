"""Members of a tar are read unchanged; a false, damaged or cut archive is an error."""

from __future__ import annotations

import asyncio
import io
import random
import sys
import tarfile
from collections.abc import AsyncIterator

import pytest

from archives.given_tars import END, FORMATS, flow, head, member, pax, tar
from sluiceway.archives.tar_reader import TarReader
from sluiceway.errors import BadRequest, SluiceError, SourceFailed, TooLarge, Unsupported
from sluiceway.pipe.source import Buffer
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import ODD_KEYS, pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ALLOWED = 8 * MIB  # how much higher the large one may peak: allocators vary
SIZES = [0, 1, 511, 512, 513, 10_239, 10_240, 10_241, MIB + 1]


def tar_reader(data: bytes, cut: int = 100_000) -> TarReader:
    return TarReader(flow(data, cut), "x.tar")


async def read_all(
    reader: TarReader, got: dict[str, bytes], omitted: dict[str, str] | None = None
) -> None:
    """Read each file into `got`, and the reasons of omitted members into `omitted`."""
    while (found := await reader.next()) is not None:
        if found.omitted is not None:
            assert omitted is not None, found
            omitted[found.name] = found.omitted[1]
        elif found.kind == "file":
            data = b"".join([bytes(chunk) async for chunk in reader.data()])
            assert len(data) == found.size
            got[found.name] = data


async def read(data: bytes, cut: int = 100_000) -> dict[str, bytes]:
    got: dict[str, bytes] = {}
    await read_all(tar_reader(data, cut), got)
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

    assert await read(data, cut=cut) == given


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
async def test_odd_and_long_names_are_kept(form: int) -> None:
    """A name of over 100 bytes, or not ASCII, stands in an extended header."""
    given = {key: key.encode() for key in [*ODD_KEYS, "deep/" * 60 + "é" * 90]}

    assert (
        await read(tar(*(member(key, value) for key, value in given.items()), form=form)) == given
    )


async def test_unread_members_are_skipped() -> None:
    """Unread or partly read: the next member is complete."""
    archive = tar(member("a", pattern(5000)), member("b", pattern(300_000)), member("c", b"c"))
    reader = tar_reader(archive, cut=1000)
    await reader.next()
    await reader.next()
    await anext(reader.data())
    last = await reader.next()

    assert last is not None
    assert last.name == "c"
    assert [bytes(chunk) async for chunk in reader.data()] == [b"c"]


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
async def test_links_and_devices_are_omitted_with_a_reason(kind: bytes, why: str) -> None:
    """They lead elsewhere, or have no bytes."""
    got: dict[str, bytes] = {}
    omitted: dict[str, str] = {}
    await read_all(
        tar_reader(tar(member("odd", kind=kind, linkname="/etc/passwd"), member("b", b"b"))),
        got,
        omitted,
    )

    assert (got, omitted) == ({"b": b"b"}, {"odd": why})


LIES: dict[str, tuple[bytes, type[SluiceError]]] = {
    "a negative size": (head(size=b"-0000000001") + END, BadRequest),
    "a negative size in 256s": (head(size=b"\xff" * 12) + END, BadRequest),
    "a size beyond every number": (head(size=b"\x80" + b"\xff" * 11) + END, BadRequest),
    "a size that is no number": (head(size=b"1_0") + bytes(512) + END, BadRequest),
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
    "another archive behind it": (tar(member("a", b"a")) + tar(member("b", b"b")), SourceFailed),
    "zeros without end": (bytes(17 * MIB), SourceFailed),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_false_header_is_refused_first(lie: str) -> None:
    """At once, with a reason, without allocating what they ask for."""
    data, error = LIES[lie]
    meter = MemoryMeter() if sys.platform == "linux" else None
    if meter:
        meter.reset()
        before = meter.peak()
    with pytest.raises(error, match=r"x\.tar|is packed as a sparse file"):
        await read(data)
    if meter:
        assert meter.peak() - before <= ALLOWED


async def test_a_cut_archive_is_never_complete() -> None:
    """At any byte: members before are complete, and an error says that the rest is missing."""
    given = {"a": pattern(2000), "b": pattern(700, 5), "c": b""}
    whole = tar(*(member(key, value) for key, value in given.items()))
    end = 512 + 2048 + 512 + 1024 + 512
    for at in {*range(0, end, 97), *range(0, end, 512), end - 1, end}:
        got: dict[str, bytes] = {}
        with pytest.raises(SourceFailed):
            await read_all(tar_reader(whole[:at]), got)
        assert got.items() <= given.items()


async def test_nothing_is_read_after_an_error() -> None:
    """The reader does not go on to the member after a broken one."""
    reader = tar_reader(tar(member("a", pattern(5000)))[:1000])
    await reader.next()
    with pytest.raises(SourceFailed, match="in the middle of a file"):
        async for _ in reader.data():
            pass
    with pytest.raises(SourceFailed, match="in the middle of a file"):
        await reader.next()


@pytest.mark.skipif(sys.platform != "linux", reason="the meter reads /proc")
async def test_memory_does_not_grow_with_the_archive() -> None:
    """An archive a hundred times as large takes no more memory, and is read only on demand."""
    peaks = []
    for size in (10 * MIB, 1000 * MIB):
        requested = 0

        async def chunks(size: int = size) -> AsyncIterator[Buffer]:
            nonlocal requested
            yield head(b"large", b"%011o" % size)
            for _ in range(size // MIB):
                requested += 1
                yield bytes(MIB)
            yield END

        meter = MemoryMeter()
        meter.reset()
        reader = TarReader(chunks(), "x.tar")
        await reader.next()
        data = reader.data()
        await anext(data)
        await asyncio.sleep(0.05)
        assert requested <= 2
        async for _ in data:
            pass
        assert await reader.next() is None
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
            await read_all(tar_reader(data, chance.choice([512, 1000, 70_000])), got, {})
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
