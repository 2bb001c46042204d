"""The page as a user sees it: its controls, and a recorder of everything that its bars showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

__all__ = ["Complaints", "Sample", "UploadsPage", "catch_choosers"]

# Runs before the page's own script. `answered` counts the responses to uploads. readyState 4 comes
# before `load`, so a bar that is full while `answered` is 0 was full before the response.
RECORD = """() => {
  window.answered = 0;
  window.samples = [];
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (body) {
    this.addEventListener("readystatechange", () => {
      if (this.readyState === 4) window.answered += 1;
    });
    return send.call(this, body);
  };
  const look = () => {
    for (const row of document.querySelectorAll(".row")) {
      const bar = row.querySelector(".bar");
      const whole = bar.getBoundingClientRect().width;
      const width = (layer) => bar.querySelector(layer).getBoundingClientRect().width;
      const share = (layer) => whole ? width(layer) / whole : 0;
      window.samples.push({
        answered: window.answered,
        state: row.dataset.state,
        percent: row.querySelector(".percent").textContent,
        value: Number(bar.getAttribute("aria-valuenow")),
        words: bar.getAttribute("aria-valuetext"),
        status: row.querySelector(".status").textContent,
        kept: share(".kept"),
        arrived: share(".arrived"),
        title: document.title,
      });
    }
  };
  const every = () => { look(); requestAnimationFrame(every); };
  addEventListener("DOMContentLoaded", () => {
    const all = { subtree: true, childList: true, attributes: true, characterData: true };
    new MutationObserver(look).observe(document, all);
    every();
  });
}"""


@dataclass(frozen=True)
class Sample:
    """What one row showed at one moment."""

    answered: int
    state: str
    percent: str
    value: float
    words: str
    status: str
    kept: float
    arrived: float
    title: str


@dataclass
class Complaints:
    """Script errors and violations of the content security policy, from all observed pages."""

    found: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.found.append(f"script error: {error}"))
        page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself logs each 4xx and 5xx response to the console, and some tests cause
        # them on purpose.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.found.append(message.text)


def catch_choosers(page: Page) -> None:
    """Open no window for file choosers from now on.

    A handler that is set only at the key press is sometimes too late.
    """
    page.on("filechooser", lambda _: None)


class UploadsPage:
    """One open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        catch_choosers(page)
        self.announcer = page.locator("#announcer")
        self.summary = page.locator("#summary")
        self.stored = page.locator("#stored-rows .stored-row")

    def choose(self, *files: Path) -> None:
        """Choose files as a user does: with the button and the browser's own chooser."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose files").click()
        chooser.value.set_files([str(file) for file in files])

    def drop(self, *paths: Path) -> None:
        """Drop files and folders into the middle of the page, by the browser's own drag events."""
        devtools = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send(
                "Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 400, "data": data}
            )
        devtools.detach()

    def row(self, name: str) -> Locator:
        return self.page.locator(".row", has=self.page.locator(".name", has_text=name))

    def unfold(self, name: str) -> Locator:
        """Open a row's details; returns their content."""
        details = self.row(name).locator(".details")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
        return details.locator(".folded")

    def status(self, name: str) -> Locator:
        return self.row(name).locator(".status")

    def wait_for(self, name: str, state: str, seconds: float = 15) -> Locator:
        row = self.row(name)
        expect(row).to_have_attribute("data-state", state, timeout=seconds * 1000)
        return row

    def samples(self) -> Sequence[Sample]:
        """Everything that the rows showed since the page was opened, in order."""
        return [
            Sample(**sample)
            for sample in cast("list[dict[str, Any]]", self.page.evaluate("() => window.samples"))
        ]

    @staticmethod
    def record(pages: BrowserContext | Page) -> None:
        """Call before a page, or one of a context, is sent to its server."""
        pages.add_init_script(f"({RECORD})()")
