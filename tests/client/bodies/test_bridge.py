"""sluiceway.client.bodies.bridge: every byte in order, little in between, and an end that dies is
seen at the other."""

from __future__ import annotations

import asyncio
import csv
import io
import pickle
import random
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sluiceway.client.bodies.bridge import Bridge, BridgeReader, BridgeWriter
from sluiceway.errors import Cancelled, SourceFailed, TooSlow

KIB = 1 << 10
DATA = random.Random(7).randbytes(700_001)


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run `work` beside the test; what it raised is in the list when the thread has ended."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("limit", [1, 1000, 1 << 20])
@pytest.mark.parametrize("step", [60, 4000, 300_000])
def test_every_byte_crosses_in_order(limit: int, step: int) -> None:
    """Whatever the sizes of writes, reads and what may wait between."""
    data = DATA[: min(len(DATA), limit * 10_000, step * 1000)]  # each byte alone is slow

    def give(out: BridgeWriter) -> None:
        for at in range(0, len(data), step):
            assert out.write(memoryview(data)[at : at + step]) == len(data[at : at + step])

    sizes = random.Random(limit * step)
    with Bridge.feed(give, limit) as reader:
        got = bytearray()
        while piece := reader.read(sizes.choice([1, 7, 4096, 100_000])):
            got += piece
        assert reader.read(10) == b""

    assert got == data


def test_a_read_is_full_until_the_end() -> None:
    """As files do: fewer bytes than asked for mean the end, so a tar block is never half read."""
    bridge = Bridge()

    def give() -> None:
        with bridge.writer as out:
            out.write(b"x" * 7)
            time.sleep(0.05)
            out.write(b"y" * 7)

    thread, _ = in_thread(give)

    assert bridge.reader.read(10) == b"x" * 7 + b"y" * 3
    assert bridge.reader.read(10) == b"yyyy"
    assert bridge.reader.read(10) == b""
    thread.join()


def test_no_more_waits_between_than_the_limit() -> None:
    """A writer whose reader does not read stands still at the limit."""
    bridge, written = Bridge(limit=64 * KIB), []

    def give() -> None:
        for _ in range(100):
            bridge.writer.write(bytes(10 * KIB))
            written.append(10 * KIB)

    thread, raised = in_thread(give)
    time.sleep(0.3)
    stood = sum(written)
    bridge.reader.close()
    thread.join(5)

    assert stood <= 64 * KIB
    assert isinstance(raised[0], Cancelled)


def test_tiny_writes_do_not_become_tiny_pieces() -> None:
    """The pipes people build send a piece a write: a hundred thousand of 60 bytes took minutes."""

    def give(out: BridgeWriter) -> None:
        for _ in range(20_000):
            out.write(b"x" * 60)

    sizes = [len(piece) for piece in Bridge.feed(give)]

    assert sum(sizes) == 1_200_000
    assert len(sizes) < 200


def test_slow_bytes_are_passed_on_soon() -> None:
    """An iteration does not wait for a piece to fill up."""
    bridge = Bridge()
    bridge.writer.write(b"first")
    began = time.monotonic()

    assert next(iter(bridge.reader)) == b"first"
    assert time.monotonic() - began < 10  # a piece fills up never


# Ends that go away


def test_the_reader_raises_the_producers_error() -> None:
    """After the bytes before it: half a file never looks whole."""

    def give(out: BridgeWriter) -> None:
        out.write(b"half")
        raise ZeroDivisionError("by zero")

    reader = Bridge.feed(give)
    assert reader.read1() == b"half"
    with pytest.raises(SourceFailed, match="ZeroDivisionError: by zero") as caught:
        reader.read1()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_close_before_a_failure_is_no_end() -> None:
    """A `with` inside the producer closes the writer while its exception is on the way out; `feed`
    knows better."""

    def give(out: BridgeWriter) -> None:
        with io.TextIOWrapper(out) as text:
            text.write("half")
            raise ValueError("no")

    with pytest.raises(SourceFailed, match="ValueError: no"):
        Bridge.feed(give).read()


