"""Flask apps that worked go on working: each app answers the same with Sluiceway and without it."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import openpyxl
import pytest
import requests
from PIL import Image

import sluiceway
from fix_gateway import takes
from fix_wsgi import WsgiApp, running
from interop_page import MIB, InteropRow, check_block, measure_block
from sluiceway.testing import form
from sluiceway.testing.memory_meter import MemoryMeter

SMALL, LARGE = 3 * MIB, 256 * MIB  # beyond the replay window; what the page's figures are of
Part = tuple[str, Any] | tuple[str, Any, str]  # a field, or a file with its name


class Samples:
    """Files of one size, made when they are asked for; all but their ends are holes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        folder.mkdir(exist_ok=True)

    def raw(self) -> Path:
        return self._made("book.bin", lambda path: self._long(path))

    def table(self) -> Path:
        row = (b"1,two,\xc3\xbc," + b"x" * 1000 + b"\r\n") * 80

        def write(path: Path) -> None:
            with path.open("wb") as file:
                for _ in range(self.size // len(row)):
                    file.write(row)

        return self._made("table.txt", write)

    def picture(self) -> Path:
        """A bitmap: its size on the disk is that of its pixels."""
        side = int((self.size / 3) ** 0.5)
        return self._made(
            "picture.bmp", lambda path: Image.new("RGB", (side, side), "red").save(path)
        )

    def archive(self) -> Path:
        def write(path: Path) -> None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(self.raw(), "book.bin")

        return self._made("books.zip", write)

    def workbook(self) -> Path:
        def write(path: Path) -> None:
            book = openpyxl.Workbook()
            book.active.append(["one", 2, None])
            book.save(path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.write(self.raw(), "xl/media/book.bin")

        return self._made("book.xlsx", write)

    def _made(self, name: str, write: Callable[[Path], None]) -> Path:
        path = self.folder / name
        if not path.exists():
            write(path)
        return path

    def _long(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(b"begin\n")
            file.truncate(self.size)


@dataclass
class Visit:
    """One browser at one of the two apps."""

    url: str
    samples: Samples
    session: requests.Session = field(default_factory=requests.Session)
    answers: list[requests.Response] = field(default_factory=list)

    def get(self, path: str) -> str:
        found = self.session.get(f"{self.url}/{path}", timeout=60)
        return found.text

    def post(self, *parts: Part, query: str = "", headers: dict[str, str] | None = None) -> None:
        body = sluiceway.Form()
        for name, value, *filename in parts:
            if filename or isinstance(value, Path):
                body.file(name, value, filename=filename[0] if filename else None)
            else:
                body.field(name, value)
        sent = self.session.post(
            f"{self.url}/{query}", data=body, headers={**body.headers, **(headers or {})},
            timeout=600, allow_redirects=False,
        )  # fmt: skip
        self.answers.append(sent)

    def seen(self) -> list[object]:
        """The answers, but for the app's own path."""
        own = self.url.partition("//")[2].partition("/")[2]
        return [
            (one.status_code, one.headers.get("Content-Type"), one.headers.get("Location", "")
             .replace(own, ""), one.text.replace(own, ""))
            for one in self.answers
        ]  # fmt: skip


@dataclass(frozen=True)
class Story:
    """What a user of one app does. The last request brings the file that the page tells of."""

    app: str
    row: str
    way: str
    act: Callable[[Visit], None]


def a_file(visit: Visit) -> None:
    visit.post(("title", "T ü"), ("file", visit.samples.raw()))


def a_file_then_a_field(visit: Visit) -> None:
    visit.post(("file", visit.samples.raw()), ("title", "T"), ("submit", "Upload"))


def the_guide(visit: Visit) -> None:
    visit.post(("title", "no file"))
    visit.post(("file", b"", "a.exe"))
    empty = form({"file": (b"", "")})  # as browsers send an input that was left empty
    kind = {"Content-Type": empty["content_type"]}
    sent = visit.session.post(f"{visit.url}/", data=empty["data"], headers=kind, timeout=60)
    visit.answers.append(sent)
    a_file_then_a_field(visit)


def two_files(visit: Visit) -> None:
    visit.post(("file", b"1" * 99, "first.txt"), ("second", b"2" * 99, "second.txt"))
    visit.post(("file", visit.samples.raw()), ("second", b"2" * 99, "second.txt"))


def one_name(visit: Visit) -> None:
    visit.post(("other", b"1", "other.bin"))
    visit.post(("files", b"1" * 99, "a.txt"), ("t", "x"), ("files", visit.samples.raw()))


def some_files(visit: Visit) -> None:
    visit.post(("files", b"1" * 99, "a.txt"), ("t", "x"), ("files", visit.samples.raw()))


def names(visit: Visit) -> None:
    visit.post(("b", b"1" * 99, "a.txt"), ("b", b"2", "b.txt"), ("a", visit.samples.raw()))


def rows(visit: Visit) -> None:
    visit.post(("file", visit.samples.table()))


def a_zip(visit: Visit) -> None:
    visit.post(("file", visit.samples.archive()))


def a_picture(visit: Visit) -> None:
    visit.post(("file", visit.samples.picture()))


def a_workbook(visit: Visit) -> None:
    visit.post(("file", visit.samples.workbook()))


def with_query(visit: Visit) -> None:
    visit.post(("title", "T"), ("file", visit.samples.raw()), query="?q=5")


def a_form(visit: Visit) -> None:
    token = visit.get("token")
    visit.post(("csrf_token", token), ("title", "T" * 30), ("file", b"1", "a.exe"))
    visit.post(("title", "T"), ("file", b"1", "a.bin"))
    visit.post(
        ("csrf_token", token), ("title", "T"), ("file", visit.samples.raw()), ("submit", "1")
    )


def token_in_a_field(visit: Visit) -> None:
    visit.post(("file", b"1", "a.bin"))
    visit.post(("csrf_token", visit.get("token")), ("file", visit.samples.raw()))


def token_in_a_header(visit: Visit) -> None:
    visit.post(("file", b"1", "a.bin"))
    visit.post(("file", visit.samples.raw()), headers={"X-CSRFToken": visit.get("token")})


def after_a_login(visit: Visit) -> None:
    a_file(visit)
    visit.get("login")
    a_file(visit)


def three_times(visit: Visit) -> None:
    """The third one is one too many."""
    a_file(visit)
    visit.answers[:] = []
    visit.post(("file", visit.samples.raw()))
    visit.post(("file", b"1", "a.bin"))


def json(visit: Visit) -> None:
    for content in ({"title": "T"}, {"title": ""}):
        visit.answers.append(visit.session.post(f"{visit.url}/", json=content, timeout=60))


def a_small_and_a_large_one(visit: Visit) -> None:
    visit.post(("title", "T"), ("file", b"1", "a.bin"))
    a_file(visit)


STORIES = [
    Story("save", "`f.save(path)`, a field in front of the file", "streamed", a_file),
    Story("the_guide", "the view of Flask's guide, a button behind", "streamed", the_guide),
    Story("not_read", "a view that does not read its file", "streamed", a_file),
    Story("pieces", "`f.read(n)` until the end", "streamed", a_file),
    Story("lines", "`for line in f`", "streamed", rows),
    Story("text_and_csv", "`readline`, `TextIOWrapper`, `csv`", "streamed", rows),
    Story("sniff_and_rewind", "2 KiB, `seek(0)`, `save`", "streamed", a_file),
    Story("many_files", "a loop over `getlist`", "streamed", one_name),
    Story("every_name", "a loop over `request.files.items()`", "streamed", names),
    Story("passed_on", "`requests.post(url, data=f)`", "streamed", a_file),
    Story("values_and_query", "`request.values`, the field in front", "streamed", with_query),
    Story("a_class_of_views", "`MethodView`", "streamed", a_file),
    Story("an_async_view", "an async view", "streamed", a_file),
    Story("a_session", "`before_request` and a session", "streamed", a_file),
    Story("broken_views", "a view that fails, `errorhandler(500)`", "streamed", a_file),
    Story("csrf_by_field", "Flask-WTF: `CSRFProtect`, the field", "streamed", token_in_a_field),
    Story("login", "Flask-Login", "streamed", after_a_login),
    Story("limiter", "Flask-Limiter", "streamed", three_times),
    Story("restful", "Flask-RESTful: `reqparse`", "spooled", a_file),
    Story("restx", "Flask-RESTX: `reqparse`", "spooled", a_file),
    Story("arguments", "webargs with marshmallow", "streamed", a_file),
    Story("flask_wtf_form", "Flask-WTF: `FlaskForm`, `FileAllowed`, `FileSize`", "spooled", a_form),
    Story("flask_wtf_many", "Flask-WTF: `MultipleFileField`", "spooled", some_files),
    Story("csrf_by_header", "Flask-WTF: `CSRFProtect`, the header", "spooled", token_in_a_header),
    Story("all_fields_first", "`request.form.to_dict()`", "spooled", a_file),
    Story("a_field_behind_the_file", "a field behind the file, asked first", "spooled",
          a_file_then_a_field),
    Story("a_later_file_first", "a later file, asked first", "spooled", two_files),
    Story("size_by_seeking", "`seek(0, 2)`, `tell()`", "spooled", a_file),
    Story("all_of_it_then_again", "`f.read()`, `seek(0)`", "spooled", a_file),
    Story("a_zip", "`zipfile.ZipFile(f)`", "spooled", a_zip),
    Story("a_picture", "Pillow: `verify()`, `seek(0)`, `open`", "spooled", a_picture),
    Story("a_workbook", "openpyxl", "spooled", a_workbook),
    Story("a_spooled_view", "`@spooled`: the file twice", "spooled", a_file),
    Story("the_raw_body", "`request.get_data()`, then the form", "in memory", a_file),
    Story("missing_names", "a name that is missing: Werkzeug's 400", "spooled", a_file),
    Story("too_large", "`MAX_CONTENT_LENGTH`, `errorhandler(413)`", "refused",
          a_small_and_a_large_one),
    Story("json_form", "WTForms-JSON", "no file", json),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WsgiApp]:
    base = tmp_path_factory.mktemp("apps")
    with running("gunicorn gthread", base, takes, "flask_interop_apps:application") as app:
        yield app


def visited(served: WsgiApp, story: Story, mount: str, samples: Samples) -> Visit:
    visit = Visit(f"{served.url}/{mount}/{story.app}", samples)
    with visit.session:
        story.act(visit)
    return visit


def way_of(story: Story, visit: Visit) -> str:
    """What the app's header says of the file; the story's own words where there is none."""
    if visit.answers[-1].status_code == 413:
        return "refused"
    ways = [one.headers["X-Way"] for one in visit.answers if "X-Way" in one.headers]
    return ways[-1] if ways else story.way


def test_each_app_answers_the_same_with_and_without_the_line(
    served: WsgiApp, tmp_path: Path
) -> None:
    """The page tells which of them streamed."""
    samples, rows = Samples(tmp_path / "samples", SMALL), []
    for story in STORIES:
        plain, live = (visited(served, story, mount, samples) for mount in ("plain", "live"))
        same = plain.seen() == live.seen()
        assert same, f"{story.app}: {plain.seen()}\n{live.seen()}"
        rows.append(InteropRow(story.row, way_of(story, live)))

    assert not list(served.temporary.iterdir())
    check_block("flask", rows)


class Look:
    """The bytes in temporary files of some processes while a request runs, at most."""

    def __init__(self, served: WsgiApp) -> None:
        self._served, self.most, self._over = served, 0, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, sum(map(_temporary, self._served.pids)))


def _temporary(pid: int) -> int:
    total = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(link).endswith(" (deleted)"):
                total += link.stat().st_blocks * 512 or link.stat().st_size
    return total


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_what_each_app_costs_for_256_mib(served: WsgiApp, tmp_path: Path) -> None:
    samples, rows = Samples(tmp_path / "samples", LARGE), []
    for story in STORIES:
        visited(served, story, "live", Samples(tmp_path / "small", SMALL))
        meters = [MemoryMeter(pid) for pid in served.pids]
        rest = sum(meter.now() for meter in meters)
        for meter in meters:
            meter.reset()
        with Look(served) as look:
            live = visited(served, story, "live", samples)
        memory = sum(meter.peak() for meter in meters) - rest
        rows.append(InteropRow(story.row, way_of(story, live), "same", memory, look.most))

    measure_block("flask", rows)
