"""Playwright's driver and the browsers of one process, started when a test asks for them.

A driver or browser that has died is started again for the next test: it takes only its own test
along, which fails with what the two wrote last.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

__all__ = ["ARGS", "Engines"]

ARGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Pages of one site and context share a process; they never run at the same time.
    "--renderer-process-limit=1",
    # A foreign name has this machine's address, as after a DNS rebinding.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
]
FIREFOX = Path(__file__).with_name("firefox_for_playwright.py")
LAST_WORDS = 6000  # characters of the log that a failed test shows
# The driver tells its log how it ended: it may be a signal.
DRIVER = """#!/bin/sh
{node} "$@"
status=$?
echo "the driver ended with status $status" >&2
exit $status
"""


class Engines:
    """One driver, and one browser of each name: `chromium`, `firefox`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "driver.log"
        self._driver: Playwright | None = None
        self._stop: Callable[[], None] = lambda: None
        self._browsers: dict[str, Browser] = {}
        self._resting: asyncio.AbstractEventLoop | None = None

    @property
    def driver(self) -> Playwright:
        if self._driver is None:
            self._driver = self._start()
        return self._driver

    def browser(self, name: str) -> Browser:
        if name not in self._browsers:
            self._browsers[name] = getattr(self, f"_{name}")()
        return self._browsers[name]

    def close(self, name: str) -> None:
        """Ends a browser that no later module needs."""
        if name in self._browsers:
            self._browsers.pop(name).close()

    def stop(self) -> None:
        """Ends the browsers and the driver, whether or not they still live."""
        if self._driver is None:
            return
        from playwright.sync_api import Error

        self.go_on()
        for name in list(self._browsers):
            with suppress(Error):
                self.close(name)
        self._stop()
        self._driver = None

    def death(self) -> str | None:
        """Returns the last words of the driver or a browser that has died; forgets the dead."""
        if self._driver is None:
            return None
        from playwright.sync_api import Error

        try:
            self._driver.request.new_context().dispose()  # a round trip
        except Error:
            self.stop()
            return f"Playwright's driver has died:\n{self._last_words()}"
        dead = [name for name, one in self._browsers.items() if not one.is_connected()]
        for name in dead:
            del self._browsers[name]
        return f"{dead} died:\n{self._last_words()}" if dead else None

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", "replace")[-LAST_WORDS:]

    def rest(self) -> None:
        """Hides Playwright's event loop, which calls itself running also between calls.

        No asynchronous test could start its own: so it rests between the modules.
        """
        self._resting = asyncio._get_running_loop()
        asyncio._set_running_loop(None)

    def go_on(self) -> None:
        if self._resting is not None:
            asyncio._set_running_loop(self._resting)
            self._resting = None

    def _start(self) -> Playwright:
        import playwright
        from playwright.sync_api import sync_playwright

        node = Path(playwright.__file__).parent / "driver" / "node"
        wrapped = self._folder / "node"
        wrapped.write_text(DRIVER.format(node=shlex.quote(str(node))))
        wrapped.chmod(0o755)
        # The log has also what browsers write, and how each of them ended.
        env = {"PLAYWRIGHT_NODEJS_PATH": str(wrapped), "DEBUG": "pw:browser"}
        with (
            self._log.open("a") as log,
            redirect_stderr(log),
            patch.dict(os.environ, env),
        ):
            manager = sync_playwright()
            driver = manager.start()
        self._stop = driver.stop
        return driver

    def _chromium(self) -> Browser:
        # Each launch has a new user data folder. That a program is there has been checked
        # (tests/conftest.py).
        program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        return self.driver.chromium.launch(executable_path=program, args=ARGS)

    def _firefox(self) -> Browser:
        program = self._folder / "firefox"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FIREFOX}" "$@"\n')
        program.chmod(0o755)
        return self.driver.firefox.launch(
            channel="moz-firefox", executable_path=program, timeout=100_000
        )