def test_a_block_left_by_an_exception_is_a_failure() -> None:
    bridge = Bridge()

    def write_half() -> None:
        with bridge.writer as out:
            out.write(b"half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        write_half()
    with pytest.raises(SourceFailed, match="KeyError"):
        bridge.reader.read()


def test_a_writer_that_is_dropped_is_a_failure() -> None:
    """Its thread ended without a word: the reader does not wait for it."""
    bridge = Bridge()
    reader = bridge.reader
    bridge.writer.write(b"half")
    del bridge
    with pytest.raises(SourceFailed, match="dropped without being closed"):
        reader.read()


@pytest.mark.parametrize("how", ["closed", "dropped", "failed"])
def test_a_reader_that_leaves_stops_the_writer(how: str) -> None:
    """Also one that stands still in a write."""
    bridge = Bridge(limit=1000)
    writer, readers = bridge.writer, [bridge.reader]
    del bridge
    thread, raised = in_thread(lambda: writer.write(bytes(5000)))
    time.sleep(0.1)
    if how == "failed":
        readers[0].fail(ConnectionResetError("the peer"))
    elif how == "closed":
        readers[0].close()
    readers.clear()
    thread.join(5)

    assert isinstance(raised[0], Cancelled)
    assert isinstance(raised[0].__cause__, ConnectionResetError) is (how == "failed")


def test_an_end_that_hangs_is_given_up() -> None:
    """Neither side waits for ever for one that lives and does nothing."""
    slow = Bridge(limit=10, timeout=0.1)
    with pytest.raises(TooSlow, match="reader took nothing"):
        slow.writer.write(bytes(100))
    mute = Bridge(timeout=0.1)
    with pytest.raises(TooSlow, match="writer gave nothing"):
        mute.reader.read(1)


def test_closed_ends_are_closed() -> None:
    bridge = Bridge()
    bridge.writer.close()
    bridge.writer.close()
    with pytest.raises(Cancelled, match="closed"):
        bridge.writer.write(b"x")
    assert bridge.reader.read() == b""
    bridge.reader.close()
    with pytest.raises(Cancelled, match="closed"):
        bridge.reader.read(1)


def test_cancelling_an_asynchronous_reader_stops_the_writer() -> None:
    bridge = Bridge(limit=1000)

    async def read() -> int:
        return sum([len(piece) async for piece in bridge.reader])

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with pytest.raises(Cancelled):
        bridge.writer.write(b"x")


# Producers that only write


def tar(out: BridgeWriter) -> None:
    with tarfile.open(fileobj=out, mode="w|") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = len(DATA)
        archive.addfile(info, io.BytesIO(DATA))


def zipped(out: BridgeWriter) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.bin", DATA)


def untar(reader: BridgeReader) -> bytes:
    with tarfile.open(fileobj=reader, mode="r|") as archive:
        member = archive.next()
        assert member is not None
        file = archive.extractfile(member)
        assert file is not None
        return file.read()


def unzip(reader: BridgeReader) -> bytes:
    return zipfile.ZipFile(io.BytesIO(reader.read())).read("a.bin")


@pytest.mark.parametrize(("give", "take"), [(tar, untar), (zipped, unzip)], ids=["tar", "zip"])
def test_archives_cross(
    give: Callable[[BridgeWriter], None], take: Callable[[BridgeReader], bytes]
) -> None:
    with Bridge.feed(give, limit=10_000) as reader:
        assert take(reader) == DATA


def test_rows_and_objects_cross(tmp_path: Path) -> None:
    """csv writes text, pickle reads lines and blocks."""

    def rows(out: BridgeWriter) -> None:
        with io.TextIOWrapper(out, newline="") as text:
            csv.writer(text).writerows([[number, "x"] for number in range(1000)])

    assert Bridge.feed(rows).read().count(b"\r\n") == 1000
    assert pickle.loads(Bridge.feed(lambda out: pickle.dump({"a": DATA}, out)).read()) == {
        "a": DATA
    }
