"""A page that sends a large file in parts, and what tests of that look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from browser.uploads_page import UploadsPage
from fix_server import RunningServer

__all__ = [
    "COUNT",
    "SIZE",
    "OpenParts",
    "PartsPage",
    "check_bar",
    "film_of",
    "lasting",
    "wait_until_nothing_lasts",
]

SIZE = 24_000_000


def film_of(tmp_path: Path, size: int, name: str = "film.mp4") -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


# Counts the requests that send bytes at once, and the parts that are made.
COUNT = """() => {
  window.most = window.parts = 0;
  let running = 0;
  const { open, setRequestHeader } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, ...rest) {
    if (method === "PATCH") {
      running += 1;
      window.most = Math.max(window.most, running);
      this.addEventListener("readystatechange", () => {
        if (this.readyState === 4) running -= 1;
      });
    }
    return open.call(this, method, ...rest);
  };
  XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
    if (name === "Upload-Concat") window.parts += 1;
    return setRequestHeader.call(this, name, value);
  };
}"""


class PartsPage(UploadsPage):
    """A page that counts the requests that send bytes, and those that make a part."""

    @property
    def most(self) -> int:
        """Connections that sent bytes at once."""
        return int(self.page.evaluate("() => window.most"))

    @property
    def parts(self) -> int:
        return int(self.page.evaluate("() => window.parts"))

    def forget(self) -> None:
        """What was counted and shown, and the rows that have ended."""
        self.page.get_by_role("button", name="Clear finished").click()
        self.page.wait_for_timeout(200)
        self.page.evaluate("() => { window.most = window.parts = 0; window.samples = []; }")

    def use(self, connections: int) -> None:
        """As --page-connections does."""
        self.page.evaluate(f"document.documentElement.dataset.connections = {connections}")


OpenParts = Callable[..., PartsPage]


def check_bar(page: UploadsPage) -> None:
    """Never back, and full only after the server's last response."""
    samples = page.samples()
    kept = [one.value for one in samples]
    assert kept == sorted(kept)
    assert max(one.value for one in samples if one.state != "done") <= 99


def lasting(server: RunningServer) -> list[Path]:
    """What the server keeps of unfinished uploads."""
    return [path for path in (server.root / ".sluiceway" / "lasting").rglob("*") if path.is_file()]


def wait_until_nothing_lasts(page: UploadsPage, server: RunningServer) -> None:
    for _ in range(50):
        if not lasting(server):
            return
        page.page.wait_for_timeout(200)
    raise AssertionError(lasting(server))
