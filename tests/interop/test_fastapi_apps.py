"""FastAPI apps with and without `add(app)`: the same answers, and which files were streamed.

Each story is one request to one small view (tests/fastapi_live_views.py). docs/interop.md has the
table.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_taking import eventually, noise
from fix_uvicorn import UvicornApp, uvicorn
from interop_page import MIB, InteropRow, check_block, measure_block
from raw_http import BOUNDARY
from rude_peer import Exchange, Peer
from sluiceway.testing.memory_meter import MemoryMeter

VIEWS = "fastapi_live_views:app"
SIZE = 3_000_001  # more than what stays in memory
FILE = object()  # stands for the bytes of the file that matters
BLOCK = noise(64 << 10)

Parts = list[tuple[str, str | None, Any]]
TITLE: Parts = [("title", None, b"T")]
ONE: Parts = [("file", "a.bin", FILE)]


@dataclass(frozen=True)
class Story:
    """One app: what it is, its view, what it gets, and what becomes of the file."""

    app: str
    path: str
    parts: Parts
    way: str = "streamed"
    later: str = ""  # the file that a background task writes


STORIES = [
    Story("fields before a `LiveUpload`", "/book", TITLE + ONE),
    Story("a field behind the file", "/book", ONE + TITLE, "spooled"),
    Story("an optional field that is not sent", "/optional", ONE, "spooled"),
    Story("the same with `Live(fields_first=True)`", "/first", TITLE + ONE),
    Story("a Pydantic model as `Form()`", "/shelf/model", TITLE + ONE),
    Story("a router twice, files in dependencies", "/again/shelf/depends", [
        ("key", None, b"k"), ("cover", "a", FILE)]),
    Story("a mounted app", "/sub/book", TITLE + ONE),
    Story("GZip, CORS and BaseHTTPMiddleware in front", "/stacked/book", TITLE + ONE),
    Story("two files, the second is large", "/two", [("a", "a", b"small"), ("b", "b", FILE)],
          "streamed, the first is spooled"),
    Story("`list[LiveUpload]`", "/many", [("files", "a", b"small"), ("files", "b", FILE)],
          "spooled"),
    Story("the first bytes, then `seek(0)`", "/sniffed", ONE),
    Story("`seek` to the middle first", "/sniffed?seek=2000000", ONE, "spooled"),
    Story("plain `def` with `shutil` and `file.file`", "/sync", [("number", None, b"1"), *ONE]),
    Story("sent on with httpx", "/forward", TITLE + ONE),
    Story("a StreamingResponse made of it", "/digests", ONE),
    Story("saved under a path", "/save", TITLE + ONE),
    Story("a background task reads the file", "/background?name=interop", ONE, "spooled",
          "interop"),
    Story("`UploadFile`, as before", "/stock", TITLE + ONE, "spooled by FastAPI"),
    Story("`await request.form()`, as before", "/form", TITLE + ONE, "spooled by Starlette"),
]  # fmt: skip


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[UvicornApp, UvicornApp]]:
    """With the line, and without it."""
    with (
        Peer(discards) as peer,
        uvicorn(VIEWS, tmp_path_factory.mktemp("with"), BACKEND=peer.url) as added,
        uvicorn(VIEWS, tmp_path_factory.mktemp("without"), BACKEND=peer.url, ADDED="no") as plain,
    ):
        yield added, plain


def discards(exchange: Exchange) -> None:
    """Takes any body without keeping it."""
    last = b""
    while data := exchange.recv_or_cut(256 << 10):
        last = (last + data)[-5:]
        if last == b"0\r\n\r\n":
            exchange.reply(201)
            return


def body_of(parts: Parts, size: int) -> sluiceway.Sized:
    """The form; FILE has `size` bytes."""
    pieces: list[tuple[bytes, int]] = []
    for name, filename, data in parts:
        given = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: text/x'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{given}\r\n\r\n'
        pieces += [(head.encode(), 1)]
        pieces += [(BLOCK, -size)] if data is FILE else [(data, 1)]
        pieces += [(b"\r\n", 1)]
    pieces += [(f"--{BOUNDARY}--\r\n".encode(), 1)]
    length = sum(-many if many < 0 else len(data) for data, many in pieces)

    def body() -> Iterator[bytes]:
        for data, many in pieces:
            if many > 0:
                yield data
            else:
                for at in range(0, -many, len(data)):
                    yield data[: -many - at]

    return sluiceway.Sized(body(), length)


def tell(app: UvicornApp, story: Story, size: int = SIZE) -> tuple[int, bytes, str]:
    """Status, content without what says `live`, and what became of the file."""
    app.log.take()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    body = body_of(story.parts, size)
    answer = requests.post(app.url + story.path, data=body, headers=headers, timeout=120)
    content = answer.content
    if story.later:
        later = app.folder / story.later
        eventually(lambda: later.exists() and later.read_text(), "the task has run")
        content += later.read_bytes()
        later.unlink()
    spooled = any("is spooled" in line for line in app.log.take())
    for word in (b"true", b"false", b"LiveUpload", b"UploadFile"):
        content = content.replace(word, b"")
    return answer.status_code, content, "spooled" if spooled else "streamed"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.app)
def test_the_answer_is_the_same_and_the_file_is_as_the_page_says(
    apps: tuple[UvicornApp, UvicornApp], story: Story
) -> None:
    added, plain = (tell(app, story) for app in apps)

    assert added[:2] == plain[:2]
    assert added[0] in (200, 201)
    if " by " not in story.way:
        assert added[2] == story.way.rpartition(" ")[2]
    for app in apps:
        assert not list(app.temporary.iterdir())


def test_the_page_names_these_apps() -> None:
    check_block("starlette", [InteropRow(story.app, story.way) for story in STORIES])


class Spools(threading.Thread):
    """Looks how many bytes of temporary files a server has at most."""

    def __init__(self, app: UvicornApp) -> None:
        super().__init__(daemon=True)
        self._app, self._done, self.most = app, threading.Event(), 0

    def run(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        total = 0
        folder = str(self._app.temporary)
        for link in Path(f"/proc/{self._app.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.readlink(link).startswith(folder):
                    total += os.stat(link).st_size
        return total

    def stop(self) -> int:
        self._done.set()
        self.join()
        return self.most


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_memory_and_temporary_bytes_for_256_mib(apps: tuple[UvicornApp, UvicornApp]) -> None:
    added = apps[0]
    rows = []
    for story in STORIES:
        tell(added, story)
        meter, spools = MemoryMeter(added.pid), Spools(added)
        meter.reset()
        before = meter.peak()
        spools.start()
        status, _, way = tell(added, story, 256 * MIB)
        assert status in (200, 201)
        assert " by " in story.way or way == story.way.rpartition(" ")[2]
        memory = meter.peak() - before
        rows.append(InteropRow(story.app, story.way, "same", memory, spools.stop()))
    measure_block("starlette", rows)
