"""The main journeys in Chromium and in Firefox: choose, drop, progress, refusal, list, delete,
<sluice-drop>, languages. Chromium only in the long proofs: the other files use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from browser.engines import Engines
from browser.other_app import other_app
from browser.slow_destination import SlowServer
from browser.uploads_page import Complaints, UploadsPage, catch_choosers
from fix_server import RunningServer, start_server

MakeFile = Callable[[str, int], Path]

# No engine lets a driver drag files from outside: the events are made by a script.
DROP = """([selector, name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name));
  const target = document.querySelector(selector);
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const options = { bubbles: true, cancelable: true, composed: true, dataTransfer: transfer };
    target.dispatchEvent(new DragEvent(kind, options));
  }
}"""


@pytest.fixture(scope="module", autouse=True)
def _end_of_firefox(engines: Engines) -> Iterator[None]:
    yield
    engines.close("firefox")


@pytest.fixture(
    params=[
        pytest.param("chromium", marks=[pytest.mark.chromium, pytest.mark.torture]),
        pytest.param("firefox", marks=pytest.mark.firefox),
    ],
)
def engine(request: pytest.FixtureRequest, engines: Engines) -> Browser:
    return engines.browser(request.param)


@pytest.fixture
def context(engine: Browser) -> Iterator[BrowserContext]:
    context = engine.new_context(viewport={"width": 900, "height": 900}, locale="en-GB")
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("engines") / "root", "--max-size", "200kB")
    yield server
    server.stop()


@pytest.fixture
def opened(context: BrowserContext) -> Iterator[Callable[[str], Page]]:
    complaints = Complaints()

    def open_page(url: str) -> Page:
        page = context.new_page()
        complaints.listen(page)
        catch_choosers(page)
        page.goto(url)
        return page

    yield open_page
    assert complaints.found == []


def test_a_chosen_file_is_stored_listed_and_deleted(
    opened: Callable[[str], Page], server: RunningServer, make_file: MakeFile
) -> None:
    """By the button and the browser's own chooser; its link opens it; two presses delete it."""
    page = UploadsPage(opened(server.url + "/"))
    page.choose(make_file("chosen.txt", 1000))
    page.wait_for("chosen.txt", "done", 30)
    expect(page.status("chosen.txt")).to_contain_text("stored, finished in")
    link = page.row("chosen.txt").get_by_role("link", name="Open").get_attribute("href")
    assert link is not None
    assert len(requests.get(link, timeout=10).content) == 1000
    listed = page.stored.filter(has_text="chosen.txt")
    expect(listed).to_have_count(1)
    delete = page.page.get_by_role("button", name="Delete chosen.txt", exact=True)
    delete.click()
    page.page.get_by_role("button", name="Really delete chosen.txt").click()
    expect(listed).to_have_count(0)
    assert [key for key in server.stored() if "chosen" in key] == []


def test_a_dropped_file_is_stored_and_a_large_one_refused(
    opened: Callable[[str], Page], server: RunningServer
) -> None:
    """Dropped on the page; the refusal says both sizes."""
    page = UploadsPage(opened(server.url + "/"))
    page.page.locator("main").wait_for()
    page.page.evaluate(DROP, ["main", "dropped.txt", "hello"])
    page.wait_for("dropped.txt", "done", 30)
    expect(page.stored.filter(has_text="dropped.txt")).to_have_count(1)
    page.page.evaluate(DROP, ["main", "large.iso", "x" * 300_000])
    page.wait_for("large.iso", "failed", 30)
    expect(page.status("large.iso")).to_have_text(
        "This file is 300 kB; the server takes up to 200 kB."
    )


def test_the_bar_shows_what_is_kept_and_is_full_only_after_the_answer(
    context: BrowserContext,
    opened: Callable[[str], Page],
    slow: Callable[..., SlowServer],
    make_file: MakeFile,
) -> None:
    """A slow destination: kept grows, and 100 % comes with the answer."""
    UploadsPage.record(context)
    page = UploadsPage(opened(slow(rate=1.5e6).url + "/"))  # 4 s: a browser may stall for one
    page.choose(make_file("film.mp4", 6_000_000))
    page.wait_for("film.mp4", "done", 30)
    samples = page.samples()
    under_way = [sample for sample in samples if sample.answered == 0]
    assert len({sample.value for sample in under_way}) > 2
    assert max(sample.value for sample in under_way) <= 99
    assert samples[-1].percent == "100 %"


def test_the_element_takes_a_drop_and_links_the_result(opened: Callable[[str], Page]) -> None:
    """On another app's page: it says that files can be let go, and opens the chooser by Enter."""
    with other_app() as app:
        app.location = "/books/42"
        app.page = (
            '<!doctype html><html lang="en"><title>Shelf</title><body>'
            '<script type="module" src="/page/sluice.js"></script>'
            '<sluice-drop endpoint="/take" data-book="42"><h2>Emma</h2></sluice-drop>'
        )
        page = opened(app.url + "/")
        button = page.get_by_role("button", name="Add a file")
        button.focus()
        with page.expect_file_chooser():
            page.keyboard.press("Enter")
        page.evaluate(DROP, ["h2", "emma.epub", "hello"])
        expect(page.locator("sluice-drop .status")).to_contain_text("stored, finished in")
        expect(page.get_by_role("link", name="Open emma.epub")).to_be_visible()
        assert b'name="book"' in app.requests[0][2]
        page.close()


@pytest.mark.torture
@pytest.mark.parametrize(
    ("language", "words"),
    [("de", "Dateien"), ("ar", "ملفات")],
)
def test_the_page_speaks_another_language(
    engine: Browser, server: RunningServer, language: str, words: str
) -> None:
    """The browser's own; Arabic from the right."""
    context = engine.new_context(locale=language)
    page = context.new_page()
    page.goto(server.url + "/")
    expect(page.locator("#choose-files")).to_contain_text(words)
    expect(page.locator("html")).to_have_attribute("lang", language)
    logo = page.locator(".top img").bounding_box()
    assert logo is not None
    assert (logo["x"] > 400) == (language == "ar")
    context.close()
