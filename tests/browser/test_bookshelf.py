"""examples/bookshelf.py in Chromium: browser, Flask on gunicorn, a slow backend.

A file dropped on a book goes to that book's address at the backend. The bar is full only after the
backend has confirmed the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from browser.test_gateway import Reader
from browser.uploads_page import Complaints
from fix_wsgi import WsgiApp, running
from rude_peer import Exchange

pytestmark = pytest.mark.chromium

EXAMPLES = Path(__file__).parents[2] / "examples"
MakeFile = Callable[[str, int], Path]
MB = 1_000_000


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """The errors of the page; a test must leave none."""
    listened = Complaints()
    yield listened
    assert listened.found == []


@contextmanager
def shelf(
    context: BrowserContext, complaints: Complaints, folder: Path, act: Callable[[Exchange], object]
) -> Iterator[tuple[Page, WsgiApp]]:
    """The page, and the app behind it; the page is closed first."""
    folder.mkdir()
    with running("gunicorn gthread", folder, act, f"--chdir {EXAMPLES} bookshelf:app") as app:
        page = context.new_page()
        complaints.listen(page)
        page.goto(f"{app.url}/")
        expect(page.get_by_role("button", name="Add a file to Persuasion")).to_be_visible()
        try:
            yield page, app
        finally:
            page.close()


def drop_on(page: Page, title: str, path: Path) -> None:
    """Drop files on the book's heading, with the browser's own drag events."""
    box = page.get_by_role("heading", name=title).bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send(
            "Input.dispatchDragEvent",
            {"type": kind, "x": box["x"] + 5, "y": box["y"] + 5, "data": data},
        )
    devtools.detach()


@pytest.mark.torture
def test_bookshelf_bar_is_full_only_after_the_backends_success(
    context: BrowserContext, complaints: Complaints, tmp_path: Path, make_file: MakeFile
) -> None:
    """The backend stops after a part, and the bar stops too.

    It reads everything and waits: 99. It answers 201: 100.
    """
    backend = Reader()
    with shelf(context, complaints, tmp_path / "run", backend) as (page, app):
        drop_on(page, "Persuasion", make_file("persuasion.epub", 24 * MB))
        book = page.locator("#book-43")
        bar, status = book.get_by_role("progressbar"), book.locator(".status")
        for step in (6, 14):
            backend.allow(step * MB)
            near = "|".join(
                str(value) for value in range(100 * (step - 2) // 24, 100 * (step + 3) // 24)
            )
            expect(bar).to_have_attribute("aria-valuenow", re.compile(f"^({near})$"))
            page.wait_for_timeout(700)
            assert (
                step - 2 < float(bar.get_attribute("aria-valuenow") or 0) * 0.24 < step + 3
            )  # there it stays
        backend.allow(100 * MB)
        expect(status).to_contain_text("waiting for the destination's answer")
        expect(bar).to_have_attribute("aria-valuenow", "99")

        backend.say(lambda exchange: exchange.reply(201, {"Location": "/books/43/file"}))
        expect(status).to_contain_text("stored, finished in")
        expect(bar).to_have_attribute("aria-valuenow", "100")
        (exchange,) = app.peer.seen
        assert (exchange.method, exchange.target) == ("PUT", "/book/43/file")
        assert exchange.headers["content-length"] == str(24 * MB)
        assert not app.spools()
        expect(page.locator("#book-42").get_by_role("progressbar")).to_be_hidden()


def test_bookshelf_shows_the_backends_refusal_on_the_book(
    context: BrowserContext, complaints: Complaints, tmp_path: Path, make_file: MakeFile
) -> None:
    """The backend's refusal is shown with its own text below the book, and no bar is full."""

    def refuse(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(422, {"Content-Type": "text/plain"}, b"This is no book")

    with shelf(context, complaints, tmp_path / "run", refuse) as (page, _):
        drop_on(page, "Emma", make_file("emma.mp3", MB))
        expect(page.locator("#book-42 .status")).to_contain_text("This is no book")
        # The same file is refused again: no retry, but another file may be added.
        expect(page.locator("#book-42").get_by_role("button", name="Retry")).to_be_hidden()
        expect(page.get_by_role("button", name="Add a file to Emma")).to_be_visible()
        expect(page.locator("#book-42").get_by_role("progressbar")).to_be_hidden()
