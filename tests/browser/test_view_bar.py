"""The tutorial's Bookshelf in Chromium: a view of one's own sends a file on to a slow backend.

Both legs are limited, and there are two worker processes. The bar follows the backend, and is full
only with the view's 201.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from browser.test_bookshelf import drop_on
from browser.uploads_page import Complaints
from docs.tutorial import Tutorial

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
TESTS = Path(__file__).parents[1]
MB = 1_000_000
SIZE = 6 * MB
TO_APP = 3 * MB  # bytes a second from the browser to the app
TO_BACKEND = 2 * MB  # and that the backend reads
# What the backend's kernel has acknowledged and the backend has not read (throttled_backend.py
# sets 64 KiB, the kernel doubles it), and one step of the bar, which shows whole percents.
AHEAD = (256 << 10) + SIZE // 100

RECORD = """() => {
  const open = XMLHttpRequest.prototype.open;
  window.answered = false;
  window.samples = [];
  XMLHttpRequest.prototype.open = function (...given) {
    this.addEventListener("load", () => { window.answered = true; });
    return open.apply(this, given);
  };
  const look = () => {
    for (const drop of document.querySelectorAll("sluice-drop")) {
      const bar = drop.shadowRoot?.querySelector("[role=progressbar]");
      if (bar && !bar.hidden) {
        const value = Number(bar.getAttribute("aria-valuenow") ?? 0);
        window.samples.push([drop.id, value, window.answered]);
      }
    }
    requestAnimationFrame(look);
  };
  look();
}"""


class SlowBackend:
    """throttled_backend.py as a process, and the bytes that it has read."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "counter"
        self._counter.write_bytes(bytes(8))
        program = [sys.executable, str(TESTS / "throttled_backend.py"), str(TO_BACKEND)]
        self.process = subprocess.Popen(
            [*program, str(self._counter), "0.7"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def read(self) -> int:
        return int.from_bytes(self._counter.read_bytes(), "little")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def bookshelf(context: BrowserContext, folder: Path) -> Iterator[tuple[Page, SlowBackend]]:
    """The tutorial's page and app, in front of a slow backend."""
    backend = SlowBackend(folder)
    tutorial = Tutorial(folder, backend.port)
    complaints = Complaints()
    try:
        tutorial.write_files()
        tutorial.start(
            f"gunicorn -k gthread --threads 8 --workers 2 -b 127.0.0.1:{tutorial.app} app:app"
        )
        page = context.new_page()
        complaints.listen(page)
        page.goto(f"http://127.0.0.1:{tutorial.app}/")
        page.evaluate(RECORD)
        devtools = context.new_cdp_session(page)
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
        devtools.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": TO_APP})
        yield page, backend
        page.close()
    finally:
        tutorial.stop()
        backend.stop()


def samples_of(page: Page, book: str) -> list[tuple[float, bool]]:
    """Each look at the book's bar: percent, and whether the view had answered."""
    samples = page.evaluate("() => window.samples")
    return [(value, answered) for one, value, answered in samples if one == book]


def test_the_bar_of_a_view_follows_the_backend(
    context: BrowserContext, tmp_path: Path, make_file: MakeFile
) -> None:
    """It is never ahead of what the backend has acknowledged, moves in steps, waits for its answer,
    and is full only when the view has answered."""
    with bookshelf(context, tmp_path) as (page, backend):
        drop_on(page, "Persuasion", make_file("persuasion.epub", SIZE))
        book = page.locator("#book-43")
        bar = book.get_by_role("progressbar")
        seen: list[float] = []
        while "stored" not in (book.locator(".status").text_content() or ""):
            value = float(bar.get_attribute("aria-valuenow") or 0)
            read = backend.read  # behind the look: it can only be more
            if value < 100:
                assert value / 100 * SIZE <= read + AHEAD
                seen.append(value)
            page.wait_for_timeout(50)
        expect(bar).to_have_attribute("aria-valuenow", "100")
        samples = samples_of(page, "book-43")

    # It moved with the backend; a busy machine lets us look a few times only.
    assert len({value for value in seen if 5 < value < 95}) >= 3
    values = [value for value, _ in samples]
    assert values == sorted(values)
    assert max(value for value, answered in samples if not answered) == 99
    assert backend.read == SIZE


@pytest.mark.torture
def test_a_backend_that_dies_is_an_error_of_the_bar(
    context: BrowserContext, tmp_path: Path, make_file: MakeFile
) -> None:
    """The view raises; the book says that it failed, and no bar is full."""
    with bookshelf(context, tmp_path) as (page, backend):
        drop_on(page, "Emma", make_file("emma.epub", SIZE))
        book = page.locator("#book-42")
        while backend.read < 2 * MB:
            page.wait_for_timeout(50)
        backend.process.kill()
        expect(book.get_by_role("button", name="Retry")).to_be_visible()
        samples = samples_of(page, "book-42")
        page.goto("about:blank")  # the complaint of the browser about the 500 is right

    assert max(value for value, _ in samples) < 99
