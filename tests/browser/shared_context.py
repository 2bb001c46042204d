"""One browser context for the pages of all tests that ask for none of their own.

A new context costs a new renderer process and loads each part of the page again, half of the
processor time of a short test. Nothing that a page stored is left for the next test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["LOOKS", "TIMEOUT", "SharedContext"]

LOOKS = {"viewport": {"width": 900, "height": 900}, "locale": "en-GB"}
TIMEOUT = 30_000  # milliseconds


class SharedContext:
    """Of one browser. A page that is never closed keeps its renderer process for the others."""

    def __init__(self, browser: Browser) -> None:
        self._context: BrowserContext = browser.new_context(**LOOKS)  # type: ignore[arg-type]
        self._context.set_default_timeout(TIMEOUT)
        self._first: Page | None = None
        self._origins: set[str] = set()

    def page(self, url: str) -> Page:
        """A new page, which the test sends to `url`."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if self._first is None:
            self._first = self._context.new_page()
            self._first.goto(f"{origin}/healthz")
        self._origins.add(origin)
        return self._context.new_page()

    def clear(self) -> None:
        """Close the pages of a test and what they opened; forget what they stored."""
        if self._first is None:
            return
        for page in self._context.pages:
            if page is not self._first:
                page.close()
        self._context.clear_cookies()
        devtools = self._context.new_cdp_session(self._first)
        for origin in self._origins:
            devtools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        devtools.detach()
        self._origins.clear()
