"""The page goes on with a large file after a break: by itself, after a pause, and after a reload.

Through a real proxy that breaks connections. The bar says no more than the server keeps, and the
bytes that arrive are those of the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from browser.conftest import NewPage
from browser.engines import ARGS, Engines
from browser.other_app import other_app
from browser.uploads_page import Complaints, UploadsPage
from cutting_proxy import CuttingProxy
from fix_server import RunningServer, start_server
from fix_taking import eventually

pytestmark = pytest.mark.chromium

CUT = 5_000_000  # bytes of a connection
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
def opened(new_page: NewPage) -> Iterator[Callable[[str], UploadsPage]]:
    """Opens a page; none may throw. A break shows in the console, and is none of ours."""
    complaints = Complaints()

    def open_page(url: str) -> UploadsPage:
        page = new_page(url)
        UploadsPage.record(page)
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
    with CuttingProxy(server.port, cut=CUT) as proxy:
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
    # What a browser sends again by itself ends with the server's refusal: it tries three times. A
    # cut on a busy machine takes more of what was on its way.
    assert proxy.sent <= SIZE + 8 * CUT


def test_a_paused_upload_goes_on_also_after_a_reload(
    server: RunningServer, opened: Callable[[str], UploadsPage], film: Path
) -> None:
    """Paused and let go on by its buttons; after a reload it is listed, and the same file chosen
    again goes on. Its entry is gone then."""
    with CuttingProxy(server.port, rate=3e6) as proxy:
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


@pytest.mark.torture
def test_150_mb_arrive_over_connections_of_100_mb(
    server: RunningServer, opened: Callable[[str], UploadsPage], tmp_path: Path
) -> None:
    """At most a fiftieth is sent twice."""
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(150_000_000))
    with CuttingProxy(server.port, cut=100_000_000) as proxy:
        page = opened(proxy.url)
        proxy.sent = 0
        page.choose(film)
        wait_for(page, "done")
    check_stored(server, film)
    assert proxy.cuts == 1
    assert proxy.sent <= 1.02 * 150_000_000


@pytest.mark.torture
def test_an_upload_waits_for_the_network_and_goes_on_by_itself(
    context: BrowserContext,
    server: RunningServer,
    opened: Callable[[str], UploadsPage],
    film: Path,
) -> None:
    """The page's own browser says when it is offline and when it is back."""
    with CuttingProxy(server.port, rate=3e6) as proxy:
        page = opened(proxy.url)
        page.choose(film)
        wait_until_kept(page)
        context.set_offline(True)
        expect(page.status("film.mp4")).to_have_text(
            re.compile(r"waiting for the network · goes on at \d+ %")
        )
        expect(page.announcer).to_contain_text("film.mp4 waits for the connection")
        expect(page.summary).to_have_text("0 of 1 done")  # no speed, no time left
        context.set_offline(False)
        wait_for(page, "done")
    check_stored(server, film)


@pytest.mark.torture
def test_an_upload_goes_on_after_its_server_was_killed(
    opened: Callable[[str], UploadsPage], film: Path, tmp_path: Path
) -> None:
    """Killed while it received, and started again: what it kept is not sent again."""
    root = tmp_path / "root"
    first = start_server(root, "--key-template", "{path}")
    with CuttingProxy(first.port, rate=3e6) as proxy:
        page = opened(proxy.url)
        page.choose(film)
        wait_until_kept(page)
        first.stop(signal.SIGKILL)
        wait_for(page, "interrupted")
        second = start_server(root, "--key-template", "{path}")
        try:
            proxy.server, proxy.rate, proxy.sent = second.port, float("inf"), 0
            wait_for(page, "done")
            check_stored(second, film)
            assert proxy.sent < SIZE
        finally:
            second.stop()
    kept = [one.value for one in page.samples()]
    assert kept == sorted(kept)


@pytest.mark.torture
def test_an_upload_goes_on_after_the_browser_was_started_again(
    engines: Engines, server: RunningServer, film: Path, tmp_path: Path
) -> None:
    """Its profile has the entry. A file that only has the same name begins anew."""

    def start() -> BrowserContext:
        return engines.driver.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"),
            args=ARGS,
            locale="en-GB",
        )

    with CuttingProxy(server.port, rate=3e6) as proxy:
        context = start()
        page = UploadsPage(context.new_page())
        page.page.goto(proxy.url + "/")
        page.choose(film)
        wait_until_kept(page)
        context.close()
        context = start()
        page = UploadsPage(context.new_page())
        page.page.goto(proxy.url + "/")
        listed = page.page.locator("#unfinished .unfinished-row")
        expect(listed).to_have_count(1)
        other = tmp_path / "other" / "film.mp4"
        other.parent.mkdir()
        other.write_bytes(b"short")
        page.choose(other)
        wait_for(page, "done")
        (server.root / "film.mp4").unlink()
        page.page.get_by_role("button", name="Clear finished").click()
        expect(listed).to_have_count(1)
        proxy.rate, proxy.sent = float("inf"), 0
        page.choose(film)
        wait_for(page, "done")
        context.close()
    check_stored(server, film)
    assert proxy.sent < SIZE


