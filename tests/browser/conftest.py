"""Fixtures of the browser tests.

One headless Chromium for each process of a run and a fresh context for each test, with its errors
recorded.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.slow_destination import SlowServer, start_slow_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Playwright

    from browser.uploads_page import UploadsPage

LACKING = find_spec("playwright") is None and os.environ.get("CI") != "true"
# Without Playwright only what needs no browser is collected; in CI the missing import fails.
collect_ignore_glob = ["test_[!p]*.py"] if LACKING else []

ARGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_report_header() -> list[str]:
    return (
        ["browser tests left out: Playwright is not installed (pip install playwright)"]
        if LACKING
        else []
    )


class DriversLoop:
    """Playwright's event loop, which calls itself running also between Playwright's calls.

    No asynchronous test can start its own loop then: between the modules it must rest.
    """

    def __init__(self) -> None:
        self._resting: asyncio.AbstractEventLoop | None = None

    def rest(self) -> None:
        self._resting = asyncio._get_running_loop()
        asyncio._set_running_loop(None)

    def go_on(self) -> None:
        if self._resting is not None:
            asyncio._set_running_loop(self._resting)
            self._resting = None


DRIVERS_LOOP = DriversLoop()


@pytest.fixture(scope="module", autouse=True)
def _loop_of_the_driver() -> Iterator[None]:
    DRIVERS_LOOP.go_on()
    yield
    DRIVERS_LOOP.rest()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One driver for all modules that a process runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver
        DRIVERS_LOOP.go_on()


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    # Each launch has a new user data folder. That a program is there has been checked
    # (tests/conftest.py).
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    browser = playwright.chromium.launch(executable_path=program, args=ARGS)
    yield browser
    DRIVERS_LOOP.go_on()
    browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 900, "height": 900}, locale="en-GB")
    context.set_default_timeout(15_000)
    yield context
    context.close()


OpenPage = Callable[..., "UploadsPage"]


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[OpenPage]:
    """Open the page of a server.

    At the end, no page may have thrown or violated the content security policy.
    """
    from browser.uploads_page import Complaints, UploadsPage

    complaints = Complaints()

    def open_page(url: str) -> UploadsPage:
        page = context.new_page()
        complaints.listen(page)
        page.goto(url + "/")
        page.locator("main").wait_for()  # shown when its texts are there and it takes files
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
