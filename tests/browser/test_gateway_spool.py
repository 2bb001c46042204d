"""The page at a gateway with a spool: a backend that dies is waited for, and never a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.conftest import OpenPage
from browser.uploads_page import UploadsPage
from fix_spool import Backend, start_spooling

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
# A form in one request, which gets 202, and a file that is large enough to go in pieces
SIZES = {"form.bin": 700_000, "pieces.bin": 5_000_000}


@pytest.mark.torture
def test_a_backend_that_is_killed_and_comes_back(
    tmp_path: Path, context: BrowserContext, visit: OpenPage, make_file: MakeFile
) -> None:
    """Both rows say what they wait for, below 100 %, and are done when the backend has the file."""
    UploadsPage.record(context)
    under_way = re.compile("sending|finishing")
    with Backend(tmp_path / "taken") as backend:
        backend.start(stops_after=200_000)
        options = ("--relay-spool-wait", "1", "--relay-idempotent")
        server = start_spooling(tmp_path, f"{backend.url}/books", *options)
        try:
            page = visit(server.url)
            page.choose(*(make_file(name, size) for name, size in SIZES.items()))
            for name in SIZES:
                expect(page.row(name)).to_have_attribute("data-state", under_way, timeout=30_000)
            backend.kill()
            for name in SIZES:
                words = expect(page.status(name))
                words.to_contain_text("waiting for the backend", timeout=30_000)
            samples = page.samples()
            assert [each for each in samples if each.value >= 100 or each.state == "failed"] == []
            backend.start()
            for name in SIZES:
                page.wait_for(name, "done", seconds=60)
            assert [each for each in page.samples() if each.state == "failed"] == []
            assert len(backend.taken()) == 2
        finally:
            server.stop()
