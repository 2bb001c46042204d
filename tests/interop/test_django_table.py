"""The block of Django in docs/interop.md: which apps work as before, and what a large file costs.

What `test_django_shop` compares for each of them holds here for 256 MiB.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from PIL import Image

from fix_django_shop import OURS, UVICORN, Shop, shop
from fix_postgres import Database
from fix_s3 import Objects
from fix_taking import noise
from interop.test_django_shop import made_table, other_in_s3, stored_in
from interop_page import MIB, InteropRow, check_block, measure_block
from sluiceway import Form
from sluiceway.testing.memory_meter import MemoryMeter

SIZE = 256 * MIB
# Freed memory goes back to the system at once: what the C library keeps for the next file, up to
# 40 MiB behind a file for S3, would be measured with that file, or with none.
FREED = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
Send = Callable[[Shop, Path], requests.Response]


@dataclass
class Peaks:
    """Bytes that a site needed at most."""

    memory: int = 0
    temporary: int = 0


def form(path: str, field: str, *, csrf: str = "field", **fields: str) -> Send:
    """A form with one large file, which the client does not hold in memory."""

    def send(site: Shop, source: Path) -> requests.Response:
        token, headers = site.token(), {"Referer": site.url}
        if csrf == "header":
            headers["X-CSRFToken"] = token
        elif csrf:
            fields["csrfmiddlewaretoken"] = token
        body = Form({"title": "large", **fields}).file(field, source)
        return site.session.post(
            site.url + path, data=body, headers={**headers, **body.headers}, timeout=300
        )

    return send


def raw(site: Shop, source: Path) -> requests.Response:
    with source.open("rb") as file:
        return site.session.put(site.url + "api/raw/a.bin", data=file, timeout=300)


def admin(site: Shop, source: Path) -> requests.Response:
    site.post("admin/login/", {"username": "root", "password": "secret", "next": "/admin/"}, {})
    inline = {"chapter_set-TOTAL_FORMS": "0", "chapter_set-INITIAL_FORMS": "0"}
    return form("admin/django_shop/book/add/", "file", **inline)(site, source)


SET = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0", "form-0-title": "one"}
CHAPTERS = {"chapter_set-TOTAL_FORMS": "1", "chapter_set-INITIAL_FORMS": "0"}

# The app, where it stores, what becomes of the file, how it is sent, and the answer.
APPS: list[tuple[str, str, str, Send, int]] = [
    ("ModelForm, files in a folder", "folder", "streamed", form("form/book", "file"), 201),
    ("ModelForm, files in S3", "s3", "streamed", form("form/book", "file"), 201),
    ("ModelForm, files in PostgreSQL", "postgres", "streamed", form("form/book", "file"), 201),
    ("upload_to is a function, S3", "s3", "streamed", form("form/called", "called"), 201),
    ("ImageField", "folder", "streamed", form("form/picture", "image"), 201),
    ("a validator reads the first bytes", "s3", "streamed", form("form/magic", "spell"), 201),
    ("a field of django-storages", "s3", "streamed", form("form/elsewhere", "elsewhere"), 201),
    ("formset", "folder", "streamed", form("formset", "form-0-file", **SET), 200),
    ("inline formset", "folder", "streamed", form("inline", "chapter_set-0-text", **CHAPTERS), 200),
    ("admin: add", "folder", "streamed", admin, 200),
    ("REST framework: serializer", "s3", "streamed", form("api/books/", "file", csrf=""), 201),
    ("REST framework: FileUploadParser", "folder", "streamed", raw, 201),
    ("CSRF token in the header", "s3", "streamed", form("form/book", "file", csrf="header"), 201),
    ("CSRF token missing: 403", "s3", "streamed", form("form/book", "file", csrf=""), 403),
    ("a form that is not valid", "s3", "streamed", form("form/book", "file", title=""), 422),
    ("async view under ASGI", "asgi", "spooled by Django", form("looks", "file"), 200),
]  # fmt: skip


def test_the_page_names_the_apps() -> None:
    check_block("django", [InteropRow(app, way) for app, _, way, _, _ in APPS])


@pytest.mark.torture
def test_what_256_mib_cost(
    tmp_path_factory: pytest.TempPathFactory, s3: Objects, database: Database
) -> None:
    """Memory of each site and temporary files of each app; the answer is that of a small file."""
    base = tmp_path_factory.mktemp("table")
    small, large = (sources(base / f"{size}", size) for size in (MIB, SIZE))
    rows: list[InteropRow] = []
    with ExitStack() as stack:
        buckets, table = (s3.fresh(), s3.fresh()), made_table(database)
        settings = {
            "folder": OURS,
            "asgi": OURS,
            "s3": other_in_s3(stored_in(s3.url(buckets[0], "media")), s3, buckets[1]),
            "postgres": stored_in(f"{database.url}&table={table}"),
        }
        sites = {
            name: stack.enter_context(
                shop(base / name, each, s3.env | FREED, *([UVICORN] if name == "asgi" else []))
            )
            for name, each in settings.items()
        }
        for app, place, _, send, status in APPS:  # a small file: it loads what the app needs
            sites[place].empty()
            assert send(sites[place], small(app)).status_code == status, app
        most = dict.fromkeys(sites, 0)
        for app, place, way, send, status in APPS:
            site = sites[place]
            site.empty()
            with watched(site) as peaks:
                answer = send(site, large(app))
            assert answer.status_code == status, (app, answer.text[:500])
            assert (peaks.temporary > 0) == way.startswith("spooled"), app
            most[place] = max(most[place], peaks.memory)
            rows.append(InteropRow(app, way, temporary=peaks.temporary))
            site.empty()
    # How many parts are in memory at the same time differs from file to file, not from app to app.
    needed = [most[place] for _, place, *_ in APPS]
    measured = zip(rows, needed, strict=True)
    measure_block("django", [replace(row, memory=size) for row, size in measured])


def sources(folder: Path, size: int) -> Callable[[str], Path]:
    """The file for an app, of so many bytes; a picture has its bytes behind the picture."""
    folder.mkdir()
    block = noise(MIB)
    for name in ("a.bin", "a.png"):
        head = io.BytesIO(b"magic")
        if name == "a.png":
            Image.new("RGB", (40, 30)).save(head, "JPEG")
        with (folder / name).open("wb") as file:
            file.write(head.getvalue())
            for _ in range(size // MIB):
                file.write(block)
            file.truncate(size)
    return lambda app: folder / ("a.png" if app == "ImageField" else "a.bin")


@contextmanager
def watched(site: Shop) -> Iterator[Peaks]:
    """Looks at the memory and the temporary files of all processes of a site."""
    peaks, stop = Peaks(), threading.Event()
    meters = [MemoryMeter(pid) for pid in site.pids()]
    for meter in meters:
        meter.reset()
    before = sum(meter.now() for meter in meters)

    def look() -> None:
        while not stop.wait(0.02):
            peaks.temporary = max(peaks.temporary, open_bytes(site))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()
    peaks.memory = sum(meter.peak() for meter in meters) - before


def open_bytes(site: Shop) -> int:
    """Bytes of files in the site's temporary folder, of those without a name too."""
    sizes: dict[int, int] = {}
    for pid in site.pids():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(entry).startswith(str(site.temporary)):
                    status = entry.stat()
                    sizes[status.st_ino] = status.st_size
            except OSError:
                continue  # closed meanwhile
    return sum(sizes.values())
