"""`copy` of what a program has in hand: open files, bytes, BytesIO, iterables; text is refused."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_server import RunningServer, start_server
from fix_taking import noise

DATA = noise(700_001)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("given") / "root")
    yield running
    running.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "book.pdf"
    path.write_bytes(DATA)
    return path


def pieces() -> Iterator[bytes]:
    for at in range(0, len(DATA), 100_000):
        yield DATA[at : at + 100_000]


class Duck:
    """Reads like a file and is none; a framework's live file is such an object."""

    def __init__(self) -> None:
        self._file = io.BytesIO(DATA)
        self.filename = "duck.bin"
        self.content_type = "image/png"

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def pour(descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(DATA)


def opened(file: Path, kind: str) -> Any:
    if kind == "buffered":
        return file.open("rb")
    if kind == "raw":
        return file.open("rb", buffering=0)
    if kind == "temporary":
        spool = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - its test closes it
        spool.write(DATA)
        spool.seek(0)
        return spool
    if kind == "gzip":
        with gzip.open(f"{file}.gz", "wb") as packed:
            packed.write(DATA)
        return gzip.open(f"{file}.gz", "rb")
    if kind == "pipe":
        reading, writing = os.pipe()  # what a program's output is
        threading.Thread(target=pour, args=(writing,)).start()
        return os.fdopen(reading, "rb")
    made: dict[str, Any] = {
        "bytes": DATA,
        "bytearray": bytearray(DATA),
        "memoryview": memoryview(DATA),
        "BytesIO": io.BytesIO(DATA),
        "generator": pieces(),
        "list": list(pieces()),
        "duck": Duck(),
    }
    return made[kind]


KINDS = ["buffered", "raw", "temporary", "gzip", "pipe", "bytes", "bytearray", "memoryview"]
KINDS += ["BytesIO", "generator", "list", "duck"]


@pytest.mark.parametrize("kind", KINDS)
def test_content_is_sent_whole(server: RunningServer, file: Path, kind: str) -> None:
    """To a server by PUT; the receipt has its size and digest."""
    content = opened(file, kind)
    try:
        url = f"{server.url}/files/{kind}"
        receipt = sluiceway.copy(content, url)
        assert receipt.size == len(DATA)
        assert requests.get(url, timeout=10).content == DATA
    finally:
        if hasattr(content, "close"):
            content.close()


def test_names_and_types_come_along(server: RunningServer, file: Path, tmp_path: Path) -> None:
    """An open file has its name, a duck its filename and type, bytes have none."""
    with file.open("rb") as book:
        receipt = sluiceway.copy(book, f"{server.url}/files/a/")
    assert receipt.location.endswith("/files/a/book.pdf")
    assert requests.get(receipt.location, timeout=10).headers["Content-Type"] == "application/pdf"
    duck = sluiceway.copy(Duck(), f"{server.url}/files", form={"title": "x"})
    assert duck.answer is not None
    assert "duck.bin" in duck.location
    with pytest.raises(sluiceway.SluiceError, match="The given content has no name"):
        sluiceway.copy(DATA, f"{server.url}/files/a/")
    assert sluiceway.copy(DATA, f"{server.url}/files/a/", name="b.txt").size == len(DATA)
    place = f"sqlite:///{tmp_path}/x.db"
    assert sluiceway.copy(io.BytesIO(DATA), f"{place}/k").size == len(DATA)
    with file.open("rb") as book:
        assert sluiceway.copy(book, f"{place}/shelf/").location.endswith("x.db/shelf/book.pdf")
    sluiceway.copy(b"local", tmp_path / "local.txt")
    assert (tmp_path / "local.txt").read_bytes() == b"local"


def test_a_file_is_read_from_its_position_and_stays_open(server: RunningServer, file: Path) -> None:
    with file.open("rb") as book:
        book.seek(1000)
        receipt = sluiceway.copy(book, f"{server.url}/files/rest")
        assert receipt.size == len(DATA) - 1000
        assert not book.closed
    assert requests.get(f"{server.url}/files/rest", timeout=10).content == DATA[1000:]


def test_lengths_are_kept(server: RunningServer) -> None:
    """Too few and too many bytes are errors, and nothing is stored."""
    for size, words in ((len(DATA) + 1, "ended after"), (len(DATA) - 1, "more than its")):
        with pytest.raises(sluiceway.SluiceError, match=words):
            sluiceway.copy(pieces(), f"{server.url}/files/wrong", size=size)
    with pytest.raises(sluiceway.SluiceError, match="the content has 3"):
        sluiceway.copy(b"abc", f"{server.url}/files/wrong", size=4)
    assert requests.get(f"{server.url}/files/wrong", timeout=10).status_code == 404


class TextDuck(Duck):
    def read(self, size: int = -1) -> Any:
        return "text"


@pytest.mark.parametrize("kind", ["text file", "StringIO", "duck", "texts", "number", "closed"])
def test_what_is_no_binary_content_is_refused_in_words(
    server: RunningServer, file: Path, kind: str
) -> None:
    with file.open(encoding="latin-1") as text, file.open("rb") as closed:
        closed.close()
        made: dict[str, tuple[Any, str]] = {
            "text file": (text, "open it with mode 'rb'"),
            "StringIO": (io.StringIO("x"), "open it with mode 'rb'"),
            "duck": (TextDuck(), "open it with mode 'rb'"),
            "texts": (["a", "b"], "open it with mode 'rb'|bytes"),
            "number": (42, "not int"),
            "closed": (closed, "closed file"),
        }
        content, words = made[kind]
        with pytest.raises(sluiceway.SluiceError, match=words):
            sluiceway.copy(content, f"{server.url}/files/refused")
    assert requests.get(f"{server.url}/files/refused", timeout=10).status_code == 404


class Awaited:
    """A file that is read with await, as Starlette's and aiofiles'."""

    filename = "awaited.bin"

    def __init__(self) -> None:
        self._file = io.BytesIO(DATA)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


async def chunks() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


async def test_acopy_takes_files_that_are_read_with_await(
    server: RunningServer, file: Path
) -> None:
    with file.open("rb") as book:
        contents: dict[str, Any] = {
            "file": book,
            "awaited": Awaited(),
            "chunks": chunks(),
            "bytes": DATA,
        }
        for name, content in contents.items():
            receipt = await sluiceway.acopy(content, f"{server.url}/files/async/{name}")
            assert receipt.size == len(DATA)
            assert requests.get(receipt.location, timeout=10).content == DATA


# `ru_maxrss` would begin with the peak of the process that starts this one: Linux keeps it.
PEAK = """
import sys, sluiceway
from sluiceway.testing.memory_meter import MemoryMeter
sluiceway.copy(b"warm", sys.argv[1] + "w", force=True)
meter = MemoryMeter()
meter.reset()
before = meter.now()
with open("/dev/zero", "rb") as zeros:
    sluiceway.copy((zeros.read(1 << 20) for _ in range(96)), sys.argv[1] + "m", force=True)
print(meter.peak() - before)
"""


def test_an_iterable_of_any_length_takes_little_memory(server: RunningServer) -> None:
    """96 MiB from a generator cost less than 24 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, f"{server.url}/files/peak-"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ},
    )
    assert int(done.stdout) < 24 << 20
