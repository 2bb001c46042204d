"""Fixtures of the browser tests.

One headless Chromium for each process of a run, with a context that tests share, or a fresh one for
a test that asks for it. The errors of each page are recorded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.engines import Engines
from browser.shared_context import LOOKS, TIMEOUT, SharedContext
from browser.slow_destination import SlowServer, start_slow_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from browser.parts_page import OpenParts, PartsPage
    from browser.uploads_page import UploadsPage

LACKING = find_spec("playwright") is None and os.environ.get("CI") != "true"
# Without Playwright only what needs no browser is collected; in CI the missing import fails.
collect_ignore_glob = ["test_[!p]*.py"] if LACKING else []


def pytest_report_header() -> list[str]:
    return (
        ["browser tests left out: Playwright is not installed (pip install playwright)"]
        if LACKING
        else []
    )


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """One driver and one Chromium for all modules that a process runs."""
    from playwright.sync_api import expect

    expect.set_options(timeout=TIMEOUT)
    engines = Engines(tmp_path_factory.mktemp("engines"))
    yield engines
    engines.stop()


@pytest.fixture(scope="module", autouse=True)
def _loop_of_the_driver(engines: Engines) -> Iterator[None]:
    engines.go_on()
    yield
    engines.rest()


@pytest.fixture(autouse=True)
def _engines_live(engines: Engines) -> Iterator[None]:
    """The test that loses the driver or a browser fails; the next one gets new ones."""
    yield
    if last_words := engines.death():
        pytest.fail(last_words, pytrace=False)


@pytest.fixture
def chromium(engines: Engines) -> Browser:
    return engines.browser("chromium")


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(**LOOKS)  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


NewPage = Callable[[str], "Page"]
OpenPage = Callable[..., "UploadsPage"]


@pytest.fixture(scope="session")
def shared_contexts() -> dict[Browser, SharedContext]:
    return {}


@pytest.fixture
def new_page(
    request: pytest.FixtureRequest,
    chromium: Browser,
    shared_contexts: dict[Browser, SharedContext],
) -> Iterator[NewPage]:
    """Open a page for a URL: in the test's own `context` if it has one, else in a shared one."""
    if "context" in request.fixturenames:
        context: BrowserContext = request.getfixturevalue("context")
        yield lambda _: context.new_page()
        return
    if chromium not in shared_contexts:
        shared_contexts[chromium] = SharedContext(chromium)
    shared = shared_contexts[chromium]
    yield shared.page
    if chromium.is_connected():
        shared.clear()


@pytest.fixture
def visit(new_page: NewPage) -> Iterator[OpenPage]:
    """Open the page of a server; `recorded` keeps all that its bars show.

    At the end, no page may have thrown or violated the content security policy.
    """
    from browser.uploads_page import Complaints, UploadsPage

    complaints = Complaints()

    def open_page(url: str, recorded: bool = False) -> UploadsPage:
        page = new_page(url)
        if recorded:
            UploadsPage.record(page)
        complaints.listen(page)
        page.goto(url + "/")
        page.locator("main").wait_for()  # shown when its texts are there and it takes files
        return UploadsPage(page)

    yield open_page
    assert complaints.found == []


@pytest.fixture
def open_parts(new_page: NewPage) -> Iterator[OpenParts]:
    """As `visit`, for uploads in parts. A break shows in the console, and is none of the page's; so
    does a refusal, in a test that wants some."""
    from browser.parts_page import COUNT, PartsPage
    from browser.uploads_page import Complaints, UploadsPage

    complaints, foreign = Complaints(), ["ERR_"]

    def open_page(url: str, refused: bool = False) -> PartsPage:
        if refused:
            foreign.append("Failed to load resource")
        page = new_page(url)
        UploadsPage.record(page)
        page.add_init_script(f"({COUNT})()")
        complaints.listen(page)
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(url + "/")
        page.locator("main").wait_for()
        return PartsPage(page)

    yield open_page
    assert [one for one in complaints.found if not any(word in one for word in foreign)] == []


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
