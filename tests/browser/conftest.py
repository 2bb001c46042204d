"""Fixtures of the browser tests: one headless Chromium a module, a fresh context a test, and what went wrong in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.slow_destination import SlowServer, start_slow_server
from browser.uploads_page import Complaints, UploadsPage
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """A module's own: the driver's event loop must have ended before any asynchronous test of another module begins."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    path = CHROMIUM if os.path.exists(CHROMIUM) else shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    browser = playwright.chromium.launch(executable_path=path, args=ARGS)
    yield browser
    browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 900, "height": 900}, locale="en-GB")
    context.set_default_timeout(15_000)
    yield context
    context.close()


OpenPage = Callable[..., UploadsPage]


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[OpenPage]:
    """Open the page of a server. At the end nothing may have broken the content security policy or thrown."""
    complaints = Complaints()

    def open_page(url: str) -> UploadsPage:
        page = context.new_page()
        complaints.listen(page)
        page.goto(url + "/")
        return UploadsPage(page)

    yield open_page
    assert complaints.found == []


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Callable[..., SlowServer]]:
    """Start a server whose destination is slow, late or full; see slow_destination.py."""
    running: list[SlowServer] = []

    def start(**weather: float) -> SlowServer:
        server = start_slow_server(tmp_path / f"slow{len(running)}", **weather)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """A file of a given size; large ones are sparse."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / "chosen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(os.urandom(min(size, 1000)))
            file.truncate(size)
        return path

    return make