@pytest.mark.torture
def test_a_removed_entry_ends_the_upload_at_the_server(
    context: BrowserContext,
    server: RunningServer,
    opened: Callable[[str], UploadsPage],
    film: Path,
) -> None:
    """A second tab does not list what the first one sends, and lists it when that one is closed."""
    with CuttingProxy(server.port, rate=2e6) as proxy:
        page = opened(proxy.url)
        page.choose(film)
        wait_until_kept(page)
        second = opened(proxy.url)
        second.page.wait_for_timeout(1000)
        assert second.page.locator("#unfinished .unfinished-row").count() == 0
        page.page.close(run_before_unload=False)
        second.page.reload()
        expect(second.page.locator("#unfinished .unfinished-row")).to_have_count(1)
        lasting = server.root / ".sluiceway" / "lasting"
        assert any(path.is_file() for path in lasting.rglob("*"))
        second.page.get_by_role("button", name="Remove film.mp4").click()
        expect(second.page.locator("#unfinished")).to_be_hidden()
        second.page.wait_for_timeout(1000)
    assert not any(path.is_file() for path in lasting.rglob("*"))
    assert context.pages


@pytest.mark.torture
def test_a_taken_name_is_asked_about_before_a_large_file_is_sent(
    server: RunningServer, opened: Callable[[str], UploadsPage], film: Path
) -> None:
    """Keep both: it gets a number."""
    (server.root / "film.mp4").write_bytes(b"there")
    page = opened(server.url)
    page.choose(film)
    wait_for(page, "asking")
    page.page.get_by_role("button", name="Keep both").click()
    expect(page.page.locator(".row[data-state=done]")).to_have_count(1, timeout=WAIT)
    assert (server.root / "film (2).mp4").stat().st_size == SIZE
    (server.root / "film (2).mp4").unlink()
    (server.root / "film.mp4").unlink()


@pytest.mark.torture
def test_the_bar_of_an_upload_over_several_processes(
    opened: Callable[[str], UploadsPage], tmp_path: Path
) -> None:
    """Each connection may come to another worker; the bar moves on in each part."""
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(30_000_000))
    server = start_server(tmp_path / "root", "--key-template", "{path}", "--workers", "4")
    try:
        with CuttingProxy(server.port, cut=7_000_000, rate=6e6) as proxy:
            page = opened(proxy.url)
            page.choose(film)
            wait_for(page, "done")
        check_stored(server, film)
    finally:
        server.stop()
    samples = page.samples()
    kept = [one.value for one in samples]
    assert kept == sorted(kept)
    sending = {one.value for one in samples if one.state == "sending"}
    # The parts begin at about 0, 23, 46, 70 and 93 %; the server says more in between.
    assert len(sending) > 10


@pytest.mark.torture
@pytest.mark.firefox
def test_firefox_goes_on_too(engines: Engines, server: RunningServer, film: Path) -> None:
    """After cuts, and after a reload."""
    browser: Browser = engines.browser("firefox")
    context = browser.new_context(locale="en-GB")
    try:
        with CuttingProxy(server.port, cut=5_000_000, rate=4e6) as proxy:
            page = UploadsPage(context.new_page())
            page.page.on("dialog", lambda dialog: dialog.accept())
            page.page.goto(proxy.url + "/")
            page.page.locator("#files").set_input_files(film)
            wait_until_kept(page)
            page.page.reload()
            expect(page.page.locator("#unfinished .unfinished-row")).to_have_count(1)
            page.page.locator("#files").set_input_files(film)
            wait_for(page, "done")
            check_stored(server, film)
            page.page.get_by_role("button", name="Clear finished").click()
            page.page.locator("#files").set_input_files(film)
            wait_for(page, "done")
            check_stored(server, film)
        assert proxy.cuts >= 1
    finally:
        context.close()
        engines.close("firefox")


@pytest.mark.torture
def test_the_element_goes_on_on_a_page_of_another_site(
    context: BrowserContext, film: Path, tmp_path: Path
) -> None:
    """It pauses, and after a reload it names the file, and the same one chosen again goes on."""
    with other_app() as app:
        server = start_server(tmp_path / "root", "--allow-origin", app.url)
        try:
            with CuttingProxy(server.port, cut=5_000_000, rate=1e6) as proxy:
                app.page = (
                    '<!doctype html><html lang="en"><title>Shelf</title><body>'
                    '<script type="module" src="/page/sluice.js"></script>'
                    f'<sluice-drop endpoint="{proxy.url}/files"><h2>Emma</h2></sluice-drop>'
                )
                page = context.new_page()
                page.goto(app.url + "/")
                _choose(page, film)
                bar = page.locator("sluice-drop .bar")
                expect(bar).to_have_attribute("aria-valuenow", re.compile(r"[1-9]"), timeout=WAIT)
                page.get_by_role("button", name="Pause").click()
                status = page.locator("sluice-drop .status")
                expect(status).to_have_text(re.compile(r"paused at \d+ %"))
                paused = int(bar.get_attribute("aria-valuenow") or 0)
                page.get_by_role("button", name="Go on").click()
                eventually(lambda: int(bar.get_attribute("aria-valuenow") or 0) > paused + 5)
                page.get_by_role("button", name="Pause").click()
                page.reload()
                hint = page.locator("sluice-drop .hint")
                expect(hint).to_contain_text("Not finished: film.mp4")
                proxy.rate, proxy.sent = float("inf"), 0
                _choose(page, film)
                expect(status).to_contain_text("stored, finished in", timeout=WAIT)
                assert proxy.sent < SIZE
        finally:
            server.stop()
    (stored,) = [size for key, size in server.stored().items() if key.endswith("film.mp4")]
    assert stored == SIZE


def _choose(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add a file").click()
    chooser.value.set_files(file)
