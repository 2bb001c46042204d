"""A stored PDF opens in the browser's own viewer.

Chromium is asked by its list of targets: the viewer is an extension in a process of its own. The
headless shell has no viewer.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from browser.engines import ARGS
from fix_server import RunningServer
from fix_taking import eventually

pytestmark = pytest.mark.chromium

PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 144]>>endobj
trailer<</Root 1 0 R>>
"""


@contextmanager
def opened(program: str, url: str, folder: Path) -> Iterator[str]:
    """Chromium with one page; yields the URL of its list of targets."""
    own = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    port = folder / "DevToolsActivePort"
    with (folder.parent / "printed").open("wb") as printed:
        browser = subprocess.Popen([program, *ARGS, *own, url], stdout=printed, stderr=printed)
    try:
        eventually(lambda: port.exists() and port.read_text(), "the browser listens")
        yield f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
    finally:
        browser.terminate()
        browser.wait(30)


def test_a_pdf_opens_in_the_browsers_viewer(taker: RunningServer, tmp_path: Path) -> None:
    """The sandbox does not keep the viewer from showing it."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    headers = {"Content-Type": "application/pdf"}
    requests.put(f"{taker.url}/files/a.pdf", data=PDF, headers=headers, timeout=20)
    url = f"{taker.url}/files/a.pdf?view=1"

    with opened(program, url, tmp_path / "profile") as targets:

        def shown() -> bool:
            """Whether the viewer and, inside of it, the document are there."""
            found = requests.get(targets, timeout=20).json()
            frames = [one["url"] for one in found if one["type"] == "iframe"]
            viewers = [one for one in frames if one.startswith("chrome-extension://")]
            return bool(viewers) and url in frames

        eventually(shown, "the browser shows the document in its viewer")
