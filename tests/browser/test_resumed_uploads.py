"""The page goes on with a large file after a break: by itself, after a pause, and after a reload.

Through a real proxy that breaks connections. The bar says no more than the server keeps, and the
bytes that arrive are those of the file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.cutting_proxy import cutting_proxy
from browser.uploads_page import Complaints, UploadsPage
from fix_server import RunningServer, start_server

pytestmark = pytest.mark.chromium

SIZE = 9_000_000
WAIT = 60_000  # milliseconds until a large file is stored, on a busy machine too


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("resumed") / "root", "--key-template", "{path}")
    yield server
    server.stop()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def opened(context: BrowserContext) -> Iterator[Callable[[str], UploadsPage]]:
    """Opens a page; none may throw. A break shows in the console, and is none of ours."""
    complaints = Complaints()
    UploadsPage.record(context)

    def open_page(url: str) -> UploadsPage:
        page = context.new_page()
        complaints.listen(page)
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(url + "/")
        page.locator("main").wait_for()
        return UploadsPage(page)

    yield open_page
    assert [one for one in complaints.found if "ERR_" not in one] == []


def wait_for(page: UploadsPage, state: str, name: str = "film.mp4") -> None:
    expect(page.row(name)).to_have_attribute("data-state", state, timeout=WAIT)


def wait_until_kept(page: UploadsPage, name: str = "film.mp4") -> None:
    """Until the server has said that it keeps some of the file."""
    bar = page.row(name).locator(".bar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"[1-9]\d?"), timeout=WAIT)


def check_stored(server: RunningServer, file: Path) -> None:
    """Byte by byte, and once."""
    stored = server.root / file.name
    with file.open("rb") as sent, stored.open("rb") as arrived:
        digests = {hashlib.file_digest(one, "sha256").hexdigest() for one in (sent, arrived)}
    assert len(digests) == 1
    stored.unlink()


def test_a_cut_upload_goes_on_where_the_server_has_it(
    server: RunningServer, opened: Callable[[str], UploadsPage], film: Path
) -> None:
    """The row says what happens, and that it goes on; no byte that is kept is sent again."""
    with cutting_proxy(server.port, cut=5_000_000) as proxy:
        page = opened(proxy.url)
        proxy.sent = 0
        page.choose(film)
        wait_for(page, "done")
        expect(page.stored.filter(has_text="film.mp4")).to_have_count(1)
    check_stored(server, film)
    assert proxy.cuts >= 1
    samples = page.samples()
    broken = [one.status for one in samples if one.state == "interrupted"]
    assert any(re.match(r"the connection broke · goes on at \d+ %", one) for one in broken), broken
    kept = [one.value for one in samples]
    assert kept == sorted(kept)
    assert max(one.value for one in samples if one.state != "done") <= 99
    # what a browser sends again by itself ends with the server's refusal
    assert proxy.sent <= 2 * SIZE


def test_a_paused_upload_goes_on_also_after_a_reload(
    server: RunningServer, opened: Callable[[str], UploadsPage], film: Path
) -> None:
    """Paused and let go on by its buttons; after a reload it is listed, and the same file chosen
    again goes on. Its entry is gone then."""
    with cutting_proxy(server.port, rate=3e6) as proxy:
        page = opened(proxy.url)
        page.choose(film)
        wait_until_kept(page)
        page.page.get_by_role("button", name="Pause film.mp4").click()
        expect(page.status("film.mp4")).to_have_text(re.compile(r"paused at \d+ %"))
        page.page.get_by_role("button", name="Go on with film.mp4").click()
        wait_for(page, "sending")
        page.page.reload()
        page.page.locator("main").wait_for()
        proxy.rate = float("inf")
        listed = page.page.locator("#unfinished .unfinished-row", has_text="film.mp4")
        expect(listed.locator(".status")).to_contain_text("of 9 MB kept")
        proxy.sent = 0
        with page.page.expect_file_chooser() as chooser:
            page.page.get_by_role("button", name="Choose film.mp4 again").click()
        chooser.value.set_files(film)
        wait_for(page, "done")
        expect(page.page.locator("#unfinished")).to_be_hidden()
    check_stored(server, film)
    assert proxy.sent < SIZE
