"""The view of what runs: an admin sees each upload, filters, and cancels one after a question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
from playwright.sync_api import Page, expect

from browser.conftest import NewPage
from browser.test_axe import RUN
from browser.test_languages import OVERFLOWING
from browser.uploads_page import Complaints
from fix_npm import npm_package
from fix_server import RunningServer, start_server
from fix_taking import eventually
from raw_http import Wire, head
from token_names import Client, secret_of, token_file

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("live")
    names = {"ann": "upload", "bob": "upload", "boss": "admin", "reader": "read-only"}
    server = start_server(
        folder / "root", "--token-file", str(token_file(folder / "tokens", names))
    )
    yield server
    server.stop()


@pytest.fixture
def uploads(server: RunningServer) -> Iterator[dict[str, Wire]]:
    """Three uploads that wait for their clients; the length of the last is not known."""
    with ExitStack() as stack:
        wires = {}
        for name, owner in (("a/one.bin", "ann"), ("b/two.bin", "bob"), ("b/three.bin", "bob")):
            wire = stack.enter_context(Wire(server.port))
            field = f"Authorization: Bearer {secret_of(owner)}"
            if name == "b/three.bin":
                wire.send(head("PUT", f"/files/{name}", field, "Transfer-Encoding: chunked"))
                wire.send(b"400\r\n" + bytes(1024) + b"\r\n")
            else:
                wire.send(head("PUT", f"/files/{name}", field, "Content-Length: 1000000"))
                wire.send(bytes(500_000))
            wires[name] = wire
        boss = Client(server.url, "boss")
        eventually(lambda: len(boss("GET", "/uploads").json()["uploads"]) == 3, "they run")
        yield wires


@pytest.fixture
def live(server: RunningServer, new_page: NewPage) -> Iterator[Page]:
    """No page may throw or violate its policy."""
    complaints = Complaints()
    url = server.url.replace("://", f"://:{secret_of('boss')}@") + "/uploads"
    page = new_page(url)
    complaints.listen(page)
    page.goto(url)
    page.locator("main").wait_for()
    yield page
    assert complaints.found == []


def test_an_admin_sees_what_runs_and_cancels(
    live: Page, uploads: dict[str, Wire], server: RunningServer
) -> None:
    """By keyboard alone; whoever leaves the question has cancelled nothing."""
    rows = live.locator(".row")
    expect(rows).to_have_count(3)
    expect(live.locator("#summary")).to_have_text("3 uploads, 0 B/s")
    one = rows.filter(has_text="one.bin")
    expect(one).to_contain_text("ann")
    expect(one).to_contain_text("waits for the client")
    expect(one.get_by_role("progressbar", name="a/one.bin")).to_have_attribute(
        "aria-valuetext", "0 %"
    )
    expect(rows.filter(has_text="three.bin").locator(".size")).to_have_text("1 kB")

    live.get_by_label("Owner").select_option("bob")
    expect(rows).to_have_count(2)
    live.get_by_label("Search by folder or name").fill("TWO")
    expect(rows).to_have_count(1)
    live.get_by_label("Waits for").select_option("destination")
    expect(live.locator("#nothing")).to_have_text("No upload matches.")
    live.get_by_label("Waits for").select_option("")

    button = live.get_by_role("button", name="Cancel the upload of b/two.bin")
    button.focus()
    live.keyboard.press("Enter")
    expect(live.get_by_role("dialog")).to_contain_text("b/two.bin of bob is not stored")
    live.keyboard.press("Escape")
    expect(button).to_be_focused()
    assert len(Client(server.url, "boss")("GET", "/uploads").json()["uploads"]) == 3
    live.keyboard.press("Enter")
    live.keyboard.press("Tab")
    live.keyboard.press("Enter")
    expect(live.locator("#announcer")).to_have_text("The upload of b/two.bin was cancelled.")
    expect(rows).to_have_count(0)
    expect(live.locator("#live-title")).to_be_focused()
    assert uploads["b/two.bin"].answer().json()["code"] == "cancelled"

    live.get_by_label("Search by folder or name").fill("")
    live.get_by_label("Owner").select_option("")
    expect(rows).to_have_count(2)
    uploads["a/one.bin"].send(bytes(500_000))
    expect(rows).to_have_count(1)
    uploads["b/three.bin"].send(b"0\r\n\r\n")
    expect(live.locator("#nothing")).to_have_text("Nothing is being uploaded now.")


def test_axe_finds_nothing_on_the_view(
    live: Page, uploads: dict[str, Wire], server: RunningServer
) -> None:
    """With rows and with its question, in both colour schemes; nothing runs out of a phone."""
    live.evaluate((npm_package("axe-core") / "axe.min.js").read_text("utf-8"))
    expect(live.locator(".row")).to_have_count(3)
    for scheme in ("light", "dark"):
        live.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert live.evaluate(RUN) == [], scheme
    live.get_by_role("button", name="Cancel the upload of a/one.bin").click()
    expect(live.get_by_role("dialog")).to_be_visible()
    assert live.evaluate(RUN) == []
    live.keyboard.press("Escape")
    live.set_viewport_size({"width": 360, "height": 740})
    for language, direction in (("ar", "rtl"), ("de", "ltr")):
        live.goto(f"{server.url}/uploads?lang={language}")
        expect(live.locator("html")).to_have_attribute("dir", direction)
        expect(live.locator(".row")).to_have_count(3)
        assert live.evaluate(OVERFLOWING) == 0


def test_the_view_goes_on_when_the_server_does(live: Page, server: RunningServer) -> None:
    """What is wrong is said, and the view asks again; a login that ended is another thing."""
    expect(live.locator("#nothing")).to_be_visible()
    trouble = live.locator("#trouble")
    live.route("**/uploads?limit=*", lambda route: route.abort())
    expect(trouble).to_have_text("The server does not answer. The view tries again.")
    live.unroute("**/uploads?limit=*")
    expect(trouble).to_have_text("")
    live.get_by_role("button", name="Pause").click()
    expect(live.get_by_role("button", name="Go on")).to_be_visible()


def test_a_browser_gets_the_page_and_a_program_the_list(server: RunningServer) -> None:
    page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for name, status in (("", 401), ("ann", 403), ("reader", 403), ("boss", 200)):
        for accept in (page["Accept"], "*/*", "application/json"):
            found = Client(server.url, name)("GET", "/uploads", Accept=accept)
            assert found.status_code == status, (name, accept)
    boss = Client(server.url, "boss")
    shown = boss("GET", "/uploads", Accept=page["Accept"])
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "nonce-" in shown.headers["content-security-policy"]
    assert shown.headers["vary"] == "Accept"
    listed = boss("GET", "/uploads")
    assert listed.headers["vary"] == "Accept"
    assert listed.json()["uploads"] == []
    assert requests.head(f"{server.url}/uploads", timeout=60).status_code == 401
