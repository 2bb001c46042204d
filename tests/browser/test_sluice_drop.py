"""<sluice-drop> around an item of another app.

Drop on the book: its id is sent before the file, and events report to the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

import sluiceway
from browser.conftest import NewPage
from browser.other_app import other_app
from browser.slow_destination import SlowServer
from browser.uploads_page import Complaints, catch_choosers
from fix_server import Serve
from sluiceway.server.access.link_keys import add_key, first_key

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Slow = Callable[..., SlowServer]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'"
)
SHELF = """<!doctype html><html lang="en"><title>Shelf</title><body>
  <script type="module" src="/page/sluice.js"></script>
  <h1>My books</h1>
  <sluice-drop id="emma" data-book="42" data-owner="jane" {attributes}>
    <h2>Emma</h2><a href="/books/42">Read</a></sluice-drop>
"""
LISTEN = """() => {
  window.events = [];
  for (const name of ["sluice-start", "sluice-progress", "sluice-done", "sluice-error"]) {
    document.addEventListener(name, ({ target, detail }) => {
      window.events.push([name, target.id, JSON.parse(JSON.stringify(detail))]);
    });
  }
}"""


@pytest.fixture
def shelf(new_page: NewPage) -> Iterator[Callable[..., Page]]:
    """A strict page of another app on the same server, with one item in a <sluice-drop>."""
    complaints = Complaints()

    def show(url: str, attributes: str = "") -> Page:
        page = new_page(url)
        complaints.listen(page)
        catch_choosers(page)
        html = SHELF.format(attributes=attributes)
        headers = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
        page.route(f"{url}/shelf", lambda route: route.fulfill(body=html, headers=headers))
        page.goto(f"{url}/shelf")
        page.evaluate(LISTEN)
        expect(page.get_by_role("button", name="Add")).to_be_visible()
        return page

    yield show
    assert complaints.found == []


def drop(page: Page, *paths: Path) -> None:
    """Drop files on the item's own heading, by the browser's own drag events."""
    box = page.get_by_role("heading", name="Emma").bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + 5, "y": box["y"] + 5}
        devtools.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    devtools.detach()


def events(page: Page, name: str) -> list[dict[str, Any]]:
    return [detail for event, _, detail in page.evaluate("() => window.events") if event == name]


def test_a_file_dropped_on_the_item_is_stored_with_the_items_fields(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile
) -> None:
    """Drop on the heading inside.

    The form carries the data- attributes, the events bubble from the item.
    """
    server = serve()
    page = shelf(server.url)
    drop(page, make_file("emma.epub", 300_000))
    expect(page.locator("sluice-drop .status")).to_contain_text("stored, finished in")

    (done,) = events(page, "sluice-done")
    assert done["answers"][0]["fields"] == {"book": ["42"], "owner": ["jane"]}
    (entry,) = done["entries"]
    assert (entry["filename"], entry["size"]) == ("emma.epub", 300_000)
    names = [(name, target) for name, target, _ in page.evaluate("() => window.events")]
    assert names[0] == ("sluice-start", "emma")
    assert names[-1] == ("sluice-done", "emma")
    assert list(server.stored().values()) == [300_000]
    expect(page.get_by_role("heading", name="Emma")).to_be_visible()
    expect(page.get_by_role("link", name="Read")).to_be_visible()


def test_progress_events_carry_the_three_counters_and_the_bar_shows_kept(
    shelf: Callable[..., Page], slow: Slow, make_file: MakeFile
) -> None:
    """kept <= forwarded <= received <= length at every event.

    The bar is full only after the last one. A busy machine draws it only once a second.
    """
    page = shelf(slow(rate=2e6, yes=1).url)
    page.evaluate(
        """() => {
          window.values = [];
          const inside = document.querySelector("sluice-drop").shadowRoot;
          const bar = inside.querySelector("[role=progressbar]");
          const look = () => {
            window.values.push([Number(bar.getAttribute("aria-valuenow")), window.events.length]);
          };
          new MutationObserver(look).observe(bar, { attributes: true });
        }"""
    )
    drop(page, make_file("emma.epub", 12_000_000))
    expect(page.locator("sluice-drop .status")).to_contain_text(
        "stored, finished in", timeout=30_000
    )

    counters = events(page, "sluice-progress")
    assert len({one["kept"] for one in counters}) > 3
    assert all(
        one["kept"] <= one["forwarded"] <= one["received"] <= one["length"] == 12_000_000
        for one in counters
    )
    assert counters[-1]["kept"] == 12_000_000
    kinds = [name for name, _, _ in page.evaluate("() => window.events")]
    early = [
        value
        for value, seen in page.evaluate("() => window.values")
        if "sluice-done" not in kinds[:seen]
    ]
    assert len(set(early)) > 3
    assert max(early) <= 99
    expect(page.locator("sluice-drop").get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", "100"
    )


def test_the_keyboard_adds_a_file(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile
) -> None:
    """Tab reaches the item's link and then the button; Enter opens the chooser.

    The label is the page's own.
    """
    page = shelf(serve().url, 'label="Add the text of Emma"')
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Read")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Add the text of Emma")).to_be_focused()

    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert not chooser.value.is_multiple()
    chooser.value.set_files(str(make_file("emma.txt", 10)))

    expect(page.locator("sluice-drop .status")).to_contain_text("stored, finished in")
    expect(page.get_by_role("button", name="Add the text of Emma")).to_be_focused()


def test_a_refusal_is_shown_and_sent_as_an_event(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile
) -> None:
    """The file is too large.

    The element sends sluice-error with the stable code and no sluice-done, shows text below the
    item, and offers no retry: the file stays too large.
    """
    page = shelf(serve("--max-size", "1MB").url)
    drop(page, make_file("emma.pdf", 3_000_000))

    expect(page.locator("sluice-drop .status")).to_contain_text(
        "This file is 3 MB; the server takes up to 1 MB."
    )
    (error,) = events(page, "sluice-error")
    assert error["code"] == "too-large"
    assert {"title", "detail", "todo"} <= set(error)
    assert events(page, "sluice-done") == []
    expect(page.get_by_role("button", name="Retry")).to_be_hidden()
    expect(page.get_by_role("button", name="Add a file")).to_be_visible()


def test_several_files_only_where_the_page_allows_it(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile
) -> None:
    """Two files on an item for one file: nothing is sent, and the element says why.

    With `multiple` both are stored and reported together.
    """
    server = serve()
    page = shelf(server.url)
    drop(page, make_file("one.txt", 1), make_file("two.txt", 2))
    expect(page.locator("sluice-drop .status")).to_have_text("Only one file can be dropped here.")
    assert [error["code"] for error in events(page, "sluice-error")] == ["one-file"]
    assert server.stored() == {}

    page.evaluate("() => document.querySelector('sluice-drop').setAttribute('multiple', '')")
    drop(page, make_file("one.txt", 1), make_file("two.txt", 2))
    expect(page.locator("sluice-drop .status")).to_have_text("2 files stored")
    (done,) = events(page, "sluice-done")
    assert sorted(entry["filename"] for entry in done["entries"]) == ["one.txt", "two.txt"]


def test_each_stored_file_is_reported_once_despite_retries(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile
) -> None:
    """The second of two files fails at first.

    sluice-done reports the first file, and after the retry only the second.
    """
    page = shelf(serve().url, 'multiple max-parallel="1"')
    tried: list[str] = []

    def break_the_second(route: Route) -> None:
        tried.append(route.request.url)
        if len(tried) == 2:
            route.abort()
        else:
            route.continue_()

    page.route("**/files?upload=*", break_the_second)
    drop(page, make_file("one.txt", 1), make_file("two.txt", 2))
    expect(page.locator("sluice-drop .status")).to_contain_text("1 of 2 done · 1 failed")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("sluice-drop .status")).to_have_text("2 files stored")

    done = [
        [entry["filename"] for entry in detail["entries"]] for detail in events(page, "sluice-done")
    ]
    assert done == [["one.txt"], ["two.txt"]]


def test_cancel_stops_the_upload(
    shelf: Callable[..., Page], slow: Slow, make_file: MakeFile
) -> None:
    """The button below the item ends it; nothing is stored and no done event comes.

    Before that the item shows the file's name, the speed and the time left.
    """
    server = slow(rate=3e6)
    page = shelf(server.url)
    drop(page, make_file("emma.epub", 30_000_000))
    expect(page.locator("sluice-drop .status")).to_contain_text("arrived at the destination: ")
    expect(page.locator("sluice-drop .name")).to_have_text("emma.epub")
    pace = re.compile(r"[\d.]+ [kM]B/s · (?:about \d+ (?:s|min)|a few seconds) left$")
    expect(page.locator("sluice-drop .status")).to_have_text(pace)
    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("sluice-drop .status")).to_have_text("cancelled, nothing was stored")
    expect(page.get_by_role("button", name="Add a file")).to_be_visible()
    assert events(page, "sluice-done") == []
    assert server.stored() == []


def test_a_link_is_enough_for_the_element(
    shelf: Callable[..., Page], serve: Serve, make_file: MakeFile, tmp_path: Path
) -> None:
    """It names server and folder; its files come below the folder."""
    add_key(str(tmp_path / "keys"))
    server = serve("--link-key-file", str(tmp_path / "keys"))
    link = sluiceway.link(server.url, first_key(str(tmp_path / "keys")), prefix="orders/")
    page = shelf(server.url, f'link="{link}"')
    drop(page, make_file("emma.epub", 2000))
    expect(page.locator("sluice-drop .status")).to_contain_text("stored")
    page.close()
    assert [key.partition("/")[0] for key in server.stored()] == ["orders"]


def test_the_fields_come_before_the_file_and_another_apps_answer_is_handed_on(
    shelf: Callable[..., Page], make_file: MakeFile
) -> None:
    """The body on the wire has the fields, then the whole file.

    The element sends a token and reports a response of any form.
    """
    with other_app() as app:
        page = shelf(app.url, 'endpoint="/books/42/text" file-field="text" token="a-secret"')
        drop(page, make_file("emma.txt", 2000))
        expect(page.locator("sluice-drop .status")).to_contain_text("stored, finished in")

        (done,) = events(page, "sluice-done")
        page.close()
    assert done == {
        "entries": [],
        "answers": [{"book": "updated"}],
        "links": [None],
        "verdicts": [None],
    }
    (path, headers, body) = app.requests[0]
    assert re.fullmatch(r"/books/42/text\?upload=[A-Za-z0-9_-]{32}", path)
    assert headers["Authorization"] == "Bearer a-secret"
    assert re.findall(rb'; name="([^"]+)"', body) == [b"book", b"owner", b"text"]
    assert (make_file("again", 0).parent / "emma.txt").read_bytes() in body
