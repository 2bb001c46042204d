"""The page shows each failure as text with advice.

Nothing is half stored, and one press retries.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect

from browser.conftest import OpenPage
from browser.losing_proxy import losing_proxy
from browser.slow_destination import SlowServer
from browser.uploads_page import UploadsPage
from fix_server import Serve

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Slow = Callable[..., SlowServer]
TOKEN = "a-token-for-tests"


@pytest.mark.parametrize("size", [2_000_001, 700_000_000], ids=["just-over", "far-over"])
def test_a_file_above_the_limit_shows_both_sizes(
    serve: Serve, visit: OpenPage, make_file: MakeFile, size: int
) -> None:
    """413 arrives while the browser still sends.

    The row shows the file's size and the limit, for files of any size.
    """
    server = serve("--max-size", "1MB")
    page = visit(server.url)
    page.choose(make_file("big.iso", size))
    row = page.wait_for("big.iso", "failed", 30)

    shown_size = "2 MB" if size < 10_000_000 else "700 MB"
    expect(row.locator(".status")).to_have_text(
        f"This file is {shown_size}; the server takes up to 1 MB."
    )
    expect(row.locator(".advice")).to_contain_text("Send a smaller file")
    expect(row.locator(".bar")).to_be_hidden()
    assert server.stored() == {}
    assert server.drafts() == []


def test_a_file_that_cannot_succeed_is_left_out_of_retry_all(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """A file that is too large stays too large: no button sends it again.

    The small file beside it is stored.
    """
    page = visit(serve("--max-size", "1MB").url)
    page.choose(make_file("big.iso", 3_000_000), make_file("small.txt", 100))

    page.wait_for("big.iso", "failed")
    page.wait_for("small.txt", "done")
    expect(page.summary).to_have_text("1 of 2 done · 1 failed")
    expect(page.page.get_by_role("button", name="Retry 1 failed")).to_be_hidden()
    expect(page.page.get_by_role("button", name="Retry big.iso")).to_be_hidden()
    expect(page.page.get_by_role("button", name="Dismiss big.iso")).to_be_visible()


def test_a_missing_token_says_how_to_sign_in_and_stops_the_queue(
    serve: Serve, chromium: Browser, make_file: MakeFile
) -> None:
    """The token changed while the page was open.

    The first upload says so, and the others wait instead of failing too.
    """
    server = serve("--token", TOKEN)
    # Someone who closes the browser's own dialog; without these credentials the headless one would
    # stay open.
    context = chromium.new_context(http_credentials={"username": "me", "password": "not-the-token"})
    try:
        context.set_extra_http_headers({"Authorization": f"Bearer {TOKEN}"})
        page = UploadsPage(context.new_page())
        page.page.goto(server.url)
        # The page is shown when its texts are there: they need the token, too.
        expect(page.page.get_by_role("button", name="Choose files")).to_be_visible()
        context.set_extra_http_headers({})
        page.choose(*(make_file(f"{name}.txt", 100) for name in "abcd"))
        row = page.wait_for("a.txt", "failed")

        expect(row.locator(".status")).to_have_text("The server wants a token.")
        expect(row.locator(".advice")).to_contain_text(
            "sign in: any user name, and the token as the password"
        )
        expect(page.summary).to_contain_text("paused")
        expect(page.row("d.txt")).to_have_attribute("data-state", "waiting")

        context.set_extra_http_headers({"Authorization": f"Bearer {TOKEN}"})
        page.page.get_by_role("button", name=re.compile("^Retry . failed")).click()
        expect(page.summary).to_have_text("4 files stored")
    finally:
        context.close()


def test_signing_in_with_the_browsers_own_dialog_is_enough(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """The password of HTTP basic authentication carries over to uploads, their progress and the
    list."""
    server = serve("--token", TOKEN)
    page = visit(server.url.replace("http://", f"http://me:{TOKEN}@"))
    page.choose(make_file("a.bin", 2_000_000))

    page.wait_for("a.bin", "done")
    expect(page.stored).to_have_count(1)


def test_a_full_destination_is_shown_while_the_file_is_sent(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """507 half-way through: the row shows the reason and advice, and nothing is stored."""
    server = slow(rate=20e6, room=5e6)
    page = visit(server.url)
    page.choose(make_file("backup.tar", 40_000_000))
    row = page.wait_for("backup.tar", "failed", 30)

    expect(row.locator(".status")).to_have_text("The destination is full.")
    expect(row.locator(".advice")).to_contain_text("The shelf has no room for more")
    expect(row.locator(".advice")).to_contain_text("Make room there, then retry.")
    expect(page.page.get_by_role("button", name="Retry 1 failed")).to_be_visible()
    assert server.stored() == []


def test_a_broken_connection_says_how_far_it_came_and_retry_succeeds(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """The server dies half-way and comes back.

    The row says that nothing was stored, and one press retries.
    """
    server = slow(rate=4e6)
    page = visit(server.url)
    page.choose(
        make_file("film.mp4", 40_000_000), make_file("next.txt", 10), make_file("last.txt", 10)
    )
    page.wait_for("next.txt", "done")
    page.wait_for("last.txt", "done")
    expect(page.status("film.mp4")).to_have_text(re.compile(r"^arrived at the destination: [1-9]"))
    server.kill()
    row = page.wait_for("film.mp4", "failed")

    expect(row.locator(".status")).to_have_text(
        re.compile(r"^The connection broke after [\d.]+ [kM]B; nothing was stored\.$")
    )
    expect(row.locator(".advice")).to_contain_text("then retry")
    again = slow(port=server.port)
    page.page.get_by_role("button", name=re.compile("^Retry . failed")).click()
    page.wait_for("film.mp4", "done")
    expect(page.summary).to_have_text("3 files stored")
    assert "film.mp4" in again.stored()
    assert "film.mp4" not in server.stored()


def test_after_a_lost_response_the_page_asks_for_the_result(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """The browser sent the whole body, the file was stored, and the response was lost.

    The page asks for the result and shows "stored".
    """
    server = serve()
    with losing_proxy(server.port) as proxy:
        page = visit(f"http://127.0.0.1:{proxy}")
        page.choose(make_file("a.txt", 1000))

        page.wait_for("a.txt", "done")
        expect(page.stored).to_have_count(1)
    assert list(server.stored().values()) == [1000]


def test_an_unknown_result_is_shown_as_unknown(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """The server dies between the last byte and its response.

    The row claims neither "stored" nor "not stored".
    """
    server = slow(yes=20)
    page = visit(server.url)
    page.choose(make_file("a.bin", 1_000_000))
    page.wait_for("a.bin", "finishing")
    server.kill()
    row = page.wait_for("a.bin", "failed")

    expect(row.locator(".status")).to_have_text(
        "The connection broke before the server's answer came."
    )
    expect(row.locator(".advice")).to_contain_text("look at the stored files before you retry")


def test_a_file_that_changed_on_disk_is_reported(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """The browser refuses a file that changed after it was chosen.

    The row does not blame the network.
    """
    page = visit(slow(rate=2e6).url)
    first, second = make_file("first.bin", 4_000_000), make_file("second.bin", 4_000_000)
    third = make_file("third.txt", 1000)
    page.choose(first, second, third)
    third.unlink()
    row = page.wait_for("third.txt", "failed", 30)

    expect(row.locator(".status")).to_contain_text("changed, moved or deleted on this device")
    expect(row.locator(".advice")).to_have_text("Choose it again.")


def test_cancel_ends_the_upload_and_nothing_is_stored(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Cancel in the middle of the body.

    The row says so, the server discards the draft, the next file starts, and retry works.
    """
    server = slow(rate=4e6)
    page = visit(server.url)
    page.choose(make_file("film.mp4", 30_000_000), make_file("other.bin", 200_000))
    expect(page.status("film.mp4")).to_have_text(re.compile(r"^arrived at the destination: [1-9]"))

    page.page.get_by_role("button", name="Cancel film.mp4").click()
    expect(page.status("film.mp4")).to_have_text("cancelled, nothing was stored")
    page.wait_for("other.bin", "done")
    drafts = server.root / ".sluiceway" / "drafts"
    expect(page.page.get_by_role("button", name="Retry film.mp4")).to_be_visible()
    deadline = time.monotonic() + 20
    while (
        list(drafts.iterdir()) and time.monotonic() < deadline
    ):  # what had arrived before the cut is still written
        time.sleep(0.1)

    assert list(drafts.iterdir()) == []
    assert server.stored() == ["other.bin"]


def test_leaving_while_uploads_run_asks_first(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """A closed page ends its uploads: the browser asks while one runs, and not afterwards."""
    page = visit(slow(rate=2e6).url)
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.page.on("dialog", stay)
    page.choose(make_file("film.mp4", 20_000_000))
    page.wait_for("film.mp4", "sending")

    page.page.evaluate("() => { location.href = '/?elsewhere'; }")
    while not asked:  # the test's own deadline ends it
        page.page.wait_for_timeout(50)
    assert asked == ["beforeunload"]
    page.page.get_by_role("button", name="Cancel film.mp4").click()
    page.page.goto(page.page.url.split("?")[0])

    assert asked == ["beforeunload"]
